/** The converter of TensorFlow.js graph models: a small made one, hostile ones, and where it is here a real one. */

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { diskFiles } from '../../src/apps/cli/files.ts';
import { convertTfjs } from '../../src/apps/cli/tfjs.ts';
import { Model } from '../../src/engine/model.ts';
import { normals } from '../../src/schedule/noise.ts';
import { writeSafetensors } from '../../src/engine/formats/safetensors.ts';
import { expectClose } from '../helpers/array.ts';
import { useGpu } from '../helpers/gpu.ts';

const gpu = useGpu();

interface Weight {
  name: string;
  shape: number[];
  dtype: string;
  quantization?: { dtype: string; min: number; scale: number };
}

/** Keras's example with 8 channels, its layers made in the order of build_model; every weight quantised to uint8. */
function keras(change: (weights: Weight[]) => void = () => {}, cut = 0) {
  const weights: Weight[] = [];
  const numbers = { conv2d: 67, dense: 68, group_normalization: 56 };
  const add = (name: string, shape: number[]) =>
    weights.push({ name: `unet/${name}`, shape, dtype: 'float32', quantization: { dtype: 'uint8', min: -0.1, scale: 0.2 / 255 } }); // prettier-ignore
  const conv = (cIn: number, cOut: number, k: number) => {
    const n = `conv2d_${numbers.conv2d++}`;
    add(`${n}/Conv2D/ReadVariableOp`, [k, k, cIn, cOut]);
    add(`${n}/BiasAdd/ReadVariableOp`, [cOut]);
  };
  const dense = (cIn: number, cOut: number, scope = '', op = 'MatMul') => {
    const n = `${scope}dense_${numbers.dense++}`;
    add(`${n}/${op}/ReadVariableOp`, [cIn, cOut]);
    add(`${n}/BiasAdd/ReadVariableOp`, [cOut]);
  };
  const norm = (c: number) => {
    const n = `group_normalization_${numbers.group_normalization++}`;
    add(`${n}/Reshape_1/ReadVariableOp`, [c]);
    add(`${n}/Reshape_2/ReadVariableOp`, [c]);
  };
  const W = 8;
  const residual = (cIn: number, cOut: number) => {
    if (cIn !== cOut) conv(cIn, cOut, 1);
    dense(4 * W, cOut);
    norm(cIn);
    conv(cIn, cOut, 3);
    norm(cOut);
    conv(cOut, cOut, 3);
  };
  const attention = (c: number) => {
    norm(c);
    for (let i = 0; i < 4; i++) dense(c, c, 'attention_block/', 'Tensordot');
  };
  const widths = [W, 2 * W, 4 * W, 8 * W];
  conv(3, W, 3);
  dense(4 * W, 4 * W);
  dense(4 * W, 4 * W);
  let c = W;
  const skips = [c];
  widths.forEach((width, i) => {
    for (let j = 0; j < 2; j++) {
      residual(c, width);
      if (i > 1) attention(width);
      skips.push((c = width));
    }
    if (i < 3) {
      conv(c, c, 3);
      skips.push(c);
    }
  });
  residual(c, c);
  attention(c);
  residual(c, c);
  [...widths].reverse().forEach((width, i) => {
    for (let j = 0; j < 3; j++) {
      residual(c + skips.pop()!, width);
      if (i < 2) attention(width);
      c = width;
    }
    if (i < 3) conv(c, c, 3);
  });
  norm(c);
  conv(c, 3, 3);
  add('time_embedding/strided_slice_1', [1, 2 * W]);
  weights.push({ name: 'unet/shape', shape: [2], dtype: 'int32' });
  weights.reverse(); // the counters count, not the places
  change(weights);
  const sizes = weights.map((w) => w.shape.reduce((a, b) => a * b, 1) * (w.quantization ? 1 : 4));
  const total = sizes.reduce((a, b) => a + b, 0) - cut;
  const bytes = Uint8Array.from({ length: total }, (_, i) => (i * 7 + (i >> 8)) % 256);
  const dim = [-1, 16, 16, 3].map((size) => ({ size: String(size) }));
  const json = {
    signature: {
      inputs: { image: { tensorShape: { dim } }, time: { tensorShape: { dim: [{ size: '-1' }] } } },
    },
    weightsManifest: [{ paths: ['a.bin', 'b.bin'], weights }],
  };
  const half = Math.floor(total / 2);
  const files: Record<string, Uint8Array> = {
    'model.json': new TextEncoder().encode(JSON.stringify(json)),
    'a.bin': bytes.slice(0, half),
    'b.bin': bytes.slice(half),
  };
  return { label: 'keras', read: (path: string) => Promise.resolve(files[path] ?? null), files };
}

/** The converted model as a folder. */
function folder({ config, scheduler, tensors }: Awaited<ReturnType<typeof convertTfjs>>) {
  const json = (value: object) => new TextEncoder().encode(JSON.stringify(value));
  const files: Record<string, Uint8Array> = {
    'unet/config.json': json(config),
    'scheduler/scheduler_config.json': json(scheduler),
    'unet/diffusion_pytorch_model.safetensors': writeSafetensors(tensors),
  };
  return { label: 'converted', read: (path: string) => Promise.resolve(files[path] ?? null) };
}

it('a small model converts, loads and runs; kernels are turned from (K, K, in, out) to (out, in, K, K)', async () => {
  const source = keras();
  const converted = await convertTfjs(source);
  const model = await Model.load(gpu(), folder(converted));
  const { eps } = await model.predict({
    shape: [1, 3, 16, 16],
    sample: normals(1, 0, 0, 768),
    timestep: Float32Array.of(7),
    labels: null,
  });
  expect(eps.every(Number.isFinite)).toBe(true);
  model.destroy();
  // conv_in.weight[5, 2, 1, 0] is kernel [1, 0, 2, 5] of conv2d_67.
  const json = JSON.parse(new TextDecoder().decode(source.files['model.json'])) as { weightsManifest: { weights: Weight[] }[] };
  let at = 0;
  for (const w of json.weightsManifest[0]!.weights) {
    if (w.name === 'unet/conv2d_67/Conv2D/ReadVariableOp') break;
    at += w.shape.reduce((a, b) => a * b, 1) * (w.quantization ? 1 : 4);
  }
  const byte = at + ((1 * 3 + 0) * 3 + 2) * 8 + 5;
  const wanted = (((byte * 7 + (byte >> 8)) % 256) * 0.2) / 255 - 0.1;
  const weight = converted.tensors.find((t) => t.name === 'conv_in.weight')!;
  expect(weight.shape).toEqual([8, 3, 3, 3]);
  expect(weight.data[(5 * 3 + 2) * 9 + 1 * 3 + 0]).toBeCloseTo(wanted, 6);
}); // prettier-ignore

describe('what is refused', () => {
  const without = (part: string) => (w: Weight[]) => w.splice(w.findIndex((x) => x.name.includes(part)), 1);
  it.each([
    ['a layer too few', keras((w) => { without('conv2d_133/Conv2D')(w); without('conv2d_133/BiasAdd')(w); }), /no convolution for conv_out/],
    ['a layer without a bias', keras(without('dense_70/BiasAdd')), /dense_70\/ has no bias/],
    ['a layer too many', keras((w) => w.push({ name: 'unet/dense_999/MatMul/ReadVariableOp', shape: [2, 2], dtype: 'float32' }, { name: 'unet/dense_999/BiasAdd/ReadVariableOp', shape: [2], dtype: 'float32' })), /1 dense layers are left over/],
    ['another shape', keras((w) => (w.find((x) => x.name.includes('conv2d_70/Conv2D'))!.shape = [3, 3, 4, 16])), /should be/],
    ['a file cut off', keras(undefined, 9), /end within/],
    ['a type of no one', keras((w) => (w[3]!.quantization!.dtype = 'uint4')), /is uint4/],
  ] as [string, ReturnType<typeof keras>, RegExp][])('%s', async (_, files, message) => {
    await expect(convertTfjs(files)).rejects.toMatchObject({ code: 'unsupported-model', what: expect.stringMatching(message) as string });
  });

  it('no model.json, one that is none, and a shard that is not there or outside', async () => {
    const one = (files: Record<string, string>) => ({ label: 'x', read: (path: string) => Promise.resolve(path in files ? new TextEncoder().encode(files[path]) : null) });
    await expect(convertTfjs(one({}))).rejects.toMatchObject({ code: 'file-not-found' });
    await expect(convertTfjs(one({ 'model.json': '<html>' }))).rejects.toMatchObject({ code: 'unsupported-model' });
    const source = keras();
    const text = new TextDecoder().decode(source.files['model.json']);
    await expect(convertTfjs(one({ 'model.json': text }))).rejects.toMatchObject({ what: expect.stringMatching(/a.bin is not there/) as string });
    await expect(convertTfjs(one({ 'model.json': text.replace('a.bin', '../../a.bin') }))).rejects.toMatchObject({ what: expect.stringMatching(/names the file/) as string });
  });
}); // prettier-ignore

const PEER = fileURLToPath(new URL('../../../shared/peers/keras-ddpm-anime64', import.meta.url));
/** A checkpoint that nobody here made, where it lies beside the project; its goldens are TensorFlow.js's own. */
if (existsSync(PEER)) describe('a real checkpoint', () => {
  it("gives TensorFlow.js's numbers (tests/fixtures/make/keras.mjs)", async () => {
    const model = await Model.load(gpu(), folder(await convertTfjs(diskFiles(PEER))));
    expect(model.parameters).toBe(63_200_515)
    const bytes = Uint8Array.from(readFileSync(new URL('../fixtures/keras.f32', import.meta.url)));
    const wanted = new Float32Array(bytes.buffer);
    const times = [0, 40, 150, 240, 299];
    const sample = normals(1, 0, 0, 5 * 3 * 4096);
    const { eps } = await model.predict({ shape: [5, 3, 64, 64], sample, timestep: Float32Array.from(times), labels: null });
    for (const [i, t] of times.entries()) {
      const cut = Float32Array.from({ length: 768 }, (_, k) => eps[(3 * i + (k >> 8)) * 4096 + (24 + ((k >> 4) & 15)) * 64 + 24 + (k & 15)]!);
      expectClose(cut, wanted.slice(i * 768, (i + 1) * 768), { atol: 1e-3, rtol: 0 }, `t = ${t}`);
    }
    model.destroy();
  }, 120_000);
}); // prettier-ignore

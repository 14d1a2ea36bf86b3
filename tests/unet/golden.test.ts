/** The whole network against PyTorch diffusers, at five timesteps, and what a model promises its callers. */

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { diskFiles } from '../../src/apps/cli/files.ts';
import { Model } from '../../src/engine/model.ts';
import type { Shape } from '../../src/core/tensor.ts';
import { readSafetensors, toFloat32, toIntegers } from '../../src/engine/formats/safetensors.ts';
import { expectClose } from '../helpers/array.ts';
import { needs, useGpu } from '../helpers/gpu.ts';

const gpu = useGpu();
const at = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));

const MODELS: Record<string, { folder: string; golden: string }> = {
  'attention, one head': {
    folder: 'fixtures/unets/attention',
    golden: 'fixtures/unets/attention.safetensors',
  },
  'several heads': { folder: 'fixtures/unets/heads', golden: 'fixtures/unets/heads.safetensors' },
  'odd sizes': { folder: 'fixtures/unets/odd', golden: 'fixtures/unets/odd.safetensors' },
  digits: { folder: '../weights/digits', golden: 'fixtures/digits/eps.safetensors' },
};

function inputs(golden: string) {
  const tensors = readSafetensors(readFileSync(at(golden)), golden);
  const labels = tensors.get('class_labels');
  return {
    shape: tensors.get('sample')!.shape as Shape,
    sample: toFloat32(tensors.get('sample')!),
    timestep: toFloat32(tensors.get('timestep')!),
    labels: labels ? toIntegers(labels) : null,
    eps: toFloat32(tensors.get('eps')!),
  };
}

describe.each(Object.entries(MODELS))('%s', (_, { folder, golden }) => {
  it('f32: within 2e-4 of PyTorch at five timesteps', async () => {
    const model = await Model.load(gpu(), diskFiles(at(folder)));
    const { eps, ...given } = inputs(golden);
    expect(given.timestep).toHaveLength(5);
    const result = await model.predict(given);
    expectClose(result.eps, eps, { atol: 2e-4, rtol: 0 }, 'eps');
    model.destroy();
  });

  it('f16: within 2 % of the size of the output', async () => {
    needs(gpu(), 'f16');
    const model = await Model.load(gpu(), diskFiles(at(folder)), { dtype: 'f16' });
    const { eps, ...given } = inputs(golden);
    const result = await model.predict(given);
    const scale = Math.sqrt(eps.reduce((sum, x) => sum + x * x, 0) / eps.length);
    // 11 bits and some fifty layers; measured 0.2 to 0.6 % on llvmpipe.
    expectClose(result.eps, eps, { atol: 0.02 * scale, rtol: 0.02 }, 'eps');
    model.destroy();
  });
});

it('the comparison rejects a network that is wrong in one weight', async () => {
  const files = diskFiles(at('fixtures/unets/attention'));
  const broken = {
    label: 'broken',
    async read(path: string) {
      const bytes = await files.read(path);
      if (!bytes || !path.endsWith('.safetensors')) return bytes;
      const copy = Uint8Array.from(bytes);
      const tensor = readSafetensors(copy, path).get('mid_block.resnets.0.conv1.weight')!;
      tensor.bytes[1] = tensor.bytes[1]! ^ 0x40; // the exponent of its first number
      return copy;
    },
  };
  const model = await Model.load(gpu(), broken);
  const { eps, ...given } = inputs('fixtures/unets/attention.safetensors');
  const result = await model.predict(given);
  const worst = result.eps.reduce((most, x, i) => Math.max(most, Math.abs(x - eps[i]!)), 0);
  expect(worst).toBeGreaterThan(2e-4);
  model.destroy();
});

it('the same images give the same numbers alone and in a batch', async () => {
  const model = await Model.load(gpu(), diskFiles(at('fixtures/unets/heads')));
  const { shape, sample, timestep, labels } = inputs('fixtures/unets/heads.safetensors');
  const batch = await model.predict({ shape, sample, timestep, labels });
  const one = await model.predict({
    shape: [1, shape[1], shape[2], shape[3]],
    sample: sample.slice((sample.length / 5) * 2, (sample.length / 5) * 3),
    timestep: timestep.slice(2, 3),
    labels: null,
  });
  expect(one.eps).toEqual(batch.eps.slice((batch.eps.length / 5) * 2, (batch.eps.length / 5) * 3));
  model.destroy();
});

describe('what a model refuses', () => {
  const files = diskFiles(at('fixtures/unets/attention'));
  const given = () => inputs('fixtures/unets/attention.safetensors');

  it.each([
    ['wrong channels', { shape: [5, 1, 16, 16] as Shape }, 'bad-input', /1 channels/],
    ['an odd size', { shape: [5, 3, 16, 15] as Shape }, 'unsupported-model', /halved/],
    ['timesteps missing', { timestep: new Float32Array(3) }, 'bad-input', /5 samples and 3 timesteps/],
    ['labels missing', { labels: null }, 'bad-input', /conditional on a class/],
    ['labels too few', { labels: [1] }, 'bad-input', /5 samples and 1 class labels/],
    ['a label that does not exist', { labels: [0, 1, 2, 3, 5] }, 'bad-input', /class label 5/],
  ])('%s', async (_, change, code, message) => {
    const model = await Model.load(gpu(), files);
    await expect(model.predict({ ...given(), ...change })).rejects.toMatchObject({
      code,
      what: expect.stringMatching(message) as string,
    });
    model.destroy();
  });

  it('a folder without a model, and weights that hold a NaN', async () => {
    await expect(Model.load(gpu(), diskFiles(at('fixtures')))).rejects.toMatchObject({
      code: 'file-not-found',
    });
    const poisoned = {
      label: 'poisoned',
      async read(path: string) {
        const bytes = await files.read(path);
        if (!bytes || !path.endsWith('.safetensors')) return bytes;
        const copy = Uint8Array.from(bytes);
        readSafetensors(copy, path).get('conv_in.weight')!.bytes.fill(0xff, 4, 6);
        return copy;
      },
    };
    await expect(Model.load(gpu(), poisoned)).rejects.toMatchObject({
      code: 'bad-weights',
      what: expect.stringMatching(/conv_in\.weight .* 1 numbers that are not finite/) as string,
    });
  });

  it('an aborted load', async () => {
    const signal = AbortSignal.abort();
    await expect(Model.load(gpu(), files, { signal })).rejects.toMatchObject({ code: 'aborted' });
  });
});

it('the digits model is bundled', () =>
  expect(existsSync(at('../weights/digits/unet/config.json'))).toBe(true));

/**
 * From a TensorFlow.js graph model of the Keras example "Denoising Diffusion Probabilistic Model" to a folder that this
 * project loads (`_class_name: ExtendedUNet2DModel`).
 *
 * Such a model has no names of its own for its layers, only the counters of Keras (conv2d_67, dense_68, ...): they rise in
 * the order in which the example's `build_model` makes the layers, so the layers are taken in that order, and every shape
 * is checked. Weights quantised to uint8 or uint16 are value = q * scale + min.
 */

import { DiffusionError } from '../../core/errors.ts';
import type { ModelFiles } from '../../engine/formats/files.ts';

export interface Converted {
  readonly config: object;
  readonly scheduler: object;
  readonly tensors: { name: string; shape: readonly number[]; data: Float32Array<ArrayBuffer> }[];
}

interface Entry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly quantization?: { readonly dtype: string; readonly min: number; readonly scale: number };
}

interface Layer {
  readonly weight: Float32Array<ArrayBuffer>;
  /** Keras's: (K, K, in, out) or (in, out). */
  readonly shape: readonly number[];
  readonly bias: Float32Array<ArrayBuffer>;
}

/** The example's schedule in its 64 x 64 form: cosine, s = 0.008, 300 steps, betas held in [1e-4, 0.9999]. */
const T = 300;
function cosineBetas(): number[] {
  const f = (t: number): number => Math.cos(((t / T + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
  return Array.from({ length: T }, (_, t) => Math.min(Math.max(1 - f(t + 1) / f(t), 1e-4), 0.9999));
}

const BYTES: Readonly<Record<string, number>> = { float32: 4, int32: 4, uint8: 1, uint16: 2, bool: 1 };

/** @throws file-not-found, unsupported-model, bad-weights */
export async function convertTfjs(files: ModelFiles): Promise<Converted> {
  const refuse = (what: string): never => {
    throw new DiffusionError(
      'unsupported-model',
      `${files.label}: ${what}.`,
      'Give the graph model of the Keras example "Denoising Diffusion Probabilistic Model".',
    );
  };
  const bytes = await files.read('model.json');
  if (!bytes)
    throw new DiffusionError(
      'file-not-found',
      `${files.label} has no model.json.`,
      'Give a TensorFlow.js folder.',
    );
  let manifest: { paths: string[]; weights: Entry[] }[];
  let image: number[];
  try {
    const json = JSON.parse(new TextDecoder().decode(bytes)) as {
      weightsManifest: typeof manifest;
      signature: { inputs: Record<string, { tensorShape: { dim: { size: string }[] } }> };
    };
    manifest = json.weightsManifest;
    const input = Object.values(json.signature.inputs).find((i) => i.tensorShape.dim.length === 4)!;
    image = input.tensorShape.dim.map((d) => Number(d.size));
  } catch {
    return refuse('model.json is not that of a graph model with one image as input');
  }
  const all = new Map<string, { shape: readonly number[]; data: Float32Array<ArrayBuffer> }>();
  for (const { paths, weights } of manifest) await readGroup(files, paths, weights, all, refuse);

  /** The layers of one kind, in the order of their counters. */
  const layers = (kind: string, weightEnd: RegExp, biasEnd: string): Layer[] => {
    const found = new Map<number, Layer>();
    for (const [name, { shape, data }] of all) {
      const match = new RegExp(`(^|/)${kind}(?:_(\\d+))?/`).exec(name);
      if (!match || !weightEnd.test(name)) continue;
      const owner = name.slice(0, match.index + match[0].length);
      const bias = all.get(`${owner}${biasEnd}`);
      if (!bias) return refuse(`${owner} has no bias`);
      found.set(Number(match[2] ?? 0), { weight: data, shape, bias: bias.data });
    }
    return [...found].sort(([a], [b]) => a - b).map(([, layer]) => layer);
  };
  const convs = layers('conv2d', /\/Conv2D\/ReadVariableOp$/, 'BiasAdd/ReadVariableOp');
  const dense = layers('dense', /\/(MatMul|Tensordot)\/ReadVariableOp$/, 'BiasAdd/ReadVariableOp');
  // gamma is Reshape_1, beta Reshape_2.
  const norms = layers('group_normalization', /\/Reshape_1\/ReadVariableOp$/, 'Reshape_2/ReadVariableOp');
  const frequency = [...all].find(([name]) => /time_embedding[^/]*\/strided_slice_1$/.test(name))?.[1].data;

  const tensors: Converted['tensors'] = [];
  const take = (from: Layer[], kind: string, name: string, shape: readonly number[]): void => {
    const layer = from.shift();
    if (!layer) return refuse(`it has no ${kind} for ${name}`);
    const [cOut, cIn = 1, k = 1] = shape as [number, number?, number?];
    // A kernel's first sides are its own; then in, out.
    const wanted = shape.length === 4 ? [k, k, cIn, cOut] : shape.length === 2 ? [cIn, cOut] : [cOut];
    if (layer.shape.join() !== wanted.join())
      refuse(`the ${kind} for ${name} is (${layer.shape.join(', ')}), and should be (${wanted.join(', ')})`);
    const data = new Float32Array(layer.weight.length);
    const taps = k * k;
    for (let tap = 0; tap < taps; tap++)
      for (let i = 0; i < cIn; i++)
        for (let o = 0; o < cOut; o++)
          data[(o * cIn + i) * taps + tap] = layer.weight[(tap * cIn + i) * cOut + o]!;
    tensors.push({ name: `${name}.weight`, shape, data: shape.length === 1 ? layer.weight : data });
    tensors.push({ name: `${name}.bias`, shape: [cOut], data: layer.bias });
  };
  const conv = (name: string, cIn: number, cOut: number, k: number) =>
    take(convs, 'convolution', name, [cOut, cIn, k, k]);
  const linear = (name: string, cIn: number, cOut: number) => take(dense, 'dense layer', name, [cOut, cIn]);
  const norm = (name: string, c: number) => take(norms, 'group norm', name, [c]);

  // What the layers say of the network: widths by the convolutions, attention by the order of the dense layers.
  const first = convs[0]?.shape[3] ?? refuse('it has no convolutions');
  const channels = convs[0]!.shape[2]!;
  const time = dense[0]?.shape[1] ?? refuse('it has no dense layers');
  const [widths, attended] = [[1, 2, 4, 8].map((m) => m * first), [false, false, true, true]];
  const blocks = 2;

  const resnet = (name: string, cIn: number, cOut: number) => {
    if (cIn !== cOut) conv(`${name}.conv_shortcut`, cIn, cOut, 1);
    linear(`${name}.time_emb_proj`, time, cOut);
    norm(`${name}.norm1`, cIn);
    conv(`${name}.conv1`, cIn, cOut, 3);
    norm(`${name}.norm2`, cOut);
    conv(`${name}.conv2`, cOut, cOut, 3);
  };
  const attention = (name: string, c: number) => {
    norm(`${name}.group_norm`, c);
    for (const part of ['to_q', 'to_k', 'to_v', 'to_out.0']) linear(`${name}.${part}`, c, c);
  };
  conv('conv_in', channels, first, 3);
  linear('time_embedding.linear_1', dense[0]!.shape[0]!, time);
  linear('time_embedding.linear_2', time, time);
  let c = first;
  const skips = [c];
  widths.forEach((width, i) => {
    for (let j = 0; j < blocks; j++) {
      resnet(`down_blocks.${i}.resnets.${j}`, c, width);
      if (attended[i]) attention(`down_blocks.${i}.attentions.${j}`, width);
      skips.push((c = width));
    }
    if (i < widths.length - 1) {
      conv(`down_blocks.${i}.downsamplers.0.conv`, c, c, 3);
      skips.push(c);
    }
  });
  resnet('mid_block.resnets.0', c, c);
  attention('mid_block.attentions.0', c);
  resnet('mid_block.resnets.1', c, c);
  [...widths].reverse().forEach((width, i) => {
    for (let j = 0; j <= blocks; j++) {
      resnet(`up_blocks.${i}.resnets.${j}`, c + skips.pop()!, width);
      if (attended[widths.length - 1 - i]) attention(`up_blocks.${i}.attentions.${j}`, width);
      c = width;
    }
    if (i < widths.length - 1) conv(`up_blocks.${i}.upsamplers.0.conv`, c, c, 3);
  });
  norm('conv_norm_out', c);
  conv('conv_out', c, channels, 3);
  for (const [kind, left] of Object.entries({
    convolutions: convs,
    'dense layers': dense,
    'group norms': norms,
  }))
    if (left.length > 0) refuse(`${left.length} ${kind} are left over`);
  if (frequency) tensors.push({ name: 'time_proj.weight', shape: [frequency.length], data: frequency });

  return {
    tensors,
    config: {
      _class_name: 'ExtendedUNet2DModel',
      sample_size: image[1] === image[2] ? image[1] : [image[1], image[2]],
      in_channels: channels,
      out_channels: channels,
      block_out_channels: widths,
      down_block_types: attended.map((a) => (a ? 'AttnDownBlock2D' : 'DownBlock2D')),
      up_block_types: [...attended].reverse().map((a) => (a ? 'AttnUpBlock2D' : 'UpBlock2D')),
      layers_per_block: blocks,
      downsample_padding: 0, // TensorFlow's SAME
      attention_head_dim: null,
      norm_num_groups: 8,
      norm_eps: 1e-3,
      time_proj_dim: tensors.find((t) => t.name === 'time_embedding.linear_1.weight')!.shape[1],
      time_embedding_dim: time,
      flip_sin_to_cos: false,
      freq_shift: 1,
      attention_adds_normed: true,
      frequency_table: frequency !== undefined,
    },
    scheduler: {
      _class_name: 'DDPMScheduler',
      num_train_timesteps: T,
      trained_betas: cosineBetas(),
      prediction_type: 'epsilon',
      clip_sample: true,
    },
  };
}

async function readGroup(
  files: ModelFiles,
  paths: readonly string[],
  weights: readonly Entry[],
  all: Map<string, { shape: readonly number[]; data: Float32Array<ArrayBuffer> }>,
  refuse: (what: string) => never,
): Promise<void> {
  const parts: Uint8Array[] = [];
  for (const path of paths) {
    if (!/^[\w.-]+$/.test(path)) refuse(`model.json names the file ${path.slice(0, 100)}`);
    parts.push((await files.read(path)) ?? refuse(`${path} is not there`));
  }
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (bytes.set(part, at), at + part.length), 0);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const { name, shape, dtype, quantization: q } of weights) {
    const size = BYTES[q?.dtype ?? dtype] ?? refuse(`${name} is ${q?.dtype ?? dtype}`);
    const count = shape.reduce((a, b) => a * b, 1);
    if (at + count * size > bytes.length) refuse(`its files end within ${name}`);
    if (dtype === 'float32') {
      const stored = (i: number): number =>
        size === 1
          ? bytes[at + i]!
          : size === 2
            ? view.getUint16(at + 2 * i, true)
            : view.getFloat32(at + 4 * i, true);
      const data = Float32Array.from({ length: count }, (_, i) =>
        q ? stored(i) * q.scale + q.min : stored(i),
      );
      all.set(name, { shape, data });
    }
    at += count * size;
  }
  if (at !== bytes.length) refuse(`its files have ${bytes.length - at} bytes more than model.json says`);
}

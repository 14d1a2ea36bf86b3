/**
 * The U-Net of the lecture that this project grew out of (dome272/Diffusion-Models-pytorch), conditional or not.
 *
 * Group norms of one group, GELU, max pooling, bilinear upsampling with aligned corners, layer norm before multi-head
 * attention, and the sinusoidal timestep (plus the class) straight into every level. weights/convert/lecture.py writes
 * its checkpoints under these names.
 */

import type { Tape } from '../gpu/tape.ts';
import { attention } from '../ops/attention.ts';
import { concat } from '../ops/concat.ts';
import { conv2d, type ConvOptions } from '../ops/conv2d.ts';
import { downsampleMax } from '../ops/downsample.ts';
import { embedding } from '../ops/embedding.ts';
import { groupNorm } from '../ops/group_norm.ts';
import { layerNorm } from '../ops/layer_norm.ts';
import { linear } from '../ops/linear.ts';
import { timestepEmbedding } from '../ops/timestep_embedding.ts';
import { upsampleBilinear } from '../ops/upsample_bilinear.ts';
import { slice, type Tensor } from '../tensor.ts';
import type { UNetConfig } from './config.ts';
import type { TimeInputs, Times } from './unet.ts';
import type { UNetWeights } from './weights.ts';

/** Channels in and out of each level, W being those of the first. */
function widths({ blockOutChannels: [w] }: UNetConfig) {
  const W = w!;
  return {
    first: W,
    down: [[W, 2 * W], [2 * W, 4 * W], [4 * W, 4 * W]],
    middle: [[4 * W, 8 * W], [8 * W, 8 * W], [8 * W, 4 * W]],
    up: [[8 * W, 2 * W], [4 * W, W], [2 * W, W]],
    /** Of the attention after each level. */
    attended: [2 * W, 4 * W, 4 * W, 2 * W, W, W],
  } as const; // prettier-ignore
}

/** Every parameter by name and shape. */
export function lectureParameters(config: UNetConfig): Map<string, readonly number[]> {
  const all = new Map<string, readonly number[]>();
  const affine = (name: string, ...shape: number[]) => {
    all.set(`${name}.weight`, shape);
    all.set(`${name}.bias`, [shape[0]!]);
  };
  const double = (name: string, cIn: number, cOut: number, middle = cOut) => {
    affine(`${name}.conv1`, middle, cIn, 3, 3);
    affine(`${name}.norm1`, middle);
    affine(`${name}.conv2`, cOut, middle, 3, 3);
    affine(`${name}.norm2`, cOut);
  };
  const { first, down, middle, up, attended } = widths(config);
  if (config.numClassEmbeds !== null)
    all.set('class_embedding.weight', [config.numClassEmbeds, config.timeProjDim]);
  double('inc', config.inChannels, first);
  down.forEach(([cIn, cOut], i) => {
    double(`down${i + 1}.conv.0`, cIn, cIn);
    double(`down${i + 1}.conv.1`, cIn, cOut);
    affine(`down${i + 1}.emb`, cOut, config.timeProjDim);
  });
  middle.forEach(([cIn, cOut], i) => double(`bot${i + 1}`, cIn, cOut));
  up.forEach(([cIn, cOut], i) => {
    double(`up${i + 1}.conv.0`, cIn, cIn);
    double(`up${i + 1}.conv.1`, cIn, cOut, cIn / 2);
    affine(`up${i + 1}.emb`, cOut, config.timeProjDim);
  });
  attended.forEach((c, i) => {
    affine(`sa${i + 1}.norm`, c);
    for (const part of ['to_q', 'to_k', 'to_v', 'to_out']) affine(`sa${i + 1}.${part}`, c, c);
    affine(`sa${i + 1}.ff_norm`, c);
    affine(`sa${i + 1}.ff1`, c, c);
    affine(`sa${i + 1}.ff2`, c, c);
  });
  affine('outc', config.outChannels, first, 1, 1);
  return all;
}

/** What is made of timesteps and classes alone (unet.ts). */
export function recordLectureTimes(
  tape: Tape,
  config: UNetConfig,
  weights: UNetWeights,
  { timestep, labels, piece }: TimeInputs,
): Times {
  let emb = timestepEmbedding(tape, 'time_proj', timestep, weights.frequency, {
    dim: config.timeProjDim,
    cosFirst: false,
    dtype: weights.dtype,
    piece,
  });
  if (weights.classTable && labels && !('storage' in labels))
    emb = embedding(tape, 'class_embedding', emb, weights.classTable, labels, piece?.first);
  return new Map([['emb', linear(tape, 'emb', emb, weights.layers.get('emb')!, { activation: 'silu' })]]);
}

/** Records the network. Returns its raw output (N, outChannels, H, W) in c4. */
export function recordLecture(
  tape: Tape,
  config: UNetConfig,
  weights: UNetWeights,
  sample: Tensor,
  times: Times,
): Tensor {
  const conv = (label: string, x: Tensor, options: ConvOptions = {}) =>
    conv2d(tape, label, x, weights.layers.get(label)!, options);
  const norm = (label: string, x: Tensor, options = {}) =>
    groupNorm(tape, label, x, weights.norms.get(label)!, { groups: 1, eps: 1e-5, ...options });
  const layer = (label: string, x: Tensor) => layerNorm(tape, label, x, weights.norms.get(label)!);
  /** The part of a joint layer's output that is this layer's. */
  const of = (label: string, all: Tensor): Tensor => {
    const { first, cOut } = weights.parts.get(label)!;
    return slice(all, first, cOut, label);
  };

  /** @param end what follows the second norm */
  const double = (label: string, x: Tensor, end: Parameters<typeof norm>[2] = {}): Tensor => {
    const h = norm(`${label}.norm1`, conv(`${label}.conv1`, x), { activation: 'gelu' });
    return norm(`${label}.norm2`, conv(`${label}.conv2`, h), end);
  };
  /** Two double convolutions, the first around a residual; the embedding is added at the end. */
  const level = (label: string, x: Tensor): Tensor => {
    const shift = of(`${label}.emb`, times.get('emb')!);
    const h = double(`${label}.conv.0`, x, { residual: x, activation: 'gelu' });
    return double(`${label}.conv.1`, h, { shift });
  };
  const attend = (label: string, x: Tensor): Tensor => {
    const h = layer(`${label}.norm`, x);
    const qkv = conv(`${label}.to_qkv`, h);
    const [q, k, v] = ['to_q', 'to_k', 'to_v'].map((part) => of(`${label}.${part}`, qkv));
    const mixed = attention(tape, label, q!, k!, v!, config.numAttentionHeads!);
    const a = conv(`${label}.to_out`, mixed, { residual: x });
    const f = conv(`${label}.ff1`, layer(`${label}.ff_norm`, a), { activation: 'gelu' });
    return conv(`${label}.ff2`, f, { residual: a });
  };

  let x = double('inc', sample);
  const skips: Tensor[] = [];
  for (const i of [1, 2, 3]) {
    skips.push(x);
    x = attend(`sa${i}`, level(`down${i}`, downsampleMax(tape, `down${i}.pool`, x)));
  }
  for (const i of [1, 2, 3]) x = double(`bot${i}`, x);
  for (const i of [1, 2, 3]) {
    x = concat(tape, `up${i}.concat`, skips.pop()!, upsampleBilinear(tape, `up${i}.up`, x));
    x = attend(`sa${i + 3}`, level(`up${i}`, x));
  }
  return conv('outc', x);
}

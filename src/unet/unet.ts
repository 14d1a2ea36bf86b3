/**
 * The U-Net of DDPM (Ho et al. 2020, appendix B) as diffusers wires it in `UNet2DModel`.
 *
 * Reads top to bottom: the down path pushes what the up path pops. Names are the checkpoint's own.
 */

import type { Tape } from '../gpu/tape.ts';
import { attention } from '../ops/attention.ts';
import { concat } from '../ops/concat.ts';
import { conv2d, type Padding } from '../ops/conv2d.ts';
import { embedding } from '../ops/embedding.ts';
import { groupNorm } from '../ops/group_norm.ts';
import { linear } from '../ops/linear.ts';
import { timestepEmbedding } from '../ops/timestep_embedding.ts';
import { upsampleNearest } from '../ops/upsample_nearest.ts';
import type { Tensor } from '../tensor.ts';
import type { UNetConfig } from './config.ts';
import type { UNetWeights } from './weights.ts';

export interface UNetInputs {
  /** (N, inChannels, H, W) in c4. */
  readonly sample: Tensor;
  /** (N, 1, 1, 1) planar f32: the timestep of each image, 0 to T - 1, may be a fraction. */
  readonly timestep: Tensor;
  /** One u32 an image; null for an unconditional model. */
  readonly labels: GPUBuffer | null;
}

/** Records the network. Returns its raw output (N, outChannels, H, W) in c4. */
export function recordUNet(tape: Tape, config: UNetConfig, weights: UNetWeights, inputs: UNetInputs): Tensor {
  const { blockOutChannels, normNumGroups: groups, normEps: eps } = config;
  const levels = blockOutChannels.length;
  const dtype = weights.dtype;
  const get = (label: string) => weights.layers.get(label)!;
  const conv = (label: string, x: Tensor, options = {}) => conv2d(tape, label, x, get(label), options);
  const dense = (label: string, x: Tensor, options = {}) => linear(tape, label, x, get(label), options);
  const norm = (label: string, x: Tensor, silu: boolean, parts = groups) =>
    groupNorm(tape, label, x, weights.norms.get(label)!, { groups: parts, eps, silu });

  const resnet = (label: string, x: Tensor, emb: Tensor, scale = 1): Tensor => {
    const timeBias = dense(`${label}.time_emb_proj`, emb, { silu: true }); // (N, cOut, 1, 1)
    let h = norm(`${label}.norm1`, x, true);
    h = conv(`${label}.conv1`, h, { timeBias });
    h = norm(`${label}.norm2`, h, true);
    const shortcut = `${label}.conv_shortcut`;
    const residual = weights.layers.has(shortcut) ? conv(shortcut, x) : x;
    return conv(`${label}.conv2`, h, { residual, scale });
  };

  const attend = (label: string, x: Tensor, scale = 1, parts = groups): Tensor => {
    const heads = config.attentionHeadDim === null ? 1 : x.shape[1] / config.attentionHeadDim;
    const h = norm(`${label}.group_norm`, x, false, parts);
    const q = conv(`${label}.to_q`, h);
    const k = conv(`${label}.to_k`, h);
    const v = conv(`${label}.to_v`, h);
    return conv(`${label}.to_out.0`, attention(tape, label, q, k, v, heads), { residual: x, scale });
  };

  // Time and class.
  let emb = timestepEmbedding(tape, 'time_proj', inputs.timestep, weights.frequency, {
    dim: blockOutChannels[0]!,
    cosFirst: config.flipSinToCos,
    dtype,
  });
  emb = dense('time_embedding.linear_1', emb);
  emb = dense('time_embedding.linear_2', emb, { silu: true }); // (N, timeEmbeddingDim, 1, 1)
  if (weights.classTable && inputs.labels)
    emb = embedding(tape, 'class_embedding', emb, weights.classTable, inputs.labels);

  // Down.
  let x = conv('conv_in', inputs.sample);
  const skips: Tensor[] = [x];
  const padding: Padding =
    config.downsamplePadding === 1
      ? { top: 1, left: 1, bottom: 1, right: 1 }
      : { top: 0, left: 0, bottom: 1, right: 1 };
  for (let i = 0; i < levels; i++) {
    const block = `down_blocks.${i}`;
    for (let j = 0; j < config.layersPerBlock; j++) {
      x = resnet(`${block}.resnets.${j}`, x, emb);
      if (config.downBlockTypes[i] === 'AttnDownBlock2D') x = attend(`${block}.attentions.${j}`, x);
      skips.push(x);
    }
    if (i < levels - 1) {
      x = conv(`${block}.downsamplers.0.conv`, x, { stride: 2, padding });
      skips.push(x);
    }
  }

  // Middle.
  if (config.hasMidBlock) {
    const scale = 1 / config.midBlockScaleFactor;
    x = resnet('mid_block.resnets.0', x, emb, scale);
    if (config.midAttention) x = attend('mid_block.attentions.0', x, scale, config.attnNormNumGroups);
    x = resnet('mid_block.resnets.1', x, emb, scale);
  }

  // Up.
  for (let i = 0; i < levels; i++) {
    const block = `up_blocks.${i}`;
    for (let j = 0; j <= config.layersPerBlock; j++) {
      x = concat(tape, `${block}.resnets.${j}.concat`, x, skips.pop()!);
      x = resnet(`${block}.resnets.${j}`, x, emb);
      if (config.upBlockTypes[i] === 'AttnUpBlock2D') x = attend(`${block}.attentions.${j}`, x);
    }
    if (i < levels - 1) {
      x = upsampleNearest(tape, `${block}.upsamplers.0`, x);
      x = conv(`${block}.upsamplers.0.conv`, x);
    }
  }

  // Out.
  x = norm('conv_norm_out', x, true);
  return conv('conv_out', x);
}

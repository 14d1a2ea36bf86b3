/**
 * The U-Net of diffusers once more, over any set of operations: what the rivals' networks are built by, and the roofline.
 * Written from diffusers' unet_2d.py, not from src/engine/unet: that outputs agree holds the one against the other.
 */

import { frequencies } from '../../src/engine/kernels/timestep_embedding.ts';
import { samplingOf } from '../../src/engine/unet/config.ts';
import { LAYER, type Layer, type Network, type Weight } from './networks.ts';

/** T stands for a picture (N, C, H, W) in whatever layout, or a vector (N, C). Layers are named as their weights. */
export interface Ops<T> {
  /** Square kernel; `same` keeps the size, `half` halves it with one zero all around, `half-low` with zeros right and below. */
  conv(name: string, x: T, padding?: 'same' | 'half' | 'half-low'): T;
  /** Group norm, with SiLU behind it where asked for. */
  norm(name: string, x: T, groups: number, eps: number, silu: boolean): T;
  silu(x: T): T;
  linear(name: string, x: T): T;
  /** Picture + vector. */
  shift(x: T, vector: T): T;
  add(x: T, y: T): T;
  concat(x: T, y: T): T;
  /** Twice as large, each pixel repeated. */
  upsample(x: T): T;
  /** softmax(q k^T / sqrt(d)) v over the pixels; names of the four linear layers are `name`.to_q and so on. (N, C, H, W). */
  attention(name: string, x: T, heads: number): T;
  /** Sines and cosines of t frequency: (N, 2 frequencies). */
  time(frequencies: Float32Array<ArrayBuffer>, cosFirst: boolean): T;
  /** + a row of the table class_embedding for each image. */
  classes(x: T): T;
}

const refuse = (what: string): never => {
  throw new Error(`the bench's networks have no ${what}`);
};

/** x_t -> the network's output. */
export function walk<T>({ config: c, weights }: Network, ops: Ops<T>, x: T): T {
  if (c.architecture !== 'diffusers') refuse('lecture architecture');
  if (c.timeEmbeddingType !== 'positional') refuse('learned times');
  if (c.activation !== 'silu') refuse(c.activation);
  if (c.scaleShift || c.centerInputSample || c.classEmbedType || c.midBlockScaleFactor !== 1)
    refuse('adaptive norm');
  const { normNumGroups: groups, normEps: eps, blockOutChannels, layersPerBlock } = c;
  const channelsOf = (name: string): number => weights.get(`${name}.weight`)!.shape[0]!;

  const resnet = (name: string, input: T): T => {
    let h = ops.conv(`${name}.conv1`, ops.norm(`${name}.norm1`, input, groups, eps, true));
    h = ops.shift(h, ops.linear(`${name}.time_emb_proj`, activated));
    h = ops.conv(`${name}.conv2`, ops.norm(`${name}.norm2`, h, groups, eps, true));
    const shortcut = `${name}.conv_shortcut`;
    return ops.add(weights.has(`${shortcut}.weight`) ? ops.conv(shortcut, input) : input, h);
  };
  const attend = (name: string, input: T): T => {
    const channels = channelsOf(`${name}.to_q`);
    const heads = c.numAttentionHeads ?? (c.attentionHeadDim === null ? 1 : channels / c.attentionHeadDim);
    const h = ops.norm(`${name}.group_norm`, input, groups, eps, false);
    return ops.add(c.attentionAddsNormed ? h : input, ops.attention(name, h, heads));
  };

  const table: Weight | undefined = weights.get('time_proj.weight');
  const f = table?.data ?? frequencies(c.timeProjDim, c.freqShift).map((w) => w * c.timestepScale);
  let emb = ops.linear('time_embedding.linear_1', ops.time(f, c.flipSinToCos));
  emb = ops.linear('time_embedding.linear_2', ops.silu(emb));
  if (c.numClassEmbeds !== null) emb = ops.classes(emb);
  const activated = ops.silu(emb); // every block activates the same vector

  x = ops.conv('conv_in', x);
  const skips = [x];
  blockOutChannels.forEach((_, i) => {
    const name = `down_blocks.${i}`;
    for (let j = 0; j < layersPerBlock; j++) {
      x = resnet(`${name}.resnets.${j}`, x);
      if (c.downBlockTypes[i] === 'AttnDownBlock2D') x = attend(`${name}.attentions.${j}`, x);
      skips.push(x);
    }
    const sampling = samplingOf(c, 'down', i);
    if (sampling === 'resnet') refuse('resnet downsampling');
    if (!sampling) return;
    x = ops.conv(`${name}.downsamplers.0.conv`, x, c.downsamplePadding ? 'half' : 'half-low');
    skips.push(x);
  });
  if (c.hasMidBlock) {
    x = resnet('mid_block.resnets.0', x);
    if (c.midAttention) x = attend('mid_block.attentions.0', x);
    x = resnet('mid_block.resnets.1', x);
  }
  blockOutChannels.forEach((_, i) => {
    const name = `up_blocks.${i}`;
    for (let j = 0; j <= layersPerBlock; j++) {
      x = resnet(`${name}.resnets.${j}`, ops.concat(x, skips.pop()!));
      if (c.upBlockTypes[i] === 'AttnUpBlock2D') x = attend(`${name}.attentions.${j}`, x);
    }
    const sampling = samplingOf(c, 'up', i);
    if (sampling === 'resnet') refuse('resnet upsampling');
    if (sampling) x = ops.conv(`${name}.upsamplers.0.conv`, ops.upsample(x));
  });
  return ops.conv('conv_out', ops.norm('conv_norm_out', x, groups, eps, true));
}

/** The four layers of a single-layer bench. */
export function walkLayer<T>({ kind }: Layer, ops: Ops<T>, x: T): T {
  for (let i = 0; i < LAYER.repeats; i++) {
    if (kind === 'norm') x = ops.norm(`${i}`, x, LAYER.groups, LAYER.eps, true);
    else if (kind === 'attention') x = ops.attention(`${i}`, x, 1);
    else x = ops.conv(`${i}`, x);
  }
  return x;
}

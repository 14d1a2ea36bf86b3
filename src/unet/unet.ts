/**
 * The U-Net of DDPM (Ho et al. 2020, appendix B) as diffusers wires it in `UNet2DModel`.
 *
 * Reads top to bottom: the down path pushes what the up path pops. Names are the checkpoint's own.
 */

import type { Tape } from '../gpu/tape.ts';
import { attention } from '../ops/attention.ts';
import { concat } from '../ops/concat.ts';
import { conv2d, type ConvOptions, type Padding } from '../ops/conv2d.ts';
import { downsampleAverage } from '../ops/downsample.ts';
import { embedding, learnedTime } from '../ops/embedding.ts';
import { groupNorm, joins, type NormOptions } from '../ops/group_norm.ts';
import { linear, type LinearOptions } from '../ops/linear.ts';
import type { Piece } from '../ops/pack.ts';
import { timestepEmbedding } from '../ops/timestep_embedding.ts';
import { upsampleNearest } from '../ops/upsample_nearest.ts';
import { slice, type Tensor } from '../tensor.ts';
import { samplingOf, type UNetConfig } from './config.ts';
import { recordLecture, recordLectureTimes } from './lecture.ts';
import { timeInputs } from './parameters.ts';
import type { UNetWeights } from './weights.ts';

export interface TimeInputs {
  /** (N, 1, 1, 1) planar f32: the timestep of each image, 0 to T - 1, may be a fraction. */
  readonly timestep: Tensor;
  /**
   * One u32 an image; with classEmbedType timestep planar f32 (N, 1, 1, 1), identity (N, timeEmbeddingDim, 1, 1) in c4;
   * null for an unconditional model.
   */
  readonly labels: GPUBuffer | Tensor | null;
  /** The images that are meant; all unless given. */
  readonly piece?: Piece;
}

/** What the network takes from timesteps and classes, by the name of the joint layer that makes it: (N, cOut, 1, 1) in c4. */
export type Times = ReadonlyMap<string, Tensor>;

export interface UNetInputs {
  /** (N, inChannels, H, W) in c4. */
  readonly sample: Tensor;
  readonly times: Times;
}

/** The joint layers that make `Times`. */
export const timeLayers = (weights: UNetWeights): string[] =>
  [...weights.layers.keys()].filter((label) => label === 'emb' || label.startsWith('time_emb_proj'));

/** Records what is made of timesteps and classes alone: for the images of a step, or of many steps at a time. */
export function recordTimes(tape: Tape, config: UNetConfig, weights: UNetWeights, inputs: TimeInputs): Times {
  if (config.architecture === 'lecture') return recordLectureTimes(tape, config, weights, inputs);
  const { dtype } = weights;
  const { piece, labels } = inputs;
  const dense = (label: string, x: Tensor, options: LinearOptions = {}) =>
    linear(tape, label, x, weights.layers.get(label)!, options);
  const project = (label: string, t: Tensor): Tensor =>
    weights.timeTable
      ? learnedTime(tape, label, t, weights.timeTable, dtype, piece)
      : timestepEmbedding(tape, label, t, weights.frequency, {
          dim: timeInputs(config),
          cosFirst: config.timeEmbeddingType === 'positional' && config.flipSinToCos,
          log: config.timeEmbeddingType === 'fourier',
          dtype,
          piece,
        });
  const timestep = (label: string, t: Tensor, addend: Tensor | null = null): Tensor => {
    const h = dense(`${label}.linear_1`, project(`${label}.time_proj`, t));
    return dense(`${label}.linear_2`, h, { activation: 'silu', addend }); // (N, timeEmbeddingDim, 1, 1)
  };
  let emb: Tensor;
  if (labels && 'storage' in labels)
    emb =
      config.classEmbedType === 'timestep'
        ? timestep('class_embedding', labels, timestep('time_embedding', inputs.timestep))
        : timestep('time_embedding', inputs.timestep, labels);
  else emb = timestep('time_embedding', inputs.timestep);
  if (weights.classTable && labels && !('storage' in labels))
    emb = embedding(tape, 'class_embedding', emb, weights.classTable, labels, piece?.first);
  // What the resnets add or scale by: of all of them in one product, or in a few where that would be too large.
  const { activation } = config;
  return new Map(timeLayers(weights).map((label) => [label, dense(label, emb, { activation })]));
}

/** Records the network. Returns its raw output (N, outChannels, H, W) in c4. */
export function recordUNet(
  tape: Tape,
  config: UNetConfig,
  weights: UNetWeights,
  { sample, times }: UNetInputs,
): Tensor {
  if (config.architecture === 'lecture') return recordLecture(tape, config, weights, sample, times);
  const { blockOutChannels, normNumGroups: groups, normEps: eps } = config;
  const levels = blockOutChannels.length;
  const get = (label: string) => weights.layers.get(label)!;
  const conv = (label: string, x: Tensor, options: ConvOptions = {}) =>
    conv2d(tape, label, x, get(label), options);
  const norm = (label: string, x: Tensor, options: Partial<NormOptions> = {}) =>
    groupNorm(tape, label, x, weights.norms.get(label)!, { groups, eps, ...options });
  /** The part of a joint layer's output that is this layer's. */
  const of = (label: string, all: Tensor): Tensor => {
    const { first, cOut } = weights.parts.get(label)!;
    return slice(all, first, cOut, label);
  };
  const { activation } = config;

  /**
   * resize: of both branches, in a block that changes the size. skip: what is joined to x first; read where it is, unless
   * its channels do not fill blocks.
   */
  const resnet = (
    label: string,
    x: Tensor,
    scale = 1,
    { resize, skip }: { resize?: typeof upsampleNearest; skip?: Tensor } = {},
  ): Tensor => {
    const shortcut = `${label}.conv_shortcut`;
    let joined: Tensor | null = null;
    if (skip && joins(x, skip, groups) && weights.layers.has(shortcut)) joined = skip;
    else if (skip) x = concat(tape, `${label}.concat`, x, skip);
    let h = norm(`${label}.norm1`, x, { activation, joined });
    if (resize) {
      h = resize(tape, `${label}.resize`, h);
      x = resize(tape, `${label}.resize_shortcut`, x);
    }
    const time = (end: string) => {
      const part = `${label}.time_emb_proj${end}`;
      return of(part, times.get(weights.parts.get(part)!.layer)!); // (N, cOut, 1, 1)
    };
    if (config.scaleShift) {
      h = conv(`${label}.conv1`, h);
      h = norm(`${label}.norm2`, h, { activation, scale: time('.scale'), shift: time('.shift') });
    } else {
      h = conv(`${label}.conv1`, h, { timeBias: time('') });
      h = norm(`${label}.norm2`, h, { activation });
    }
    const residual = weights.layers.has(shortcut) ? conv(shortcut, x, { joined }) : x;
    return conv(`${label}.conv2`, h, { residual, scale });
  };

  const attend = (label: string, x: Tensor, scale = 1, parts: number | null = groups): Tensor => {
    const { attentionHeadDim: d, numAttentionHeads } = config;
    const heads = numAttentionHeads ?? (d === null ? 1 : x.shape[1] / d);
    const h = parts === null ? x : norm(`${label}.group_norm`, x, { groups: parts });
    const qkv = conv(`${label}.to_qkv`, h);
    const [q, k, v] = ['to_q', 'to_k', 'to_v'].map((part) => of(`${label}.${part}`, qkv));
    return conv(`${label}.to_out.0`, attention(tape, label, q!, k!, v!, heads), {
      residual: config.attentionAddsNormed ? h : x,
      scale,
    });
  };

  // Down.
  let x = conv('conv_in', sample);
  const skips: Tensor[] = [x];
  const padding: Padding =
    config.downsamplePadding === 1
      ? { top: 1, left: 1, bottom: 1, right: 1 }
      : { top: 0, left: 0, bottom: 1, right: 1 };
  for (let i = 0; i < levels; i++) {
    const block = `down_blocks.${i}`;
    for (let j = 0; j < config.layersPerBlock; j++) {
      x = resnet(`${block}.resnets.${j}`, x);
      if (config.downBlockTypes[i] === 'AttnDownBlock2D') x = attend(`${block}.attentions.${j}`, x);
      skips.push(x);
    }
    const sampling = samplingOf(config, 'down', i);
    if (sampling === null) continue;
    const down = `${block}.downsamplers.0`;
    x =
      sampling === 'conv'
        ? conv(`${down}.conv`, x, { stride: 2, padding })
        : resnet(down, x, 1, { resize: downsampleAverage });
    skips.push(x);
  }

  // Middle.
  if (config.hasMidBlock) {
    const scale = 1 / config.midBlockScaleFactor;
    x = resnet('mid_block.resnets.0', x, scale);
    if (config.midAttention) x = attend('mid_block.attentions.0', x, scale, config.attnNormNumGroups);
    x = resnet('mid_block.resnets.1', x, scale);
  }

  // Up.
  for (let i = 0; i < levels; i++) {
    const block = `up_blocks.${i}`;
    for (let j = 0; j <= config.layersPerBlock; j++) {
      x = resnet(`${block}.resnets.${j}`, x, 1, { skip: skips.pop()! });
      if (config.upBlockTypes[i] === 'AttnUpBlock2D') x = attend(`${block}.attentions.${j}`, x);
    }
    const sampling = samplingOf(config, 'up', i);
    const up = `${block}.upsamplers.0`;
    if (sampling === 'conv') x = conv(`${up}.conv`, x, { upsampled: true });
    else if (sampling === 'resnet') x = resnet(up, x, 1, { resize: upsampleNearest });
  }

  // Out.
  x = norm('conv_norm_out', x, { activation: 'silu' });
  return conv('conv_out', x);
}

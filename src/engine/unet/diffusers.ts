/**
 * The U-Net of DDPM (Ho et al. 2020, appendix B) as diffusers wires it in `UNet2DModel`.
 *
 * Reads top to bottom: the down path pushes what the up path pops. Names are the checkpoint's own.
 */

import { attention } from '../kernels/attention.ts';
import { concat } from '../kernels/concat.ts';
import type { Padding } from '../kernels/conv2d.ts';
import { downsampleAverage } from '../kernels/downsample.ts';
import { embedding, learnedTime } from '../kernels/embedding.ts';
import { canConcatInPlace, groupNorm, type NormOptions } from '../kernels/group_norm.ts';
import type { NetworkRecorder } from '../kernels/kernel_policy.ts';
import { linear, type LinearOptions } from '../kernels/linear.ts';
import { timestepEmbedding } from '../kernels/timestep_embedding.ts';
import { upsampleNearest } from '../kernels/upsample_nearest.ts';
import type { Tensor } from '../../core/tensor.ts';
import {
  LayerRecorder,
  ParameterList,
  type Architecture,
  type Conditioning,
  type ConditioningInputs,
  type NetworkWeights,
} from './architecture.ts';
import { samplingOf, type UNetConfig } from './config.ts';

export const diffusers: Architecture = {
  parameters,
  recordConditioning,
  record: (recorder, config, weights, sample, conditioning) =>
    new UNet(recorder, config, weights, conditioning).record(sample),
};

// ---- parameters -------------------------------------------------------------------------------------------

/** Numbers that the time embedding starts from. */
const timeInputs = ({ timeEmbeddingType, timeProjDim }: UNetConfig): number =>
  timeEmbeddingType === 'fourier' ? 2 * timeProjDim : timeProjDim;

function parameters(config: UNetConfig): ParameterList {
  const list = new ParameterList('time_emb_proj');
  const { blockOutChannels: out, layersPerBlock } = config;
  const levels = out.length;
  list.affine('conv_in', out[0]!, config.inChannels, 3, 3);
  embeddingParameters(list, config);
  out.forEach((c, i) => {
    const name = `down_blocks.${i}`;
    for (let j = 0; j < layersPerBlock; j++) {
      resnetParameters(list, config, `${name}.resnets.${j}`, j === 0 ? out[Math.max(i - 1, 0)]! : c, c);
      if (config.downBlockTypes[i] === 'AttnDownBlock2D')
        attentionParameters(list, `${name}.attentions.${j}`, c);
    }
    resizeParameters(list, config, `${name}.downsamplers.0`, 'down', i, c);
  });
  if (config.hasMidBlock) {
    const c = out[levels - 1]!;
    resnetParameters(list, config, 'mid_block.resnets.0', c, c);
    if (config.midAttention)
      attentionParameters(list, 'mid_block.attentions.0', c, config.attnNormNumGroups !== null);
    resnetParameters(list, config, 'mid_block.resnets.1', c, c);
  }
  for (let i = 0; i < levels; i++) {
    const name = `up_blocks.${i}`;
    const c = out[levels - 1 - i]!;
    const previous = out[Math.min(levels - i, levels - 1)]!;
    const below = out[Math.max(levels - 2 - i, 0)]!;
    for (let j = 0; j <= layersPerBlock; j++) {
      const cIn = (j === 0 ? previous : c) + (j === layersPerBlock ? below : c);
      resnetParameters(list, config, `${name}.resnets.${j}`, cIn, c);
      if (config.upBlockTypes[i] === 'AttnUpBlock2D') attentionParameters(list, `${name}.attentions.${j}`, c);
    }
    resizeParameters(list, config, `${name}.upsamplers.0`, 'up', i, c);
  }
  list.affine('conv_norm_out', out[0]!);
  list.affine('conv_out', config.outChannels, out[0]!, 3, 3);
  return list;
}

/** Parameters of the embeddings of time and class. */
function embeddingParameters(list: ParameterList, config: UNetConfig): void {
  const { timeEmbeddingType, timeEmbeddingDim: timeDim, numClassEmbeds } = config;
  const channels = config.blockOutChannels[0]!;
  const timestep = (name: string): void => {
    list.affine(`${name}.linear_1`, timeDim, timeInputs(config));
    list.affine(`${name}.linear_2`, timeDim, timeDim);
  };
  if (timeEmbeddingType === 'fourier') list.add('time_proj.weight', channels);
  if (config.frequencyTable) list.add('time_proj.weight', config.timeProjDim / 2);
  if (timeEmbeddingType === 'learned') list.add('time_proj.weight', config.numTrainTimesteps!, channels);
  timestep('time_embedding');
  if (config.classEmbedType === 'timestep') timestep('class_embedding');
  if (numClassEmbeds !== null) list.add('class_embedding.weight', numClassEmbeds, timeDim);
}

function resnetParameters(
  list: ParameterList,
  config: UNetConfig,
  name: string,
  cIn: number,
  cOut: number,
): void {
  const { scaleShift, timeEmbeddingDim } = config;
  const time = `${name}.time_emb_proj`;
  list.affine(`${name}.norm1`, cIn);
  list.affine(`${name}.conv1`, cOut, cIn, 3, 3);
  list.affine(time, scaleShift ? 2 * cOut : cOut, timeEmbeddingDim);
  list.fuse(time, list.conditioningLayer, scaleShift ? ['.scale', '.shift'] : ['']);
  list.affine(`${name}.norm2`, cOut);
  list.affine(`${name}.conv2`, cOut, cOut, 3, 3);
  if (cIn !== cOut) list.affine(`${name}.conv_shortcut`, cOut, cIn, 1, 1);
}

function attentionParameters(list: ParameterList, name: string, c: number, normed = true): void {
  if (normed) list.affine(`${name}.group_norm`, c);
  list.attentionInputs(name, c);
  list.affine(`${name}.to_out.0`, c, c);
}

function resizeParameters(
  list: ParameterList,
  config: UNetConfig,
  name: string,
  way: 'down' | 'up',
  level: number,
  c: number,
): void {
  const sampling = samplingOf(config, way, level);
  if (sampling === 'conv') list.affine(`${name}.conv`, c, c, 3, 3);
  if (sampling === 'resnet') resnetParameters(list, config, name, c, c);
}

// ---- conditioning -----------------------------------------------------------------------------------------

function recordConditioning(
  recorder: NetworkRecorder,
  config: UNetConfig,
  weights: NetworkWeights,
  { timestep, labels, range }: ConditioningInputs,
): Conditioning {
  const { dtype, timeTable, classTable, frequency } = weights;
  const dense = (label: string, x: Tensor, options: LinearOptions = {}): Tensor =>
    linear(recorder, label, x, weights.layers.get(label)!, options);
  const project = (label: string, t: Tensor): Tensor =>
    timeTable
      ? learnedTime(recorder, label, t, timeTable, dtype, range)
      : timestepEmbedding(recorder, label, t, frequency, {
          dim: timeInputs(config),
          cosFirst: config.timeEmbeddingType === 'positional' && config.flipSinToCos,
          log: config.timeEmbeddingType === 'fourier',
          dtype,
          range,
        });
  /** (N, timeEmbeddingDim, 1, 1). */
  const embed = (label: string, t: Tensor, addend: Tensor | null = null): Tensor => {
    const h = dense(`${label}.linear_1`, project(`${label}.time_proj`, t));
    return dense(`${label}.linear_2`, h, { activation: 'silu', addend });
  };
  const continuous = labels && 'storage' in labels ? labels : null;
  let emb: Tensor;
  if (continuous && config.classEmbedType === 'timestep')
    emb = embed('class_embedding', continuous, embed('time_embedding', timestep));
  else emb = embed('time_embedding', timestep, continuous);
  if (classTable && labels && !('storage' in labels))
    emb = embedding(recorder, 'class_embedding', emb, classTable, labels, range?.first);
  // The residual blocks add these, or scale by them: all in one product, or in a few if one would be too large.
  const { activation } = config;
  return new Map(weights.conditioningLayers.map((label) => [label, dense(label, emb, { activation })]));
}

// ---- network ----------------------------------------------------------------------------------------------

interface ResnetOptions {
  /** Divides the sum at the end; default 1. */
  readonly scale?: number;
  /** Of both branches, in a block that changes the size. */
  readonly resize?: (recorder: NetworkRecorder, label: string, x: Tensor) => Tensor;
  /** Concatenated with x first; in place, unless its channels do not fill blocks. */
  readonly skip?: Tensor;
}

class UNet extends LayerRecorder {
  record(sample: Tensor): Tensor {
    const { hasMidBlock } = this.config;
    const x = this.conv('conv_in', sample);
    const skips = [x];
    const low = this.#down(x, skips);
    const middle = hasMidBlock ? this.#middle(low) : low;
    const h = this.#norm('conv_norm_out', this.#up(middle, skips), { activation: 'silu' });
    return this.conv('conv_out', h);
  }

  #down(x: Tensor, skips: Tensor[]): Tensor {
    const { blockOutChannels, layersPerBlock, downBlockTypes, downsamplePadding } = this.config;
    const before = downsamplePadding;
    const padding: Padding = { top: before, left: before, bottom: 1, right: 1 };
    for (let i = 0; i < blockOutChannels.length; i++) {
      const block = `down_blocks.${i}`;
      for (let j = 0; j < layersPerBlock; j++) {
        x = this.#resnet(`${block}.resnets.${j}`, x);
        if (downBlockTypes[i] === 'AttnDownBlock2D') x = this.#attend(`${block}.attentions.${j}`, x);
        skips.push(x);
      }
      const sampling = samplingOf(this.config, 'down', i);
      if (sampling === null) continue;
      const label = `${block}.downsamplers.0`;
      if (sampling === 'conv') x = this.conv(`${label}.conv`, x, { stride: 2, padding });
      else x = this.#resnet(label, x, { resize: downsampleAverage });
      skips.push(x);
    }
    return x;
  }

  #middle(x: Tensor): Tensor {
    const { midBlockScaleFactor, midAttention, attnNormNumGroups } = this.config;
    const scale = 1 / midBlockScaleFactor;
    x = this.#resnet('mid_block.resnets.0', x, { scale });
    if (midAttention) x = this.#attend('mid_block.attentions.0', x, scale, attnNormNumGroups);
    return this.#resnet('mid_block.resnets.1', x, { scale });
  }

  #up(x: Tensor, skips: Tensor[]): Tensor {
    const { blockOutChannels, layersPerBlock, upBlockTypes } = this.config;
    for (let i = 0; i < blockOutChannels.length; i++) {
      const block = `up_blocks.${i}`;
      for (let j = 0; j <= layersPerBlock; j++) {
        x = this.#resnet(`${block}.resnets.${j}`, x, { skip: skips.pop()! });
        if (upBlockTypes[i] === 'AttnUpBlock2D') x = this.#attend(`${block}.attentions.${j}`, x);
      }
      const sampling = samplingOf(this.config, 'up', i);
      const label = `${block}.upsamplers.0`;
      if (sampling === 'conv') x = this.conv(`${label}.conv`, x, { upsampled: true });
      else if (sampling === 'resnet') x = this.#resnet(label, x, { resize: upsampleNearest });
    }
    return x;
  }

  #norm(label: string, x: Tensor, options: Partial<NormOptions> = {}): Tensor {
    const { normNumGroups: groups, normEps: eps } = this.config;
    return groupNorm(this.recorder, label, x, this.weights.norms.get(label)!, { groups, eps, ...options });
  }

  #resnet(label: string, x: Tensor, { scale = 1, resize, skip }: ResnetOptions = {}): Tensor {
    const { recorder, weights, config } = this;
    const { activation, scaleShift, normNumGroups } = config;
    const shortcut = `${label}.conv_shortcut`;
    let concatWith: Tensor | null = null;
    if (skip && canConcatInPlace(x, skip, normNumGroups) && weights.layers.has(shortcut)) concatWith = skip;
    else if (skip) x = concat(recorder, `${label}.concat`, x, skip);
    let h = this.#norm(`${label}.norm1`, x, { activation, concatWith });
    if (resize) {
      h = resize(recorder, `${label}.resize`, h);
      x = resize(recorder, `${label}.resize_shortcut`, x);
    }
    const time = (part: string): Tensor => this.conditioningOf(`${label}.time_emb_proj${part}`);
    if (scaleShift) {
      h = this.conv(`${label}.conv1`, h);
      h = this.#norm(`${label}.norm2`, h, { activation, scale: time('.scale'), shift: time('.shift') });
    } else {
      h = this.conv(`${label}.conv1`, h, { timeBias: time('') });
      h = this.#norm(`${label}.norm2`, h, { activation });
    }
    const residual = weights.layers.has(shortcut) ? this.conv(shortcut, x, { concatWith }) : x;
    return this.conv(`${label}.conv2`, h, { residual, scale });
  }

  /** @param groups of the norm before; null for none */
  #attend(label: string, x: Tensor, scale = 1, groups: number | null = this.config.normNumGroups): Tensor {
    const { attentionHeadDim: d, numAttentionHeads, attentionAddsNormed } = this.config;
    const heads = numAttentionHeads ?? (d === null ? 1 : x.shape[1] / d);
    const h = groups === null ? x : this.#norm(`${label}.group_norm`, x, { groups });
    const [q, k, v] = this.qkv(label, h);
    const residual = attentionAddsNormed ? h : x;
    return this.conv(`${label}.to_out.0`, attention(this.recorder, label, q, k, v, heads), {
      residual,
      scale,
    });
  }
}

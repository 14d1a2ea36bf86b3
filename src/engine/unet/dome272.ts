/**
 * The U-Net of dome272/Diffusion-Models-pytorch, conditional or not: the network of the lecture that this project grew
 * out of.
 *
 * Group norms of one group, GELU, max pooling, bilinear upsampling with aligned corners, layer norm before multi-head
 * attention, and the sinusoidal timestep (plus the class) straight into every level. weights/convert/lecture.py writes
 * its checkpoints under these names.
 */

import { attention } from '../kernels/attention.ts';
import { concat } from '../kernels/concat.ts';
import { downsampleMax } from '../kernels/downsample.ts';
import { embedding } from '../kernels/embedding.ts';
import { groupNorm, type NormOptions } from '../kernels/group_norm.ts';
import type { NetworkRecorder } from '../kernels/kernel_policy.ts';
import { layerNorm } from '../kernels/layer_norm.ts';
import { linear } from '../kernels/linear.ts';
import { timestepEmbedding } from '../kernels/timestep_embedding.ts';
import { upsampleBilinear } from '../kernels/upsample_bilinear.ts';
import type { Tensor } from '../../core/tensor.ts';
import {
  LayerRecorder,
  ParameterList,
  type Architecture,
  type Conditioning,
  type ConditioningInputs,
  type NetworkWeights,
} from './architecture.ts';
import type { UNetConfig } from './config.ts';

export const dome272: Architecture = {
  parameters,
  recordConditioning,
  record: (recorder, config, weights, sample, conditioning) =>
    new UNet(recorder, config, weights, conditioning).record(sample),
};

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

function parameters(config: UNetConfig): ParameterList {
  const list = new ParameterList('emb');
  const double = (name: string, cIn: number, cOut: number, middle = cOut): void => {
    list.affine(`${name}.conv1`, middle, cIn, 3, 3);
    list.affine(`${name}.norm1`, middle);
    list.affine(`${name}.conv2`, cOut, middle, 3, 3);
    list.affine(`${name}.norm2`, cOut);
  };
  const level = (name: string, cIn: number, cOut: number, middle = cOut): void => {
    double(`${name}.conv.0`, cIn, cIn);
    double(`${name}.conv.1`, cIn, cOut, middle);
    list.affine(`${name}.emb`, cOut, config.timeProjDim);
    list.fuse(`${name}.emb`, list.conditioningLayer);
  };
  const { first, down, middle, up, attended } = widths(config);
  if (config.numClassEmbeds !== null)
    list.add('class_embedding.weight', config.numClassEmbeds, config.timeProjDim);
  double('inc', config.inChannels, first);
  down.forEach(([cIn, cOut], i) => level(`down${i + 1}`, cIn, cOut));
  middle.forEach(([cIn, cOut], i) => double(`bot${i + 1}`, cIn, cOut));
  up.forEach(([cIn, cOut], i) => level(`up${i + 1}`, cIn, cOut, cIn / 2));
  attended.forEach((c, i) => {
    const name = `sa${i + 1}`;
    list.affine(`${name}.norm`, c);
    list.attentionInputs(name, c);
    list.affine(`${name}.to_out`, c, c);
    list.affine(`${name}.ff_norm`, c);
    list.affine(`${name}.ff1`, c, c);
    list.affine(`${name}.ff2`, c, c);
  });
  list.affine('outc', config.outChannels, first, 1, 1);
  return list;
}

function recordConditioning(
  recorder: NetworkRecorder,
  config: UNetConfig,
  { dtype, frequency, classTable, layers }: NetworkWeights,
  { timestep, labels, range }: ConditioningInputs,
): Conditioning {
  const dim = config.timeProjDim;
  let emb = timestepEmbedding(recorder, 'time_proj', timestep, frequency, {
    dim,
    cosFirst: false,
    dtype,
    range,
  });
  if (classTable && labels && !('storage' in labels))
    emb = embedding(recorder, 'class_embedding', emb, classTable, labels, range?.first);
  return new Map([['emb', linear(recorder, 'emb', emb, layers.get('emb')!, { activation: 'silu' })]]);
}

class UNet extends LayerRecorder {
  record(sample: Tensor): Tensor {
    const { recorder } = this;
    let x = this.#double('inc', sample);
    const skips: Tensor[] = [];
    for (const i of [1, 2, 3]) {
      skips.push(x);
      x = this.#attend(`sa${i}`, this.#level(`down${i}`, downsampleMax(recorder, `down${i}.pool`, x)));
    }
    for (const i of [1, 2, 3]) x = this.#double(`bot${i}`, x);
    for (const i of [1, 2, 3]) {
      x = concat(recorder, `up${i}.concat`, skips.pop()!, upsampleBilinear(recorder, `up${i}.up`, x));
      x = this.#attend(`sa${i + 3}`, this.#level(`up${i}`, x));
    }
    return this.conv('outc', x);
  }

  #norm(label: string, x: Tensor, options: Partial<NormOptions> = {}): Tensor {
    const weights = this.weights.norms.get(label)!;
    return groupNorm(this.recorder, label, x, weights, { groups: 1, eps: 1e-5, ...options });
  }

  #layerNorm(label: string, x: Tensor): Tensor {
    return layerNorm(this.recorder, label, x, this.weights.norms.get(label)!);
  }

  /** @param end what follows the second norm */
  #double(label: string, x: Tensor, end: Partial<NormOptions> = {}): Tensor {
    const h = this.#norm(`${label}.norm1`, this.conv(`${label}.conv1`, x), { activation: 'gelu' });
    return this.#norm(`${label}.norm2`, this.conv(`${label}.conv2`, h), end);
  }

  /** Two double convolutions, the first with a residual; adds the embedding at the end. */
  #level(label: string, x: Tensor): Tensor {
    const h = this.#double(`${label}.conv.0`, x, { residual: x, activation: 'gelu' });
    return this.#double(`${label}.conv.1`, h, { shift: this.conditioningOf(`${label}.emb`) });
  }

  #attend(label: string, x: Tensor): Tensor {
    const [q, k, v] = this.qkv(label, this.#layerNorm(`${label}.norm`, x));
    const mixed = attention(this.recorder, label, q, k, v, this.config.numAttentionHeads!);
    const a = this.conv(`${label}.to_out`, mixed, { residual: x });
    const f = this.conv(`${label}.ff1`, this.#layerNorm(`${label}.ff_norm`, a), { activation: 'gelu' });
    return this.conv(`${label}.ff2`, f, { residual: a });
  }
}

/** What an architecture of networks provides: its parameters, and how it is recorded. The table is architectures.ts. */

import type { ConvOptions, ConvWeights } from '../kernels/conv2d.ts';
import { conv2d } from '../kernels/conv2d.ts';
import type { Table } from '../kernels/embedding.ts';
import type { NormWeights } from '../kernels/group_norm.ts';
import type { NetworkRecorder } from '../kernels/kernel_policy.ts';
import {
  sliceChannels,
  type BatchRange,
  type BufferHandle,
  type DType,
  type Tensor,
} from '../../core/tensor.ts';
import type { UNetConfig } from './config.ts';

export interface Architecture {
  parameters(config: UNetConfig): ParameterList;
  /** Records what depends on timesteps and classes alone: for the images of one step, or of many steps at once. */
  recordConditioning(
    recorder: NetworkRecorder,
    config: UNetConfig,
    weights: NetworkWeights,
    inputs: ConditioningInputs,
  ): Conditioning;
  /**
   * Records the network.
   * @param sample (N, inChannels, H, W) in c4
   * @returns the raw output (N, outChannels, H, W) in c4
   */
  record(
    recorder: NetworkRecorder,
    config: UNetConfig,
    weights: NetworkWeights,
    sample: Tensor,
    conditioning: Conditioning,
  ): Tensor;
}

export interface ConditioningInputs {
  /** (N, 1, 1, 1) planar f32: the timestep of each image, 0 to T - 1, possibly a fraction. */
  readonly timestep: Tensor;
  /**
   * One u32 per image. With classEmbedType timestep planar f32 (N, 1, 1, 1); identity (N, timeEmbeddingDim, 1, 1) in c4. Null
   * for an unconditional model.
   */
  readonly labels: BufferHandle | Tensor | null;
  /** Default all images. */
  readonly range?: BatchRange;
}

/** The network's inputs from timesteps and classes, by the conditioning layer that computes each: (N, cOut, 1, 1) in c4. */
export type Conditioning = ReadonlyMap<string, Tensor>;

/** A layer of the checkpoint that is fused with others of the same input: one product of matrices instead of many. */
export interface Fusion {
  /** Name of the fused layer. */
  readonly layer: string;
  /** Suffixes of the equal parts that the layer's rows are used as; one empty suffix for the whole. */
  readonly parts: readonly string[];
}

/** The parameters of a network, in its order. */
export class ParameterList {
  /** Shape of each parameter, by its name in the checkpoint. */
  readonly shapes = new Map<string, readonly number[]>();
  /** By the name of a layer. */
  readonly fusions = new Map<string, Fusion>();
  /** The fused layer that computes the conditioning. A large one is cut into several. */
  readonly conditioningLayer: string;

  constructor(conditioningLayer: string) {
    this.conditioningLayer = conditioningLayer;
  }

  add(name: string, ...shape: number[]): void {
    this.shapes.set(name, shape);
  }

  /** A layer with a weight of this shape, and a bias. */
  affine(name: string, ...shape: number[]): void {
    this.add(`${name}.weight`, ...shape);
    this.add(`${name}.bias`, shape[0]!);
  }

  fuse(name: string, layer: string, parts: readonly string[] = ['']): void {
    this.fusions.set(name, { layer, parts });
  }

  /** Queries, keys and values of an attention over `c` channels, fused. */
  attentionInputs(name: string, c: number): void {
    for (const part of ['to_q', 'to_k', 'to_v']) {
      this.affine(`${name}.${part}`, c, c);
      this.fuse(`${name}.${part}`, `${name}.to_qkv`);
    }
  }
}

/** Some of the outputs of a fused layer: a layer of its own in the checkpoint. */
export interface FusedSlice {
  readonly layer: string;
  /** First block of four output channels. */
  readonly firstBlock: number;
  readonly cOut: number;
}

/** The weights that an architecture records with: handles of their buffers. */
export interface NetworkWeights {
  readonly dtype: DType;
  /** Every layer with a matrix, by its name in the checkpoint or by that of the fused layer; linear ones have size 1. */
  readonly layers: ReadonlyMap<string, ConvWeights>;
  /** Parts of fused layers, such as `mid_block.attentions.0.to_q`. */
  readonly slices: ReadonlyMap<string, FusedSlice>;
  readonly norms: ReadonlyMap<string, NormWeights>;
  /** Names of the fused layers that compute the conditioning. */
  readonly conditioningLayers: readonly string[];
  readonly classTable: Table | null;
  readonly timeTable: Table | null;
  /** Of the sinusoidal and Fourier embeddings. */
  readonly frequency: BufferHandle;
}

/** Records layers by their names. What the architectures have in common. */
export class LayerRecorder {
  readonly recorder: NetworkRecorder;
  readonly config: UNetConfig;
  readonly weights: NetworkWeights;
  readonly #conditioning: Conditioning;

  constructor(
    recorder: NetworkRecorder,
    config: UNetConfig,
    weights: NetworkWeights,
    conditioning: Conditioning,
  ) {
    this.recorder = recorder;
    this.config = config;
    this.weights = weights;
    this.#conditioning = conditioning;
  }

  conv(label: string, x: Tensor, options: ConvOptions = {}): Tensor {
    return conv2d(this.recorder, label, x, this.weights.layers.get(label)!, options);
  }

  /** The part of a fused layer's output that belongs to one layer. */
  slice(label: string, fused: Tensor): Tensor {
    const { firstBlock, cOut } = this.weights.slices.get(label)!;
    return sliceChannels(fused, firstBlock, cOut, label);
  }

  /** What a layer gets of the conditioning: (N, cOut, 1, 1). */
  conditioningOf(label: string): Tensor {
    return this.slice(label, this.#conditioning.get(this.weights.slices.get(label)!.layer)!);
  }

  /** Queries, keys and values of x. */
  qkv(label: string, x: Tensor): readonly [q: Tensor, k: Tensor, v: Tensor] {
    const fused = this.conv(`${label}.to_qkv`, x);
    const part = (end: string): Tensor => this.slice(`${label}.${end}`, fused);
    return [part('to_q'), part('to_k'), part('to_v')];
  }
}

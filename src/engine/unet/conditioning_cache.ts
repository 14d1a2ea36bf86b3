/** The network's conditioning for many steps at once: tables, of which a step copies its rows. */

import { NetworkRecorder } from '../kernels/kernel_policy.ts';
import { blocks, bytesOf, type BatchRange, type BufferHandle, type Tensor } from '../../core/tensor.ts';
import type { Conditioning, NetworkWeights } from './architecture.ts';
import { architectureOf } from './architectures.ts';
import type { UNetConfig } from './config.ts';

/** Most steps of a cache, and most bytes of its tables. */
const CACHED_STEPS = 16;
const CACHE_BYTES = 2 ** 24;

export interface ConditioningCache {
  /** Fills the tables. */
  readonly graph: NetworkRecorder;
  readonly steps: number;
  /** (steps * images, 1, 1, 1): the timestep of every image in the first step, in the second, ... */
  readonly timestep: Tensor;
  /** (steps * images, cOut, 1, 1) in c4, by conditioning layer. */
  readonly tables: Conditioning;
}

/** A copy from a table of the cache to an input of the network. For step k, it starts `k * stride` bytes further on. */
export interface CacheCopy {
  readonly from: Tensor;
  readonly offset: number;
  readonly stride: number;
  readonly bytes: number;
  readonly to: Tensor;
}

/**
 * How many steps are cached; 1 means that each step computes its own conditioning.
 * @param images that the network gets in one step
 * @param limit bytes that may be bound in one piece
 */
export function cachedSteps(weights: NetworkWeights, images: number, limit: number): number {
  const row = weights.conditioningLayers.reduce(
    (sum, label) => sum + blocks(weights.layers.get(label)!.cOut) * 4,
    0,
  );
  const most = Math.floor(Math.min(CACHE_BYTES, limit) / (row * bytesOf[weights.dtype] * images));
  return Math.max(1, Math.min(CACHED_STEPS, most));
}

export function recordCache(
  config: UNetConfig,
  weights: NetworkWeights,
  steps: number,
  images: number,
  labels: BufferHandle | null,
): ConditioningCache {
  const graph = new NetworkRecorder();
  const timestep = graph.persistent('timesteps', [steps * images, 1, 1, 1], 'f32');
  const inputs = { timestep, labels };
  const tables = architectureOf(config).recordConditioning(graph, config, weights, inputs);
  for (const table of tables.values()) graph.keep(table);
  return { graph, steps, timestep, tables };
}

/** The conditioning of some of a step's images: tensors, and the copies that fill them before the step. */
export function readCache(
  recorder: NetworkRecorder,
  { steps, timestep, tables }: ConditioningCache,
  { first, count }: BatchRange,
): { readonly conditioning: Conditioning; readonly copies: readonly CacheCopy[] } {
  const images = timestep.shape[0] / steps;
  const copies: CacheCopy[] = [];
  const conditioning = new Map<string, Tensor>();
  for (const [label, from] of tables) {
    const to = recorder.persistent(`${label}.now`, [count, from.shape[1], 1, 1], from.dtype, 'c4');
    const row = blocks(from.shape[1]) * 4 * bytesOf[from.dtype];
    copies.push({ from, offset: first * row, stride: images * row, bytes: count * row, to });
    conditioning.set(label, to);
  }
  return { conditioning, copies };
}

/** A network from planar sample to planar output, in as many parts of the batch as the GPU's limits require. */

import { largestTransient } from '../gpu/memory_plan.ts';
import type { NetworkRecorder } from '../kernels/kernel_policy.ts';
import { pack, unpack } from '../kernels/layout_convert.ts';
import type { BatchRange, BufferHandle, Tensor } from '../../core/tensor.ts';
import type { Conditioning, NetworkWeights } from './architecture.ts';
import { architectureOf } from './architectures.ts';
import { readCache, type CacheCopy, type ConditioningCache } from './conditioning_cache.ts';
import type { UNetConfig } from './config.ts';

export interface NetworkInputs {
  readonly x: Tensor;
  readonly timestep: Tensor;
  readonly labels: BufferHandle | Tensor | null;
  /** How many times the network gets every image. */
  readonly passes: number;
  /** If given, replaces timestep and labels. */
  readonly cache?: ConditioningCache | null;
}

export interface NetworkOutputs {
  /** (passes * N, outChannels, H, W) planar f32. */
  readonly output: Tensor;
  /** To be made before each step. */
  readonly copies: readonly CacheCopy[];
}

/**
 * Records planar sample -> planar raw output, with the images repeated `passes` times.
 *
 * If a tensor of the whole batch is larger than `limit` bytes, the recording is dropped, and the batch goes through in
 * parts that fit, which use the same memory one after the other.
 */
export function recordNetwork(
  recorder: NetworkRecorder,
  config: UNetConfig,
  weights: NetworkWeights,
  inputs: NetworkInputs,
  limit: number,
): NetworkOutputs {
  const { x, passes } = inputs;
  const [n, , h, w] = x.shape;
  const images = passes * n;
  const output = recorder.persistent('output', [images, config.outChannels, h, w], 'f32');
  const before = recorder.dispatches.length;
  let perPart = images;
  for (;;) {
    const copies: CacheCopy[] = [];
    for (let first = 0; first < images; first += perPart) {
      const range = { first, count: Math.min(perPart, images - first) };
      copies.push(...recordPart(recorder, config, weights, inputs, range, output));
    }
    const largest = largestTransient(recorder.dispatches.slice(before));
    // Labels that are no classes come as one tensor, which is not split.
    if (largest <= limit || perPart === 1 || config.classEmbedType !== null) return { output, copies };
    recorder.rewind(before);
    // Parts of equal size, as large as fit if memory grows with the batch.
    const fits = Math.max(1, Math.min(perPart - 1, Math.floor((perPart * limit) / largest)));
    perPart = Math.ceil(images / Math.ceil(images / fits));
  }
}

function recordPart(
  recorder: NetworkRecorder,
  config: UNetConfig,
  weights: NetworkWeights,
  { x, timestep, labels, passes, cache }: NetworkInputs,
  range: BatchRange,
  output: Tensor,
): readonly CacheCopy[] {
  const architecture = architectureOf(config);
  const centred = config.centerInputSample ? { scale: 2, offset: -1 } : {};
  const sample = pack(recorder, 'sample', x, { dtype: weights.dtype, repeat: passes, range, ...centred });
  let conditioning: Conditioning;
  let copies: readonly CacheCopy[] = [];
  if (cache) ({ conditioning, copies } = readCache(recorder, cache, range));
  else conditioning = architecture.recordConditioning(recorder, config, weights, { timestep, labels, range });
  const raw = architecture.record(recorder, config, weights, sample, conditioning);
  // diffusers: with Fourier features of the noise level, the output is divided by it (Song et al. 2021b, appendix C.1).
  const divisor = config.timeEmbeddingType === 'fourier' ? timestep : null;
  unpack(recorder, 'output', raw, output, divisor, range.first);
  return copies;
}

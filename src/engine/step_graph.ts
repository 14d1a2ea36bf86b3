/**
 * One step of a run as recordings: the network and the update, and the buffers that steer them.
 *
 * Pure data. `memoryOf` counts what building it allocates; `StepPlan` (model.ts) is one that is built.
 */

import { DiffusionError } from '../core/errors.ts';
import { countMemory, type Bound, type GraphMemory } from './gpu/memory_plan.ts';
import type { CommandGraph } from './gpu/recorder.ts';
import { NetworkRecorder, type KernelPolicy } from './kernels/kernel_policy.ts';
import { noise, type NoiseSource } from './kernels/noise.ts';
import { repaint, REPAINT_BYTES } from './kernels/repaint.ts';
import { update, UPDATE_STEP_BYTES } from './kernels/update.ts';
import { normalTable } from '../schedule/normal_table.ts';
import { bufferHandle, type BufferHandle, type Shape, type Tensor } from '../core/tensor.ts';
import type { NetworkWeights } from './unet/architecture.ts';
import {
  cachedSteps,
  recordCache,
  type CacheCopy,
  type ConditioningCache,
} from './unet/conditioning_cache.ts';
import { checkSize, type UNetConfig } from './unet/config.ts';
import { recordNetwork } from './unet/network.ts';

/** What one step is recorded for. Options default to off. */
export interface StepShape {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  /** The network gets every image twice: with its class and without. */
  readonly guided?: boolean;
  /** The noise of the steps is an input, not generated. */
  readonly givenNoise?: boolean;
  /** States in the sampler's memory, 0 to 6. */
  readonly slots?: number;
  /** Measures each image before the update, for rescaled guidance and dynamic thresholding. */
  readonly measured?: boolean;
  /** Keeps part of a picture. */
  readonly masked?: boolean;
}

/** Identifies a shape: equal for shapes that need the same recording. */
export const stepShapeKey = ({
  count,
  height,
  width,
  guided,
  givenNoise,
  slots,
  measured,
  masked,
}: StepShape): string =>
  [count, height, width, slots ?? 0, ...[guided, givenNoise, measured, masked].map(Boolean)].join(' ');

/** What a step reads and writes, as handles (in a StepGraph) or in GPU memory (in a StepPlan). */
export interface StepBuffers<TensorType, BufferType> {
  /** The state, planar (count, C, H, W). */
  readonly x: TensorType;
  readonly x0Hat: TensorType;
  /** The sampler's memory, planar (slots * count, C, H, W); null without slots. */
  readonly history: TensorType | null;
  /** (passes * count, 1, 1, 1): the timestep of every image that the network gets. */
  readonly timestep: TensorType | null;
  /** The noise of the step, if it is given. */
  readonly z: TensorType | null;
  /** A u32 for each timestep of the cache, or without a cache of `timestep`; null for an unconditional model. */
  readonly labels: BufferType | null;
  readonly seeds: BufferType;
  readonly normalTable: BufferType;
  /** struct Step of shaders/lib/step.wgsl. */
  readonly uniforms: BufferType;
  /** A u32 that becomes non-zero if a number of the state is not finite. */
  readonly fault: BufferType;
  /** Null unless masked. */
  readonly inpainting: {
    readonly known: TensorType;
    readonly mask: TensorType;
    readonly numbers: BufferType;
  } | null;
}

export interface StepGraph extends StepBuffers<Tensor, BufferHandle> {
  readonly timestep: Tensor;
  /** x_t -> x_{t-1}: network and update. */
  readonly step: CommandGraph & { readonly flops: number };
  /** Fills `x` with x_T. */
  readonly start: CommandGraph;
  /** Noises the whole state (RePaint); null unless masked. */
  readonly renoise: CommandGraph | null;
  /** Null if every step computes its own conditioning. */
  readonly cache: (ConditioningCache & { readonly copies: readonly CacheCopy[] }) | null;
}

/** Whether the network can be sampled from; if not, it can still be run alone. */
export const canSample = ({ classEmbedType, inChannels, outChannels }: UNetConfig): boolean =>
  classEmbedType === null && (outChannels === inChannels || outChannels === 2 * inChannels);

/** WebGPU's default maxStorageBufferBindingSize: what every GPU binds in one piece. */
export const DEFAULT_BINDING = 128 * 2 ** 20;

/**
 * @param source name of the model, for messages
 * @param limit bytes that may be bound in one piece
 * @throws unsupported-model if the network cannot run in this shape
 */
export function recordStep(
  config: UNetConfig,
  weights: NetworkWeights,
  shape: StepShape,
  source: string,
  limit: number,
  policy?: KernelPolicy,
): StepGraph {
  checkSampling(config, source);
  checkSize(config, shape.height, shape.width, source);
  const step = new NetworkRecorder(policy);
  const buffers = stepBuffers(step, config, weights, shape, limit);
  const { x, timestep, labels, cachedSteps: steps, passes } = buffers;
  const { x0Hat, history, z, seeds, uniforms, fault, inpainting } = buffers;
  const cache = steps > 1 ? recordCache(config, weights, steps, passes * shape.count, labels) : null;
  const inputs = { x, timestep, labels, passes, cache };
  const { output, copies } = recordNetwork(step, config, weights, inputs, limit);
  const noiseSource: NoiseSource = { seeds, normalTable: buffers.normalTable };
  update(
    step,
    'update',
    { x, x0Hat, output, step: uniforms, fault, z: z ?? noiseSource, history },
    shape.measured,
  );
  if (inpainting) repaint(step, 'repaint', { x, ...inpainting, source: noiseSource });
  const start = new NetworkRecorder();
  noise(start, 'x_T', x, noiseSource, 1);
  const renoise = inpainting && new NetworkRecorder();
  if (renoise) repaint(renoise, 'renoise', { x, ...inpainting, source: noiseSource });
  return { ...buffers, step, start, renoise, cache: cache && { ...cache, copies } };
}

function checkSampling(config: UNetConfig, source: string): void {
  if (config.outChannels !== config.inChannels && config.outChannels !== 2 * config.inChannels)
    throw new DiffusionError(
      'unsupported-model',
      `${source} gives ${config.outChannels} channels for ${config.inChannels}.`,
      'Use a model with as many channels out as in, or twice as many (a learned variance).',
    );
  if (config.classEmbedType !== null)
    throw new DiffusionError(
      'unsupported-model',
      `${source} takes labels that are not classes (class_embed_type ${config.classEmbedType}).`,
      'Run the network alone, or sample with a model that has num_class_embeds, or no classes.',
    );
}

function stepBuffers(
  recorder: NetworkRecorder,
  config: UNetConfig,
  weights: NetworkWeights,
  shape: StepShape,
  limit: number,
) {
  const { count: n, height, width, guided, givenNoise, slots = 0, masked } = shape;
  const passes = guided ? 2 : 1;
  const state: Shape = [n, config.inChannels, height, width];
  const steps = cachedSteps(weights, passes * n, limit);
  const tensor = (label: string, size: Shape = state): Tensor => recorder.persistent(label, size, 'f32');
  const buffer = (label: string, bytes: number, uniform = false): BufferHandle =>
    bufferHandle(label, bytes, 'persistent', uniform);
  return {
    passes,
    cachedSteps: steps,
    x: tensor('x'),
    x0Hat: tensor('x0Hat'),
    timestep: tensor('timestep', [passes * n, 1, 1, 1]),
    z: givenNoise ? tensor('z') : null,
    history: slots > 0 ? tensor('history', [slots * n, state[1], height, width]) : null,
    labels: config.numClassEmbeds === null ? null : buffer('labels', steps * passes * n * 4),
    seeds: buffer('seeds', n * 8),
    normalTable: buffer('normalTable', normalTable.byteLength),
    uniforms: buffer('step', UPDATE_STEP_BYTES, true),
    fault: buffer('fault', 4),
    inpainting: masked
      ? { known: tensor('known'), mask: tensor('mask'), numbers: buffer('repaint', REPAINT_BYTES, true) }
      : null,
  };
}

/** The recordings of a step, in the order in which they are built. */
export const graphsOf = ({ step, start, renoise, cache }: StepGraph): CommandGraph[] => [
  step,
  start,
  ...(renoise ? [renoise] : []),
  ...(cache ? [cache.graph] : []),
];

/** What building a step allocates. */
export const memoryOf = (graph: StepGraph, weights: Bound): GraphMemory =>
  countMemory(graphsOf(graph), weights);

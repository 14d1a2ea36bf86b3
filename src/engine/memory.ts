/** The GPU memory of a model and its runs, known before anything is downloaded or allocated. */

import { mebibytes } from '../core/format.ts';
import { DiffusionError } from '../core/errors.ts';
import type { Gpu } from './gpu/device.ts';
import {
  convShapeKey,
  DEFAULT_KERNELS,
  type ConvShape,
  type ConvVariant,
  type KernelPolicy,
} from './kernels/kernel_policy.ts';
import {
  canSample,
  DEFAULT_BINDING,
  memoryOf,
  recordStep,
  type StepGraph,
  type StepShape,
} from './step_graph.ts';
import type { DType } from '../core/tensor.ts';
import type { UNetConfig } from './unet/config.ts';
import { WeightLayout } from './unet/weights.ts';

/** Bytes that are read back at the end of a run: the flag of a numeric fault. */
export const READ_BACK = 4;

/** In bytes. */
export interface MemoryPlan {
  readonly weights: number;
  /** Activations, state and tables of one run. */
  readonly working: number;
  /** All buffers of a model with one run, to the byte. (Reading pictures back takes more.) */
  readonly total: number;
  /** The largest buffer, which is bound in one piece. */
  readonly largestBinding: number;
}

/**
 * The bytes of a model in a run of this shape, or of its weights alone, from its config, without a GPU.
 * @param limit bytes that the GPU binds in one piece; larger batches go through the network in parts
 * @param policy how layers are computed, which changes the memory; default DEFAULT_KERNELS
 * @throws unsupported-model if the network cannot run in this shape
 */
export function planMemory(
  config: UNetConfig,
  shape: StepShape | null,
  dtype: DType,
  limit = DEFAULT_BINDING,
  policy?: KernelPolicy,
): MemoryPlan {
  const weights = new WeightLayout(config, dtype);
  return memoryPlan(weights, shape && recordStep(config, weights, shape, 'the model', limit, policy));
}

/** The bytes of weights, and of a step that was recorded with them. */
export function memoryPlan(weights: WeightLayout, graph: StepGraph | null): MemoryPlan {
  const { bytes, largest } = weights;
  if (!graph) return { weights: bytes, working: 0, total: bytes, largestBinding: largest };
  const memory = memoryOf(graph, weights);
  const working = memory.bytes + READ_BACK;
  return { weights: bytes, working, total: bytes + working, largestBinding: memory.largestBinding };
}

/** The shapes of a network's convolutions in the smallest run, the most expensive first; none if it cannot be sampled from. */
export function convShapes(config: UNetConfig): ConvShape[] {
  const run = smallestRun(config);
  if (!run) return [];
  const seen = new Map<string, { shape: ConvShape; flops: number }>();
  const conv = (shape: ConvShape): ConvVariant => {
    const { cIn, cOut, size, h, w } = shape;
    const key = convShapeKey(shape);
    const flops = cIn * cOut * size ** 2 * h * w + (seen.get(key)?.flops ?? 0);
    seen.set(key, { shape, flops });
    return 'direct';
  };
  const weights = new WeightLayout(config, 'f32');
  recordStep(config, weights, run, 'the model', DEFAULT_BINDING, { ...DEFAULT_KERNELS, conv });
  return [...seen.values()].sort((a, b) => b.flops - a.flops).map(({ shape }) => shape);
}

/** The run that a model must at least be able to do: one picture of its size. Null if the model cannot be sampled from. */
export function smallestRun(config: UNetConfig): StepShape | null {
  if (!canSample(config)) return null;
  const unit = 2 ** (config.blockOutChannels.length - 1);
  const [height, width] = config.sampleSize ?? [unit, unit];
  return { count: 1, height, width };
}

/**
 * Bytes that a model may take in all. WebGPU does not tell how much memory there is: half of the machine's if the browser
 * tells (it rounds, and to at most 8 GiB), else 4 GiB.
 */
function memoryBudget(): number {
  const { deviceMemory } = (globalThis.navigator ?? {}) as { deviceMemory?: number };
  return (deviceMemory ?? 8) * 2 ** 29;
}

/** Bytes that this GPU binds in one piece. */
export const bindingLimit = ({ device: { limits } }: Gpu): number =>
  Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize);

/**
 * @param action what the visitor can do if it is too much
 * @throws limits-too-small, with the bytes needed and available
 */
export function checkMemory(
  gpu: Gpu,
  plan: MemoryPlan,
  what: string,
  action: string,
  available = memoryBudget(),
): void {
  const piece = bindingLimit(gpu);
  if (plan.largestBinding > piece)
    throw new DiffusionError(
      'limits-too-small',
      `${what} needs ${mebibytes(plan.largestBinding)} in one piece, and this GPU (${gpu.adapter}) binds at most ${mebibytes(piece)}.`,
      action,
    );
  if (plan.total > available)
    throw new DiffusionError(
      'limits-too-small',
      `${what} needs ${mebibytes(plan.total)} of GPU memory (${mebibytes(plan.weights)} of weights), and about ${mebibytes(available)} are there.`,
      action,
    );
}

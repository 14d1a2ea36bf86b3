/** What a model and its runs take of a GPU's memory, known before anything is downloaded or allocated. */

import { mebibytes } from './core/format.ts';
import { DiffusionError } from './errors.ts';
import type { Gpu } from './gpu/device.ts';
import { PLAIN, type ConvShape, type ConvVariant, type Variants } from './gpu/tape.ts';
import {
  bufferSize,
  canSample,
  DEFAULT_BINDING,
  recordStep,
  tapesMemory,
  type MakeBuffer,
  type StepShape,
} from './record.ts';
import type { DType } from './tensor.ts';
import type { UNetConfig } from './unet/config.ts';
import { UNetWeights } from './unet/weights.ts';

/** Bytes that come back at the end of a run: the flag of a numeric fault. */
export const READ_BACK = 4;

/** In bytes. */
export interface MemoryPlan {
  readonly weights: number;
  /** Activations, state and tables of one run. */
  readonly working: number;
  /** All buffers of a model with one run: what `createBuffer` is asked for, to the byte. (Reading pictures back takes more.) */
  readonly total: number;
  /** The largest buffer, which is bound in one piece. */
  readonly largestBinding: number;
}

/**
 * The bytes of a model in a run of this shape, or of its weights alone, from its config, without a GPU.
 * @param limit bytes that the GPU binds in one piece; larger batches go through the network in several
 * @param variants how layers are computed: the memory that they take differs. The plain way unless given
 * @throws unsupported-model, when a run of this shape is none for this network
 */
export function planMemory(
  config: UNetConfig,
  shape: StepShape | null,
  dtype: DType,
  limit = DEFAULT_BINDING,
  variants?: Variants,
): MemoryPlan {
  const weights = UNetWeights.planned(config, dtype);
  if (!shape) {
    const { bytes, largest } = weights;
    return { weights: bytes, working: 0, total: bytes, largestBinding: largest };
  }
  let buffers = 0;
  const make: MakeBuffer = (label, bytes) => {
    const size = bufferSize(bytes);
    buffers += size;
    return { label, size } as unknown as GPUBuffer; // bound, and no more: nothing is built
  };
  const { bytes, largestBinding } = tapesMemory(
    recordStep(config, weights, shape, make, 'the model', limit, variants),
  );
  const working = buffers + bytes + READ_BACK;
  return { weights: weights.bytes, working, total: weights.bytes + working, largestBinding };
}

/** The shapes of a network's convolutions in the smallest run, the most expensive first; none where it cannot be sampled from. */
export function convShapes(config: UNetConfig): ConvShape[] {
  const shape = smallestRun(config);
  if (!shape) return [];
  const seen = new Map<string, { shape: ConvShape; flops: number }>();
  const conv = (shape: ConvShape): ConvVariant => {
    const { cIn, cOut, size, h, w } = shape;
    const key = JSON.stringify(shape);
    const flops = cIn * cOut * size ** 2 * h * w + (seen.get(key)?.flops ?? 0);
    seen.set(key, { shape, flops });
    return 'direct';
  };
  planMemory(config, shape, 'f32', DEFAULT_BINDING, { ...PLAIN, conv });
  return [...seen.values()].sort((a, b) => b.flops - a.flops).map(({ shape }) => shape);
}

/** The run that a model must at least be able to do: one picture of its size. null for one that cannot be sampled from. */
export function smallestRun(config: UNetConfig): StepShape | null {
  if (!canSample(config)) return null;
  const unit = 2 ** (config.blockOutChannels.length - 1);
  const [height, width] = config.sampleSize ?? [unit, unit];
  return { count: 1, height, width };
}

/**
 * Bytes that a model may take in all. WebGPU does not say how much memory there is: half of the machine's, where the
 * browser tells (it rounds, and says at most 8 GiB), and 4 GiB elsewhere.
 */
function room(): number {
  const { deviceMemory } = (globalThis.navigator ?? {}) as { deviceMemory?: number };
  return (deviceMemory ?? 8) * 2 ** 29;
}

/** Bytes that this GPU binds in one piece. */
export const bindingLimit = ({ device: { limits } }: Gpu): number =>
  Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize);

/**
 * @param action what to do where it is too much
 * @throws limits-too-small, with what is needed and what there is
 */
export function checkMemory(
  gpu: Gpu,
  plan: MemoryPlan,
  what: string,
  action: string,
  available = room(),
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

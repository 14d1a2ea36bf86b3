/**
 * Picks, for each shape of a network's convolutions, the variant that is fastest on this very GPU.
 *
 * Each candidate computes one image of random numbers. A candidate is out, however fast, if its result is not that of the
 * plain kernel, or if the GPU refuses it. Choices are kept for the device, and in a store, if one is given, for the next
 * visit. If neither timestamps nor the clock can tell the candidates apart, the rule decides.
 */

import { DiffusionError, throwIfAborted } from '../../core/errors.ts';
import type { Gpu } from '../gpu/device.ts';
import { allocate, scoped } from '../gpu/scope.ts';
import { openStopwatch, type Stopwatch } from '../gpu/stopwatch.ts';
import { buildProgram, run, type Program } from '../gpu/program.ts';
import type { CommandRange } from '../gpu/submit_ranges.ts';
import { readBuffer } from '../gpu/transfer.ts';
import { COPY_DST, STORAGE } from '../gpu/usage.ts';
import {
  blocks,
  bufferHandle,
  bytesOf,
  makeTensor,
  type BufferHandle,
  type DType,
  type Tensor,
} from '../../core/tensor.ts';
import { f16ToF32 } from '../../core/float16.ts';
import { candidateKernels, CONV_VARIANTS, kernelPolicyFor } from './conv_variants.ts';
import { conv2d, type ConvWeights } from './conv2d.ts';
import {
  convShapeKey,
  DEFAULT_KERNELS,
  NetworkRecorder,
  type ConvShape,
  type ConvVariant,
  type KernelPolicy,
} from './kernel_policy.ts';
import { toDType } from './weight_layout.ts';

export interface TuneOptions {
  /** Keeps choices from one visit to the next: `localStorage`, or anything like it. */
  readonly store?: Pick<Storage, 'getItem' | 'setItem'>;
  /**
   * Milliseconds of measuring after which no further candidate is tried, and the rule decides; default 1000. Waiting for
   * compilers does not count, up to four times as long.
   */
  readonly budget?: number;
  readonly signal?: AbortSignal;
  /** Ways to compute a convolution, the plain one first; default those of the engine (tests bring wrong ones). */
  readonly candidates?: (shape: ConvShape) => readonly Candidate[];
  /** Measures the candidates; default by `openStopwatch` (tests bring coarse ones). */
  readonly stopwatch?: (gpu: Gpu) => Promise<Stopwatch | null>;
}

export interface Candidate {
  readonly name: ConvVariant;
  record(this: void, recorder: NetworkRecorder, x: Tensor, w: ConvWeights, stride: number): Tensor;
}

export const candidate = (name: ConvVariant): Candidate => ({
  name,
  record: (recorder, x, w, stride) => conv2d(recorder, name, x, w, { stride }),
});

/** The registered variants that are worth measuring for this shape. */
export const candidatesOf = (gpu: Gpu, shape: ConvShape): Candidate[] =>
  candidateKernels(shape, gpu).map(({ name }) => candidate(name));

/** The largest difference from the plain kernel's result that rounding explains, relative to the largest number. */
export const TOLERANCE = { f32: 1e-4, f16: 1e-2 };

const STORE = 'diffusion-sampler tuning 4';
/** Choices of each device and storage type, by shape. */
const found = new WeakMap<GPUDevice, Map<string, ConvVariant>>();

/**
 * @param shapes of one image, the most expensive first
 * @returns the rule of the adapter, with what was measured instead of it
 * @throws aborted, device-lost
 */
export async function tune(
  gpu: Gpu,
  shapes: readonly ConvShape[],
  dtype: DType,
  options: TuneOptions = {},
): Promise<KernelPolicy> {
  const { store, budget = 1000, signal, candidates = (shape) => candidatesOf(gpu, shape) } = options;
  const rule = kernelPolicyFor(gpu);
  let known = found.get(gpu.device);
  if (!known) found.set(gpu.device, (known = new Map()));
  const address = `${STORE} ${dtype} ${fingerprint(gpu)}`;
  for (const [key, name] of remembered(store, address))
    if (!known.has(`${dtype} ${key}`)) known.set(`${dtype} ${key}`, name);
  const now = performance.now();
  const time: Deadline = { end: now + budget, last: now + 4 * budget };
  const left = shapes.filter((shape) => !known.has(`${dtype} ${convShapeKey(shape)}`));
  const { stopwatch: open = openStopwatch } = options;
  const stopwatch = left.length > 0 && budget > 0 ? await open(gpu) : null;
  let changed = false;
  try {
    for (const shape of stopwatch ? left : []) {
      throwIfAborted(signal);
      if (performance.now() > time.end) break;
      const ways = candidates(shape);
      if (ways.length < 2) continue;
      const name = await fastest(gpu, shape, dtype, ways, rule.conv(shape), stopwatch!, time);
      if (!name) continue;
      known.set(`${dtype} ${convShapeKey(shape)}`, name);
      changed = true;
    }
  } finally {
    stopwatch?.destroy();
  }
  const own = new Map(known); // what another model finds later does not change this one
  if (changed && store) remember(store, address, own, dtype);
  return { ...rule, conv: (shape) => own.get(`${dtype} ${convShapeKey(shape)}`) ?? rule.conv(shape) };
}

/**
 * Tells adapters apart, also in browsers that mask their names (Firefox, Safari): by name, features, limits and browser.
 * A new version of the browser may bring another compiler, so it is measured again.
 */
export function fingerprint(gpu: Gpu): string {
  const { limits, features } = gpu.device;
  const numbers = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeWorkgroupStorageSize'] as const;
  const text = [
    ...[...features].sort(),
    ...numbers.map((name) => limits[name]),
    gpu.subgroup,
    gpu.supportsQuadOps,
    globalThis.navigator?.userAgent ?? '',
  ].join(' ');
  let hash = 0x811c9dc5; // FNV-1a, 32 bits
  for (const c of text) hash = Math.imul(hash ^ c.codePointAt(0)!, 0x01000193) >>> 0;
  return `${gpu.adapter} ${hash.toString(16)}`;
}

function remembered(store: TuneOptions['store'], address: string): [string, ConvVariant][] {
  try {
    const all = JSON.parse(store?.getItem(address) ?? '{}') as Record<string, unknown>;
    return Object.entries(all).filter((e): e is [string, ConvVariant] =>
      CONV_VARIANTS.includes(e[1] as string),
    );
  } catch {
    return []; // no storage here, or not what was written: measured again
  }
}

function remember(
  store: NonNullable<TuneOptions['store']>,
  address: string,
  known: ReadonlyMap<string, ConvVariant>,
  dtype: DType,
): void {
  const own = [...known].filter(([key]) => key.startsWith(dtype));
  try {
    store.setItem(
      address,
      JSON.stringify(Object.fromEntries(own.map(([key, name]) => [key.slice(dtype.length + 1), name]))),
    );
  } catch {
    // Full or forbidden: measured again at the next visit.
  }
}

/** Times by performance.now(): the end of the budget, and the latest end it can be moved to. */
interface Deadline {
  end: number;
  readonly last: number;
}

/** A built candidate and its result. */
interface Trial {
  readonly program: Program;
  readonly out: Tensor;
}

/** Builds candidates for one shape, on one image of random numbers. */
export class Trials {
  readonly #gpu: Gpu;
  readonly #dtype: DType;
  readonly #shape: ConvShape;
  readonly #buffers = new Map<BufferHandle, GPUBuffer>();
  readonly #built: Program[] = [];
  readonly #weights: ConvWeights;
  readonly #x: Tensor;
  #state = 1;

  private constructor(gpu: Gpu, shape: ConvShape, dtype: DType) {
    const { cIn, cOut, size, stride, h, w } = shape;
    this.#gpu = gpu;
    this.#shape = shape;
    this.#dtype = dtype;
    const weight = this.#random(
      blocks(cOut) * blocks(cIn) * 16 * size ** 2,
      Math.sqrt(3 / (cIn * size ** 2)),
    );
    this.#weights = { weight, bias: this.#random(blocks(cOut) * 4, 1), cIn, cOut, size };
    this.#x = makeTensor('x', [1, cIn, h * stride, w * stride], dtype, 'c4', 'external');
    this.#fill(this.#x.storage, blocks(cIn) * 4 * h * w * stride ** 2, 1);
  }

  /** @throws out-of-memory */
  static async open(gpu: Gpu, shape: ConvShape, dtype: DType): Promise<Trials> {
    let trials: Trials | null = null;
    const work = (): Trials => (trials = new Trials(gpu, shape, dtype));
    return allocate(gpu.device, 'measuring a convolution', work, () => trials?.destroy());
  }

  #random(scalars: number, spread: number): BufferHandle {
    const handle = bufferHandle('random', scalars * bytesOf[this.#dtype], 'external');
    this.#fill(handle, scalars, spread);
    return handle;
  }

  #fill(handle: BufferHandle, scalars: number, spread: number): void {
    const numbers = Float32Array.from({ length: scalars }, () => {
      this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0; // Numerical Recipes' generator
      return spread * (this.#state / 2 ** 31 - 1);
    });
    const { device } = this.#gpu;
    const buffer = device.createBuffer({
      label: handle.label,
      size: handle.bytes,
      usage: STORAGE | COPY_DST,
    });
    this.#buffers.set(handle, buffer);
    device.queue.writeBuffer(buffer, 0, toDType(numbers, this.#dtype));
  }

  /** @throws out-of-memory, gpu-error */
  async build(way: Candidate): Promise<Trial> {
    const recorder = new NetworkRecorder({ ...DEFAULT_KERNELS, conv: () => way.name });
    const out = recorder.keep(way.record(recorder, this.#x, this.#weights, this.#shape.stride));
    const program = await buildProgram(this.#gpu, recorder, `tuning ${way.name}`, this.#buffers);
    this.#built.push(program);
    return { program, out };
  }

  /** The result of a trial; null if the GPU refuses to run it. */
  async numbers({ program, out }: Trial): Promise<Float32Array | null> {
    const { device } = this.#gpu;
    const { refused } = scoped(device, () => run(device, program));
    if (await refused) return null;
    const bytes = await readBuffer(this.#gpu, program.bufferOf(out), out.storage.bytes);
    return this.#dtype === 'f16'
      ? Float32Array.from(new Uint16Array(bytes), f16ToF32)
      : new Float32Array(bytes);
  }

  destroy(): void {
    this.#built.forEach((program) => program.destroy());
    this.#buffers.forEach((buffer) => buffer.destroy());
  }
}

/** A result, or null for what the GPU refuses. A lost device is no refusal. */
async function orNull<T>(gpu: Gpu, work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    gpu.check();
    if (error instanceof DiffusionError) return null;
    throw error;
  }
}

/**
 * The fastest of the candidates that are right. The first one is the plain one, which the others must agree with.
 * @param rule the variant of the adapter's rule: a candidate must be measurably faster
 * @param time when to stop; moved by what compilers take
 * @returns null if they cannot be told apart, or not in time
 */
async function fastest(
  gpu: Gpu,
  shape: ConvShape,
  dtype: DType,
  ways: readonly Candidate[],
  rule: ConvVariant,
  stopwatch: Stopwatch,
  time: Deadline,
): Promise<ConvVariant | null> {
  const trials = await orNull(gpu, Trials.open(gpu, shape, dtype));
  if (!trials) return null;
  try {
    const since = performance.now();
    const built = await Promise.all(ways.map((way) => orNull(gpu, trials.build(way))));
    time.end = Math.min(time.last, time.end + performance.now() - since);
    const wanted = built[0] && (await orNull(gpu, trials.numbers(built[0])));
    if (!wanted) return null;
    const times = new Map<ConvVariant, number>();
    for (const [i, { name }] of ways.entries()) {
      const trial = built[i];
      if (!trial) continue;
      if (i > 0 && performance.now() > time.end) return null;
      const actual = i === 0 ? wanted : await orNull(gpu, trials.numbers(trial));
      if (!actual || !agrees(actual, wanted, TOLERANCE[dtype])) continue;
      const ms = await durationOf(stopwatch, trial.program, time.end);
      if (ms !== null) times.set(name, ms);
    }
    const first = times.has(rule) ? rule : ways[0]!.name;
    if (!times.has(first)) return null;
    let best = first;
    for (const [name, ms] of times) if (ms < times.get(best)! * (best === rule ? 0.95 : 1)) best = name;
    return best;
  } finally {
    trials.destroy();
  }
}

export function agrees(actual: Float32Array, wanted: Float32Array, tolerance: number): boolean {
  const scale = wanted.reduce((most, y) => Math.max(most, Math.abs(y)), 0);
  if (actual.length !== wanted.length) return false;
  return actual.every((y, i) => Math.abs(y - wanted[i]!) <= tolerance * scale); // false for NaN
}

/** Replays that one measurement may have at most. */
const MAX_REPLAYS = 256;

/**
 * Milliseconds of one replay: the better of two rounds, each at least ten ticks of the stopwatch and two milliseconds
 * long. null if even the most replays take no longer than the tick, or the time is over.
 */
async function durationOf(stopwatch: Stopwatch, program: Program, end: number): Promise<number | null> {
  const round = async (times: number): Promise<number> => {
    const ms = await stopwatch.time((pass) => {
      for (let i = 0; i < times; i++) program.replay(pass);
    });
    return ms ?? 0;
  };
  const enough = Math.max(10 * stopwatch.tick, 2);
  let [times, ms] = [1, await round(1)];
  while (ms < enough && times < MAX_REPLAYS && performance.now() < end) {
    times = Math.min(MAX_REPLAYS, times * Math.max(2, Math.min(8, Math.ceil(enough / (ms || 1e-9)))));
    ms = await round(times);
  }
  if (ms < 2 * stopwatch.tick || ms === 0) return null;
  return Math.min(ms, (await round(times)) || ms) / times;
}

/** Milliseconds of one replay of a recording, or of a piece of it, over so many in one submit. */
export async function replayTime(
  gpu: Gpu,
  program: Program,
  times: number,
  range?: CommandRange,
): Promise<number> {
  const since = performance.now();
  const encoder = gpu.device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (let i = 0; i < times; i++) program.replay(pass, range);
  pass.end();
  gpu.device.queue.submit([encoder.finish()]);
  await gpu.settled();
  return (performance.now() - since) / times;
}

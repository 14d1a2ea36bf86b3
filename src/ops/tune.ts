/**
 * Picks, for each shape of a network's convolutions, the variant that is fastest on this very GPU.
 *
 * Each candidate computes one image of random numbers. One whose result is not that of the plain kernel is out, however
 * fast; so is one that the GPU refuses. What was found is kept for the device, and where a store is given, by the
 * adapter's name for the next visit.
 */

import { throwIfAborted } from '../errors.ts';
import type { Gpu } from '../gpu/device.ts';
import {
  PLAIN,
  run,
  Tape,
  type ConvShape,
  type ConvVariant,
  type Recording,
  type Stretch,
  type Variants,
} from '../gpu/tape.ts';
import { readBuffer } from '../gpu/transfer.ts';
import { blocks, type DType, type Tensor } from '../tensor.ts';
import { f16ToF32 } from '../weights/half.ts';
import { conv2d, type ConvWeights } from './conv2d.ts';
import { toDType } from './packing.ts';
import { takesSplit, takesWinograd, variantsFor } from './variants.ts';

export interface TuneOptions {
  /** Where choices are kept from one visit to the next: `localStorage`, or anything like it. */
  readonly store?: Pick<Storage, 'getItem' | 'setItem'>;
  /** Milliseconds after which no further shape is tried, and the rule decides; 1000 unless given. */
  readonly budget?: number;
  readonly signal?: AbortSignal;
  /** Ways to compute a convolution; those of the engine unless given (tests bring wrong ones). */
  readonly candidates?: (shape: ConvShape) => readonly Candidate[];
}

export interface Candidate {
  readonly name: ConvVariant;
  record(this: void, tape: Tape, x: Tensor, w: ConvWeights, stride: number): Tensor;
}

export const shapeKey = ({ cIn, cOut, size, stride, h, w }: ConvShape): string =>
  `${cIn}-${cOut} ${size}/${stride} ${h}x${w}`;

const candidate = (name: ConvVariant): Candidate => ({
  name,
  record: (tape, x, w, stride) => conv2d(tape, name, x, w, { stride }),
});

/** Those that can compute this shape. Workgroup memory is hopeless on a software adapter. */
function candidatesOf({ isSoftware }: Gpu, shape: ConvShape): Candidate[] {
  const names: ConvVariant[] = ['direct'];
  if (takesWinograd(shape)) names.push('winograd');
  if (!isSoftware) {
    names.push('tiled-16', 'tiled-32', 'tiled-64');
    if (takesSplit(shape, 4)) names.push('tiled-16/4');
    if (takesSplit(shape, 16)) names.push('tiled-16/16');
  }
  return names.map(candidate);
}

/** The largest difference from the plain kernel's result that rounding explains, relative to the largest number. */
const TOLERANCE = { f32: 1e-4, f16: 1e-2 };

const STORE = 'diffusion-sampler tuning 3';
const NAMES: readonly string[] = [
  'direct',
  'winograd',
  'tiled-16',
  'tiled-16/4',
  'tiled-16/16',
  'tiled-32',
  'tiled-64',
] satisfies ConvVariant[];

/** Of each device and storage type, by shape. */
const found = new WeakMap<GPUDevice, Map<string, ConvVariant>>();

/**
 * @param shapes of one image, the most expensive first
 * @returns the rule of the adapter, with what was measured instead of it
 * @throws aborted
 */
export async function tune(
  gpu: Gpu,
  shapes: readonly ConvShape[],
  dtype: DType,
  options: TuneOptions = {},
): Promise<Variants> {
  const { store, budget = 1000, signal, candidates = (shape) => candidatesOf(gpu, shape) } = options;
  const rule = variantsFor(gpu);
  let known = found.get(gpu.device);
  if (!known) found.set(gpu.device, (known = new Map()));
  const address = `${STORE} ${dtype} ${gpu.adapter}`;
  for (const [key, name] of remembered(store, address)) if (!known.has(`${dtype} ${key}`)) known.set(`${dtype} ${key}`, name); // prettier-ignore
  const since = performance.now();
  let changed = false;
  for (const shape of shapes) {
    const key = `${dtype} ${shapeKey(shape)}`;
    if (known.has(key)) continue;
    throwIfAborted(signal);
    if (performance.now() - since > budget) break;
    const ways = candidates(shape);
    if (ways.length < 2) continue;
    known.set(key, await fastest(gpu, shape, dtype, ways));
    changed = true;
  }
  const own = new Map(known); // what another model finds later does not change this one
  if (changed && store) remember(store, address, own, dtype);
  return { ...rule, conv: (shape) => own.get(`${dtype} ${shapeKey(shape)}`) ?? rule.conv(shape) };
}

function remembered(store: TuneOptions['store'], address: string): [string, ConvVariant][] {
  try {
    const all = JSON.parse(store?.getItem(address) ?? '{}') as Record<string, unknown>;
    return Object.entries(all).filter((e): e is [string, ConvVariant] => NAMES.includes(e[1] as string));
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
    store.setItem(address, JSON.stringify(Object.fromEntries(own.map(([key, name]) => [key.slice(dtype.length + 1), name])))); // prettier-ignore
  } catch {
    // Full or forbidden: measured again at the next visit.
  }
}

/** The first way is the plain one, which the others must agree with. */
async function fastest(
  gpu: Gpu,
  { cIn, cOut, size, stride, h, w }: ConvShape,
  dtype: DType,
  ways: readonly Candidate[],
): Promise<ConvVariant> {
  const buffers: GPUBuffer[] = [];
  let state = 1;
  const random = (scalars: number, spread: number): GPUBuffer => {
    const numbers = Float32Array.from({ length: scalars }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes' generator
      return spread * (state / 2 ** 31 - 1);
    });
    const bytes = toDType(numbers, dtype);
    const buffer = gpu.device.createBuffer({ size: Math.ceil(bytes.byteLength / 16) * 16, usage: 0x88 }); // STORAGE, COPY_DST
    gpu.device.queue.writeBuffer(buffer, 0, bytes);
    buffers.push(buffer);
    return buffer;
  };
  const built: Recording[] = [];
  try {
    const weights: ConvWeights = {
      weight: random(blocks(cOut) * blocks(cIn) * 16 * size ** 2, Math.sqrt(3 / (cIn * size ** 2))),
      bias: random(blocks(cOut) * 4, 1),
      ...{ cIn, cOut, size },
    };
    const image = random(blocks(cIn) * 4 * h * w * stride ** 2, 1);
    const prepare = async (way: Candidate): Promise<{ recording: Recording; out: Tensor }> => {
      const tape = new Tape({ ...PLAIN, conv: () => way.name });
      const x = tape.pinned('x', [1, cIn, h * stride, w * stride], dtype, 'c4');
      x.storage.buffer = image;
      const out = way.record(tape, x, weights, stride);
      out.storage.pinned = true;
      const recording = await tape.build(gpu, `tuning ${way.name}`);
      built.push(recording);
      return { recording, out };
    };
    const numbers = async ({ recording, out }: { recording: Recording; out: Tensor }) => {
      run(gpu.device, recording);
      const bytes = await readBuffer(gpu, out.storage.buffer!, out.storage.bytes);
      return dtype === 'f16' ? Float32Array.from(new Uint16Array(bytes), f16ToF32) : new Float32Array(bytes);
    };
    const prepared = await Promise.allSettled(ways.map(prepare));
    const [plain] = prepared;
    if (plain?.status !== 'fulfilled') return ways[0]!.name;
    const wanted = await numbers(plain.value);
    let best = { name: ways[0]!.name, ms: await time(gpu, plain.value.recording) };
    for (const [i, way] of ways.entries()) {
      const ready = prepared[i]!;
      if (i === 0 || ready.status !== 'fulfilled') continue;
      if (!agrees(await numbers(ready.value), wanted, TOLERANCE[dtype])) continue;
      const ms = await time(gpu, ready.value.recording);
      if (ms < best.ms) best = { name: way.name, ms };
    }
    return best.name;
  } finally {
    built.forEach((recording) => recording.destroy());
    buffers.forEach((buffer) => buffer.destroy());
  }
}

export function agrees(actual: Float32Array, wanted: Float32Array, tolerance: number): boolean {
  const scale = wanted.reduce((most, y) => Math.max(most, Math.abs(y)), 0);
  if (actual.length !== wanted.length) return false;
  return actual.every((y, i) => Math.abs(y - wanted[i]!) <= tolerance * scale); // false where a number is NaN
}

/** Milliseconds of one replay of a recording, or of a piece of it, over so many in one submit. */
export async function replayTime(
  gpu: Gpu,
  recording: Recording,
  times: number,
  piece?: Stretch,
): Promise<number> {
  const since = performance.now();
  const encoder = gpu.device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (let i = 0; i < times; i++) recording.replay(pass, piece);
  pass.end();
  gpu.device.queue.submit([encoder.finish()]);
  await gpu.settled();
  return (performance.now() - since) / times;
}

/** Milliseconds of one replay: the better of two rounds, each of about three milliseconds. */
async function time(gpu: Gpu, recording: Recording): Promise<number> {
  const one = await replayTime(gpu, recording, 1);
  const times = Math.max(1, Math.min(50, Math.round(3 / one)));
  return Math.min(await replayTime(gpu, recording, times), await replayTime(gpu, recording, times));
}

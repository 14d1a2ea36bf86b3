/** Plain tensors for tests: row-major NCHW in float64, random and integer fillings, comparison. */

import { expect } from 'vitest';
import type { Shape } from '../../src/core/tensor.ts';
import { f16ToF32, f32ToF16 } from '../../src/core/float16.ts';

export interface Array4 {
  readonly shape: Shape;
  readonly data: Float64Array;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export function make(shape: Shape, f: (i: number) => number): Array4 {
  return { shape, data: Float64Array.from({ length: sizeOf(shape) }, (_, i) => f(i)) };
}

/** A small generator of its own, so that tests do not lean on the code under test (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Roughly normal numbers (sum of four uniforms), rounded to the storage type. */
export function gaussian(shape: Shape, seed: number, dtype: 'f32' | 'f16' = 'f32'): Array4 {
  const u = random(seed);
  const round = dtype === 'f16' ? (x: number) => f16ToF32(f32ToF16(x)) : Math.fround;
  return make(shape, () => round((u() + u() + u() + u() - 2) * Math.sqrt(3)));
}

/** Whole numbers from -range to range. */
export function integers(shape: Shape, seed: number, range: number): Array4 {
  const u = random(seed);
  return make(shape, () => Math.floor(u() * (2 * range + 1)) - range);
}

export interface Tolerance {
  readonly atol: number;
  readonly rtol: number;
}

/** Largest |a - b| / (atol + rtol |b|), and where; NaN anywhere is infinitely far. */
export function worst(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  { atol, rtol }: Tolerance,
): { used: number; at: number } {
  if (a.length !== b.length) return { used: Infinity, at: -1 };
  let [used, at] = [0, -1];
  for (let i = 0; i < b.length; i++) {
    const gap = a[i] === b[i] ? 0 : Math.abs(a[i]! - b[i]!) / (atol + rtol * Math.abs(b[i]!));
    if (!(gap <= used)) [used, at] = [Number.isNaN(gap) ? Infinity : gap, i];
  }
  return { used, at };
}

/** The largest share of a tolerance that a comparison took since it was set to null: tools/gpu reports it of each test. */
export const observed: { share: number | null } = { share: null };

/** |actual - wanted| <= atol + rtol |wanted|, everywhere; says how much of the tolerance the worst place took. */
export function expectClose(
  actual: ArrayLike<number>,
  wanted: ArrayLike<number>,
  tolerance: Tolerance,
  what = 'result',
): void {
  expect(actual.length, `${what}: length`).toBe(wanted.length);
  const { used, at } = worst(actual, wanted, tolerance);
  observed.share = Math.max(observed.share ?? 0, used);
  const { atol, rtol } = tolerance;
  expect(
    used,
    `${what}: at ${at} is ${actual[at]}, should be ${wanted[at]} within ${atol} + ${rtol} |x|; share of tolerance used`,
  ).toBeLessThanOrEqual(1);
}

export function expectEqual(actual: ArrayLike<number>, wanted: ArrayLike<number>, what = 'result'): void {
  expectClose(actual, wanted, { atol: Number.MIN_VALUE, rtol: 0 }, what);
}

/** What a golden of a network promises: everywhere within 2e-4 (f16: 2e-2) of its largest number. */
export function expectGolden(eps: ArrayLike<number>, golden: ArrayLike<number>, dtype: 'f32' | 'f16'): void {
  const scale = Array.from(golden).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  expectClose(eps, golden, { atol: (dtype === 'f32' ? 2e-4 : 2e-2) * scale, rtol: 0 }, 'eps');
}

/**
 * Seeded Gaussian noise, equal to the bit on every device: Philox4x32-10, addressed by seed, step and element, and an
 * inverse normal CDF in integer arithmetic. CPU twin of shaders/lib/philox.wgsl and shaders/lib/normal.wgsl.
 *
 * Address: key = (seed mod 2^32, floor(seed / 2^32)), counter = (floor(element / 4), step, stream, 0), word = element mod
 * 4. The element is the index of a number of the image in CHW order. Image n of a batch with seed s has seed s + n, so
 * each image of a batch equals the image drawn alone.
 */

import { DiffusionError } from '../core/errors.ts';
import { normalTable } from './normal_table.ts';

/** Stream of the initial noise x_T (step 0). */
export const STREAM_X_T = 0;
/** Stream of the noise that the steps add. */
export const STREAM_Z = 1;
/** Stream of the noise of inpainting. */
export const STREAM_REPAINT = 2;

const mulHigh = (a: number, b: number): number => {
  const low = (a & 0xffff) * (b & 0xffff);
  const mid1 = (a >>> 16) * (b & 0xffff) + (low >>> 16); // below 2^32: exact
  const mid2 = (a & 0xffff) * (b >>> 16) + (mid1 & 0xffff);
  return ((a >>> 16) * (b >>> 16) + (mid1 >>> 16) + (mid2 >>> 16)) >>> 0;
};

/** Philox4x32-10 (Salmon et al. 2011): returns four random 32-bit words for a counter of four words and a key of two. */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(0xd2511f53, c0);
    const high2 = mulHigh(0xcd9e8d57, c2);
    const low0 = Math.imul(0xd2511f53, c0);
    const low2 = Math.imul(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(high2 ^ c1 ^ k0) >>> 0, low2 >>> 0, (high0 ^ c3 ^ k1) >>> 0, low0 >>> 0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** Converts 32 random bits to a standard normal number, which is a multiple of 2^-21 in (-8, 8). */
export function normalFromBits(bits: number): number {
  const m = ((bits << 1) | 1) >>> 0;
  const zeros = Math.clz32(m);
  const fraction = (m << zeros) & 0x7fffffff;
  const piece = 4 * ((31 - zeros) * 8 + (fraction >>> 28));
  const u = (fraction << 4) >>> 0;
  const c = (k: number): number => normalTable[piece + k]!;
  const q = c(0) - mulHigh(u, c(1) - mulHigh(u, c(2) - mulHigh(u, c(3))));
  const magnitude = ((q + 32) >>> 6) * 2 ** -21;
  return bits >>> 31 ? -magnitude : magnitude;
}

/** Returns the Philox key of a seed. @throws bad-option unless the seed is an integer in [0, 2^53) */
export function keyOf(seed: number): [number, number] {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new DiffusionError(
      'bad-option',
      `The seed ${String(seed)} is not an integer from 0 to 2^53 - 1.`,
      'Choose an integer in this range.',
    );
  return [seed >>> 0, Math.floor(seed / 2 ** 32)];
}

/** Returns `count` standard normal numbers of one image: elements 0 ... count - 1 of (seed, stream, step). */
export function normals(
  seed: number,
  stream: number,
  step: number,
  count: number,
): Float32Array<ArrayBuffer> {
  const key = keyOf(seed);
  const out = new Float32Array(count);
  for (let quad = 0; quad * 4 < count; quad++) {
    const words = philox([quad, step, stream, 0], key);
    for (let word = 0; word < 4 && quad * 4 + word < count; word++)
      out[quad * 4 + word] = normalFromBits(words[word]!);
  }
  return out;
}

/**
 * Spherical interpolation (Shoemake 1985) from a (u = 0) to b (u = 1). Keeps the norm of two noise samples, which linear
 * interpolation reduces.
 */
export function slerp(
  a: Float32Array<ArrayBuffer>,
  b: Float32Array<ArrayBuffer>,
  u: number,
): Float32Array<ArrayBuffer> {
  const dot = (p: Float32Array, q: Float32Array): number => p.reduce((sum, v, i) => sum + v * q[i]!, 0);
  const cosine = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  const angle = Math.acos(Math.min(Math.max(cosine, -1), 1));
  const parallel = !(Math.sin(angle) > 1e-6); // falls back to linear interpolation
  const [p, q] = parallel
    ? [1 - u, u]
    : [Math.sin((1 - u) * angle) / Math.sin(angle), Math.sin(u * angle) / Math.sin(angle)];
  return a.map((v, i) => p * v + q * b[i]!);
}

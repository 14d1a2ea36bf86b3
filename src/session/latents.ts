/** States of the process made on the CPU: noise, noised pictures, the start of a run. */

import type { SchedulerConfig } from '../schedule/config.ts';
import { noiseLevels } from '../schedule/noise_levels.ts';
import { normals, slerp, STREAM_X_T } from '../schedule/noise.ts';
import { checkNoise, type SampleOptions } from './sample_options.ts';

/**
 * q(x_t | x_0) (DDPM, Ho et al. 2020, eq. 4): pictures noised to a timestep, a x_0 + s eps.
 * @param x0 (count, C, H, W) row-major, in [-1, 1]
 * @param t 0 to T - 1, possibly between two
 * @param options count: number of pictures, default 1; seed: of the first picture as in `sample`, default 0; eps: replaces
 *   the generator's noise, shaped as x0
 * @throws bad-option, bad-input
 */
export function qSample(
  config: SchedulerConfig,
  x0: Float32Array<ArrayBuffer>,
  t: number,
  options: { readonly count?: number; readonly seed?: number; readonly eps?: Float32Array<ArrayBuffer> } = {},
): Float32Array<ArrayBuffer> {
  const { count = 1, seed = 0, eps } = options;
  const { a, s } = noiseLevels(config)(t);
  checkNoise('eps', eps, x0.length);
  return Float32Array.from(eps ?? drawNoise(seed, count, x0.length / count), (e, i) => a * x0[i]! + s * e);
}

/** x_T of `count` pictures: image n has seed + n. */
export function drawNoise(seed: number, count: number, size: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(count * size);
  for (let n = 0; n < count; n++) out.set(normals(seed + n, STREAM_X_T, 0, size), n * size);
  return out;
}

/** The state that a run starts from; undefined if the GPU draws x_T. @param level a and s of the first timestep */
export function startState(
  { init, xT, seed = 0, invert, interpolate }: SampleOptions,
  count: number,
  size: number,
  { a, s }: { readonly a: number; readonly s: number },
): Float32Array<ArrayBuffer> | undefined {
  if (init && invert) return init;
  if (init) return (xT ?? drawNoise(seed, count, size)).map((e, i) => a * init[i]! + s * e);
  if (!interpolate) return xT;
  const [from, to] = interpolate.map((k) => drawNoise(k, 1, size)) as [
    Float32Array<ArrayBuffer>,
    Float32Array<ArrayBuffer>,
  ];
  const out = new Float32Array(count * size);
  for (let n = 0; n < count; n++) out.set(slerp(from, to, n / (count - 1)), n * size);
  return out;
}

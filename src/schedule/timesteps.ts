/** Timesteps of a run of n steps, from noisy to clean. */

import { DiffusionError } from '../core/errors.ts';

export type Spacing = 'leading' | 'trailing' | 'linspace';
export const SPACINGS: readonly Spacing[] = ['leading', 'trailing', 'linspace'];

export interface TimestepOptions {
  /** Number of timesteps of the training. */
  readonly T: number;
  /** Number of steps of the run. */
  readonly n: number;
  readonly spacing: Spacing;
  /** Offset of every timestep, for leading only (`steps_offset` of diffusers). */
  readonly offset: number;
  /** True: follows diffusers including its float errors, if the list is usable. */
  readonly compat?: boolean;
}

/**
 * Returns n strictly falling timesteps in [0, T - 1].
 *
 * - leading:  i * floor(T / n) + offset
 * - trailing: round((n - i) * T / n) - 1, from the noisy end, so the first is T - 1
 * - linspace: round(i * (T - 1) / (n - 1)), which includes both ends
 *
 * Rounding is half to even, as in NumPy. Deviations from diffusers 0.42, which `compat` follows: trailing is computed by
 * index (np.arange gives n + 1 entries for 62 values of n at T = 1000; `compat` refuses these n); linspace with n = 1
 * is T - 1, not 0.
 *
 * @throws bad-option unless 1 <= n <= T and the list stays inside [0, T - 1]
 */
export function timestepList(options: TimestepOptions): number[] {
  const { T, n, spacing, compat = false } = options;
  const offset = spacing === 'leading' ? options.offset : 0;
  if (!Number.isInteger(n) || n < 1 || n > T)
    throw new DiffusionError(
      'bad-option',
      `${String(n)} steps are not possible: the model was trained with ${T} timesteps.`,
      `Choose an integer from 1 to ${T}.`,
    );
  let list: number[];
  switch (spacing) {
    case 'leading':
      list = Array.from({ length: n }, (_, i) => (n - 1 - i) * Math.floor(T / n) + offset);
      break;
    case 'trailing':
      if (compat && arangeLength(T, n) !== n)
        throw new DiffusionError(
          'bad-option',
          `With trailing spacing, diffusers makes ${arangeLength(T, n)} timesteps for ${n} steps.`,
          'Choose another number of steps, or leave compat out.',
        );
      list = Array.from({ length: n }, (_, i) => roundHalfEven(T - (i * T) / n) - 1);
      break;
    case 'linspace':
      list =
        n === 1
          ? [compat ? 0 : T - 1]
          : Array.from({ length: n }, (_, i) => roundHalfEven(((T - 1) / (n - 1)) * (n - 1 - i)));
      break;
  }
  if (list[0]! > T - 1)
    throw new DiffusionError(
      'bad-option',
      `With steps_offset ${offset}, ${n} steps start at timestep ${list[0]}, and the last timestep is ${T - 1}.`,
      'Choose fewer steps or another spacing.',
    );
  return list;
}

/**
 * Returns the timesteps of a respacing string of guided-diffusion (respace.py, `space_timesteps`), falling.
 *
 * | string | timesteps |
 * |---|---|
 * | "250" | 250, evenly spaced over [0, T - 1], both ends included |
 * | "10,15,20" | 10, 15 and 20 in three equal sections, counted from t = 0 |
 * | "ddim50" | 50 from t = 0, with the least integer stride that gives this number |
 *
 * The positions are sums of a float64 stride, rounded half to even, as in guided-diffusion. A section with one timestep
 * has its first. A run of one step starts at T - 1; guided-diffusion fails for it.
 *
 * @throws bad-option
 */
export function respacedTimesteps(T: number, respacing: string): number[] {
  const refuse = (why: string): never => {
    throw new DiffusionError(
      'bad-option',
      `The respacing ${JSON.stringify(respacing.slice(0, 60))} ${why}.`,
      'Give a number of steps like 250, numbers of sections like 10,15,20, or ddim50.',
    );
  };
  const ddim = /^ddim(\d{1,6})$/.exec(respacing);
  if (ddim) {
    const n = Number(ddim[1]);
    for (let stride = 1; stride < T; stride++)
      if (Math.ceil(T / stride) === n) return Array.from({ length: n }, (_, i) => (n - 1 - i) * stride);
    return refuse(`is impossible: no integer stride gives ${n} of ${T} timesteps`);
  }
  if (!/^\d{1,6}(,\d{1,6})*$/.test(respacing)) return refuse('is not a respacing');
  const sections = respacing.split(',').map(Number);
  if (sections.length === 1 && sections[0] === 1) return [T - 1];
  const list: number[] = [];
  let start = 0;
  sections.forEach((count, i) => {
    const size = Math.floor(T / sections.length) + (i < T % sections.length ? 1 : 0);
    if (count > size || count < 1) refuse(`requests ${count} of the ${size} timesteps of a section`);
    const stride = count <= 1 ? 1 : (size - 1) / (count - 1);
    let at = 0;
    for (let k = 0; k < count; k++, at += stride) list.push(start + roundHalfEven(at));
    start += size;
  });
  return list.reverse();
}

/**
 * Returns n falling timesteps for the solvers that step between noise levels, and then to the clean image.
 *
 * @param integerTimesteps true: as DPM-Solver and UniPC of diffusers, n + 1 points without the clean end. false: as its
 *   Euler and Heun, for which linspace is not rounded (the network takes fractional timesteps) and includes both ends.
 * @throws bad-option as `timestepList`
 */
export function solverTimesteps(options: TimestepOptions, integerTimesteps: boolean): number[] {
  const { T, n, spacing, offset } = options;
  const list = timestepList(options); // also checks the options
  if (spacing === 'trailing') return list;
  if (integerTimesteps && n === T) return list; // n + 1 points do not exist
  if (!integerTimesteps) {
    if (spacing === 'leading') return list;
    return Array.from({ length: n }, (_, i) =>
      n === 1 ? T - 1 : Math.min(((T - 1) / (n - 1)) * (n - 1 - i), T - 1),
    );
  }
  if (spacing === 'leading')
    return Array.from({ length: n }, (_, i) => (n - i) * Math.floor(T / (n + 1)) + offset);
  return Array.from({ length: n }, (_, i) => roundHalfEven(((T - 1) / n) * (n - i)));
}

/** Length of np.arange(T, 0, -T / n): ceil((0 - T) / (-T / n)), in float64. */
const arangeLength = (T: number, n: number): number => Math.ceil(-T / (-T / n));

export function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

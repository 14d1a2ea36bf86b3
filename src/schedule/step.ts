/**
 * The contract between the samplers and the update kernel.
 *
 * A sampler is a pure function from noise levels and options to the list of its steps, in float64. A step is one
 * evaluation of the network and one affine map of the state; the kernel (shaders/update.wgsl) and its CPU twin
 * (tests/reference/update.ts) do just this, for every element:
 *
 *     m     = m_null + guidance * (m_class - m_null)          raw output of the network, guided
 *     x0Hat = clip(x0Hat.x * x + x0Hat.m * m)
 *     x, h_0, h_1, ... <- a Mix each of (x, x0Hat, m, h_0, h_1, ...), all of before the step;   x += sigma * z
 *
 * The slots h are what a sampler remembers: earlier predictions, the state at the start of a step of several
 * evaluations. The state is always that of the variance-preserving process, x = sqrt(alphaBar) x_0 + sqrt(1 - alphaBar)
 * eps: samplers written for other scalings (Euler, Heun, EDM: x / sqrt(alphaBar)) have the scaling in their numbers. How
 * the network predicts (epsilon, x0, v) is dissolved in the numbers too: a kernel never branches on it.
 */

/** Slots that a sampler may use. */
export const SLOTS = 6;

/** A linear combination; what is absent counts zero. */
export interface Mix {
  readonly x?: number;
  readonly x0Hat?: number;
  readonly m?: number;
  /** Of h_0, h_1, ... */
  readonly h?: readonly number[];
}

/**
 * What is done to x0Hat. A number c: clipped to [-c, c]. Dynamic thresholding (Saharia et al. 2022): clipped to [-s, s] and
 * divided by s, with s the quantile of |x0Hat| over the image, at least 1 and at most `max`. null: nothing.
 */
export type Clip = number | { readonly quantile: number; readonly max: number } | null;

export interface Step {
  /** Position in the run, 0 is the first step taken (the noisiest). */
  readonly index: number;
  /** The timestep given to the network: an index into alphaBar, 0-based, possibly between two. */
  readonly t: number;
  /** The timestep that the step arrives at; -1 stands for the clean image, where alphaBar is 1. */
  readonly tPrev: number;
  /** x0Hat before clipping, as a linear combination of x_t and the network's output m. */
  readonly x0Hat: { readonly x: number; readonly m: number };
  readonly clip: Clip;
  /** x_{t-1} without its noise. */
  readonly next: Mix;
  /** The slots after the step; absent ones keep what they hold. */
  readonly save?: readonly (Mix | undefined)[];
  /** Standard deviation of the noise added; 0 adds none (and draws none). */
  readonly sigma: number;
  /**
   * Learned variance: sigma is multiplied by exp(1/2 (min + (v + 1) / 2 (max - min))), v the second half of the network's
   * output (Nichol & Dhariwal 2021, eq. 15). Absent: sigma is all.
   */
  readonly logVariance?: readonly [min: number, max: number];
  /** A jump back (RePaint): no evaluation, x <- c x + s z, from the level of `t` to that of `tPrev`, which is noisier. */
  readonly jump?: { readonly c: number; readonly s: number };
}

/** Number of slots that a run needs. */
export const slotsOf = (steps: readonly Step[]): number =>
  Math.max(0, ...steps.map((s) => Math.max(s.save?.length ?? 0, s.next.h?.length ?? 0)));

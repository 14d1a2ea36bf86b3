/**
 * Contract between the samplers and the kernel that executes them.
 *
 * A sampler is a pure function from noise levels and options to the list of its steps, in float64. A step is one
 * evaluation of the network and one affine map of the state. The kernel (shaders/update.wgsl) and its CPU twin
 * (tests/reference/update.ts) compute the following for every element, with m the model output after guidance:
 *
 *     m     = m_uncond + guidance * (m_cond - m_uncond)
 *     x0Hat = clip(x0Hat.x * x + x0Hat.modelOutput * m)
 *     x, h_0, h_1, ... <- one LinearCombination each of (x, x0Hat, m, h_0, h_1, ...) before the step;   x += sigma * z
 *
 * The history h is the memory of a sampler: earlier predictions, or the state at the start of a step with several
 * evaluations. The state is always that of the variance-preserving process, x = sqrt(alphaBar) x_0 + sqrt(1 - alphaBar)
 * eps. Samplers written for other scalings (Euler, Heun, EDM: x / sqrt(alphaBar)) include the scaling in their factors.
 * The factors also include the prediction type (epsilon, x0, v), so the kernel never branches on it.
 */

/** Greatest number of history entries of a sampler. */
export const MAX_HISTORY = 6;

/** Factors of a linear combination; default 0 each. */
export interface LinearCombination {
  /** Factor of the state x. */
  readonly x?: number;
  /** Factor of the predicted clean image, after clipping. */
  readonly x0Hat?: number;
  /** Factor of the network's output, after guidance. */
  readonly modelOutput?: number;
  /** Factors of h_0, h_1, ... */
  readonly history?: readonly number[];
}

/** Prediction (x0Hat or epsHat) as a linear combination of the state and the model output. */
export type Prediction = Required<Pick<LinearCombination, 'x' | 'modelOutput'>>;

/**
 * Clipping of x0Hat. A number c: clip to [-c, c]. Dynamic thresholding (Saharia et al. 2022): clip to [-s, s] and divide
 * by s, with s the quantile of |x0Hat| over the image, at least 1 and at most `max`. null: no clipping.
 */
export type Clip = number | { readonly quantile: number; readonly max: number } | null;

export interface Step {
  /** Position in the run: 0 is the first step, which is the noisiest. Addresses the noise of the step. */
  readonly index: number;
  /** Timestep given to the network: index into alphaBar, 0-based, fractional for some solvers. */
  readonly t: number;
  /** Timestep after the step; -1 is the clean image, whose alphaBar is 1. */
  readonly tPrev: number;
  /** x0Hat before clipping. */
  readonly x0Hat: Prediction;
  readonly clip: Clip;
  /** State after the step, without its noise. */
  readonly next: LinearCombination;
  /** History after the step; an absent entry keeps its value. */
  readonly history?: readonly (LinearCombination | undefined)[];
  /** Standard deviation of the added noise; 0 adds none and draws none. */
  readonly sigma: number;
  /**
   * Learned variance: sigma is multiplied by exp(1/2 (min + (v + 1) / 2 (max - min))), with v the second half of the
   * network's output (Nichol & Dhariwal 2021, eq. 15). Default: sigma alone.
   */
  readonly logVariance?: readonly [min: number, max: number];
  /** RePaint's jump back: no evaluation, x <- c x + s z, from the level of `t` to the noisier level of `tPrev`. */
  readonly renoise?: { readonly c: number; readonly s: number };
}

/** Returns the number of history entries of a run. */
export const historyLength = (steps: readonly Step[]): number =>
  Math.max(0, ...steps.map((s) => Math.max(s.history?.length ?? 0, s.next.history?.length ?? 0)));

/**
 * The contract between the samplers and the update kernel.
 *
 * A sampler is a pure function from a noise schedule and options to the list of its steps, in float64.
 * A step says in numbers what the update does to the state; the kernel (shaders/update.wgsl) and its CPU
 * twin (tests/reference/update.ts) do just this, for every element:
 *
 *     m      = m_null + guidance * (m_class - m_null)          raw output of the network, guided
 *     x0Hat  = clip(x0Hat.x * x_t + x0Hat.m * m)               clip to [-clip, clip], or not at all
 *     x_next = next.x * x_t + next.x0Hat * x0Hat + next.m * m + sigma * z        z ~ N(0, 1)
 *
 * How the network predicts (epsilon, x0, v) is dissolved in the coefficients: a kernel never branches on it.
 */
export interface Step {
  /** Position in the run, 0 is the first step taken (the noisiest). */
  readonly index: number;
  /** The timestep given to the network: 0-based index into alphaBar, as a float. */
  readonly t: number;
  /** The timestep that the step arrives at; -1 stands for the clean image, where alphaBar is 1. */
  readonly tPrev: number;
  /** x0Hat before clipping, as a linear combination of x_t and the network's output m. */
  readonly x0Hat: { readonly x: number; readonly m: number };
  /** Half width of the interval that x0Hat is clipped to; null leaves it alone. */
  readonly clip: number | null;
  /** x_{t-1} without its noise. */
  readonly next: { readonly x: number; readonly x0Hat: number; readonly m: number };
  /** Standard deviation of the noise added; 0 adds none (and draws none). */
  readonly sigma: number;
}

/**
 * Forward process as a table: beta_t -> alphaBar_t.
 *
 *     q(x_t | x_0) = N(sqrt(alphaBar_t) x_0, (1 - alphaBar_t) I),   alphaBar_t = prod_{s <= t} (1 - beta_s)     DDPM eq. 4
 *
 * t is a 0-based index: alphaBar[t] is the value after t + 1 steps of noising (t in the papers is one greater).
 */

export type Betas =
  | { readonly kind: 'linear' | 'scaled_linear' | 'sigmoid'; readonly start: number; readonly end: number }
  | { readonly kind: 'squaredcos_cap_v2' }
  | { readonly kind: 'trained'; readonly values: readonly number[] };

/** Part of a scheduler config that defines the forward process. */
export interface ScheduleConfig {
  /** Number of timesteps of the training (num_train_timesteps). */
  readonly T: number;
  readonly betas: Betas;
  /** Rescales to zero terminal SNR (rescale_betas_zero_snr); default false. */
  readonly zeroSnr?: boolean;
}

export interface Schedule {
  /** Number of timesteps T of the training. */
  readonly T: number;
  readonly kind: Betas['kind'];
  /** alphaBar[t], t = 0 ... T - 1, falling. */
  readonly alphaBar: Float64Array;
  /** Noise level of x / sqrt(alphaBar): sigma[t] = sqrt((1 - alphaBar[t]) / alphaBar[t]), rising. */
  readonly sigma: Float64Array;
}

/** Returns beta_1 ... beta_T in float64. */
export function betasOf({ betas, T }: ScheduleConfig): number[] {
  const ramp = (from: number, to: number) => (i: number) => from + ((to - from) * i) / Math.max(T - 1, 1);
  switch (betas.kind) {
    case 'linear': // DDPM section 4
      return Array.from({ length: T }, (_, i) => ramp(betas.start, betas.end)(i));
    case 'scaled_linear': // linear in sqrt(beta): latent diffusion
      return Array.from({ length: T }, (_, i) => ramp(Math.sqrt(betas.start), Math.sqrt(betas.end))(i) ** 2);
    case 'sigmoid': {
      // GeoDiff (Xu et al. 2022): a sigmoid of -6 ... 6, scaled to start ... end.
      const { start, end } = betas;
      return Array.from({ length: T }, (_, i) => start + (end - start) / (1 + Math.exp(-ramp(-6, 6)(i))));
    }
    case 'squaredcos_cap_v2': {
      // Improved DDPM eq. 17, s = 0.008, beta capped at 0.999. (f(0) cancels in the quotient.)
      const f = (u: number) => Math.cos(((u + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
      return Array.from({ length: T }, (_, i) => Math.min(1 - f((i + 1) / T) / f(i / T), 0.999));
    }
    case 'trained':
      return [...betas.values];
  }
}

/**
 * Returns the schedule in float64. `torch32` rounds each number to float32 at the points at which PyTorch does, for
 * comparison with diffusers: at t = 0 of the linear schedule, 1 - alphaBar then differs by 1.7e-4 relative.
 */
export function makeSchedule(config: ScheduleConfig, { torch32 = false } = {}): Schedule {
  const round = torch32 ? Math.fround : (x: number) => x;
  const alphaBar = new Float64Array(config.T);
  const betas = torch32 ? torchBetas(config) : betasOf(config);
  let product = 1;
  betas.forEach((beta, t) => {
    product *= round(1 - round(beta)); // PyTorch multiplies in float64 and rounds each entry
    alphaBar[t] = round(product);
  });
  if (config.zeroSnr) {
    // Lin et al. 2024, algorithm 1: shift sqrt(alphaBar) to end at 0, then scale it back to its first value.
    const [first, last] = [Math.sqrt(alphaBar[0]!), Math.sqrt(alphaBar.at(-1)!)];
    alphaBar.forEach((ab, t) => (alphaBar[t] = (((Math.sqrt(ab) - last) * first) / (first - last)) ** 2));
  }
  const sigma = alphaBar.map((ab) => Math.sqrt((1 - ab) / (ab || 2 ** -24))); // diffusers replaces 0 by 2^-24
  return { T: config.T, kind: config.betas.kind, alphaBar, sigma };
}

const cache = new WeakMap<ScheduleConfig, Schedule>();

/** Returns the float64 schedule of a config, computed once per config object. */
export function scheduleOf(config: ScheduleConfig): Schedule {
  let schedule = cache.get(config);
  if (!schedule) cache.set(config, (schedule = makeSchedule(config)));
  return schedule;
}

/** Returns the betas of torch.linspace(dtype=float32), which computes from both ends to the middle, in float32. */
function torchBetas(config: ScheduleConfig): number[] {
  const { betas, T } = config;
  if (betas.kind !== 'linear' && betas.kind !== 'scaled_linear') return betasOf(config).map(Math.fround);
  const root = betas.kind === 'scaled_linear' ? Math.sqrt : (x: number) => x;
  const [start, end] = [Math.fround(root(betas.start)), Math.fround(root(betas.end))];
  const stride = Math.fround(Math.fround(end - start) / Math.max(T - 1, 1));
  return Array.from({ length: T }, (_, i) => {
    const x = Math.fround(i < T / 2 ? start + stride * i : end - stride * (T - 1 - i));
    return betas.kind === 'linear' ? x : Math.fround(x * x);
  });
}

/**
 * The forward process in numbers: beta_t -> alphaBar_t.
 *
 *     q(x_t | x_0) = N(sqrt(alphaBar_t) x_0, (1 - alphaBar_t) I),   alphaBar_t = prod_{s <= t} (1 - beta_s)     DDPM eq. 4
 *
 * t is a 0-based index: alphaBar[t] stands after t + 1 steps of noising (the papers' t is ours plus one).
 */

import type { SchedulerConfig } from './config.ts';

export interface Schedule {
  /** Number of timesteps T that the model was trained with. */
  readonly T: number;
  /** alphaBar[t], t = 0 ... T - 1, falling. */
  readonly alphaBar: Float64Array;
}

/** beta_1 ... beta_T in float64. */
export function betasOf({ betas, T }: Pick<SchedulerConfig, 'betas' | 'T'>): number[] {
  const ramp = (from: number, to: number) => (i: number) => from + ((to - from) * i) / Math.max(T - 1, 1);
  switch (betas.kind) {
    case 'linear': // DDPM section 4
      return Array.from({ length: T }, (_, i) => ramp(betas.start, betas.end)(i));
    case 'scaled_linear': // linear in sqrt(beta): latent diffusion
      return Array.from({ length: T }, (_, i) => ramp(Math.sqrt(betas.start), Math.sqrt(betas.end))(i) ** 2);
    case 'sigmoid': {
      // GeoDiff (Xu et al. 2022): a sigmoid from -6 to 6 between the two.
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
 * The schedule in float64, or with `torch32` rounded where PyTorch's f32 tables round (for comparison with
 * diffusers: at t = 0 of the linear schedule, 1 - alphaBar then differs by 1.7e-4 relative).
 */
export function makeSchedule(
  config: Pick<SchedulerConfig, 'betas' | 'T'> & { readonly zeroSnr?: boolean },
  { torch32 = false } = {},
): Schedule {
  const round = torch32 ? Math.fround : (x: number) => x;
  const alphaBar = new Float64Array(config.T);
  const betas = torch32 ? torchBetas(config) : betasOf(config);
  let product = 1;
  betas.forEach((beta, t) => {
    product *= round(1 - round(beta)); // PyTorch multiplies in f64 and rounds each entry
    alphaBar[t] = round(product);
  });
  if (config.zeroSnr) {
    // Lin et al. 2024, algorithm 1: sqrt(alphaBar) is shifted so that it ends at 0, and scaled back to its start.
    const [first, last] = [Math.sqrt(alphaBar[0]!), Math.sqrt(alphaBar.at(-1)!)];
    alphaBar.forEach((ab, t) => (alphaBar[t] = (((Math.sqrt(ab) - last) * first) / (first - last)) ** 2));
  }
  return { T: config.T, alphaBar };
}

/** betas as torch.linspace(dtype=float32) makes them: from both ends to the middle, in f32. */
function torchBetas(config: Pick<SchedulerConfig, 'betas' | 'T'>): number[] {
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

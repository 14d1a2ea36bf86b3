/**
 * Noise levels, between which a solver steps from noisy to clean.
 *
 *     a = sqrt(alphaBar),  s = sqrt(1 - alphaBar),  sigma = s / a  (the noise of x / a),  lambda = ln(a / s)
 */

export interface Level {
  /** Timestep given to the network; -1 for the clean image. */
  readonly t: number;
  readonly a: number;
  readonly s: number;
  readonly sigma: number;
  /** Half of the log of the signal-to-noise ratio; infinite for the clean image. */
  readonly lambda: number;
}

export type SigmaSpacing = 'karras' | 'exponential' | 'beta';
export const SIGMA_SPACINGS: readonly SigmaSpacing[] = ['karras', 'exponential', 'beta'];

export const CLEAN: Level = { t: -1, a: 1, s: 0, sigma: 0, lambda: Infinity };

function levelOf(t: number, sigma: number): Level {
  const a = 1 / Math.sqrt(1 + sigma ** 2);
  return { t, a, s: sigma * a, sigma, lambda: -Math.log(sigma) };
}

/** Returns the level at t; interpolates sigma linearly between the timesteps of the training. */
export function levelAt(table: Float64Array, t: number): Level {
  const low = Math.min(Math.floor(t), table.length - 1);
  const high = Math.min(low + 1, table.length - 1);
  return levelOf(t, table[low]! + (t - low) * (table[high]! - table[low]!));
}

/** Returns the level of a sigma; interpolates t linearly in log sigma, and clamps it to the table. */
export function levelOfSigma(table: Float64Array, sigma: number, round = (t: number) => t): Level {
  let low = 0;
  while (low < table.length - 2 && table[low + 1]! <= sigma) low++;
  const [from, to] = [Math.log(table[low]!), Math.log(table[low + 1] ?? table[low]!)];
  const fraction = to > from ? Math.min(Math.max((Math.log(sigma) - from) / (to - from), 0), 1) : 0;
  return levelOf(round(low + fraction), sigma);
}

/** Returns n values of sigma from `max` down to `min`. */
export function spaceSigmas(kind: SigmaSpacing, n: number, min: number, max: number): number[] {
  const u = (i: number) => (n === 1 ? 0 : i / (n - 1));
  switch (kind) {
    case 'karras': {
      // Karras et al. 2022, eq. 5, rho = 7.
      const [from, to] = [max ** (1 / 7), min ** (1 / 7)];
      return Array.from({ length: n }, (_, i) => (from + u(i) * (to - from)) ** 7);
    }
    case 'exponential':
      return Array.from({ length: n }, (_, i) =>
        Math.exp(Math.log(max) + u(i) * (Math.log(min) - Math.log(max))),
      );
    case 'beta': // Lee et al. 2024 ("Beta sampling is all you need"), alpha = beta = 0.6
      return Array.from({ length: n }, (_, i) => min + betaQuantile(1 - u(i), 0.6) * (max - min));
  }
}

/** Quantile function of the symmetric beta distribution: bisection of its integral, which uses Simpson's rule. */
function betaQuantile(p: number, shape: number): number {
  if (p <= 0 || p >= 1) return Math.min(Math.max(p, 0), 1);
  if (p > 0.5) return 1 - betaQuantile(1 - p, shape);
  // The substitution x = y^(1 / shape) removes the singularity at 0: integral of (1 - x)^(shape - 1) dy / shape.
  const integral = (x: number): number => {
    const [end, n] = [x ** shape, 200];
    const f = (y: number) => (1 - y ** (1 / shape)) ** (shape - 1);
    let sum = f(0) + f(end);
    for (let i = 1; i < n; i++) sum += (i % 2 ? 4 : 2) * f((i * end) / n);
    return (sum * end) / n / 3;
  };
  const half = integral(0.5);
  let [low, high] = [0, 0.5];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (integral(middle) / half < 2 * p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

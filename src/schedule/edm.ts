/**
 * EDM's stochastic sampler (Karras et al. 2022, algorithm 2): Heun's method, with the noise raised a little before each
 * step. With gamma = min(churn / n, sqrt 2 - 1) and y = x / a:
 *
 *     sigmaHat = sigma (1 + gamma),   yHat = y + sqrt(sigmaHat^2 - sigma^2) z
 *     then Heun from sigmaHat to sigmaPrev, in the last step Euler to 0
 *
 * The raise stands at the end of the step before, since noise is what a step ends with; before the first step it is in
 * x_T, which is pure noise either way. Slot 0 holds the slope at sigmaHat.
 */

import { levelOfSigma, type Level } from './levels.ts';
import { combine, x0HatAt, type SolverOptions } from './solver.ts';
import type { Step } from './step.ts';

export interface EdmOptions extends SolverOptions {
  /** S_churn; 0 is Heun's method. */
  readonly churn: number;
  /** sigma of every timestep of the training. */
  readonly table: Float64Array;
}

export function edmSteps(levels: readonly Level[], options: EdmOptions): Step[] {
  const n = levels.length - 1;
  const gamma = Math.min(options.churn / n, Math.SQRT2 - 1);
  const top = options.table.at(-1)!;
  /** The level that a step starts from: no noisier than the network has seen. */
  const raised = (level: Level): Level =>
    level.sigma === 0 || gamma === 0
      ? level
      : levelOfSigma(options.table, Math.min(level.sigma * (1 + gamma), Math.max(top, level.sigma)));
  const steps: Step[] = [];
  for (let i = 0; i < n; i++) {
    const [from, to] = [raised(levels[i]!), levels[i + 1]!];
    const after = raised(to);
    const noise = after.a * Math.sqrt(Math.max(after.sigma ** 2 - to.sigma ** 2, 0));
    const ratio = to.sigma / from.sigma;
    const change = to.sigma - from.sigma;
    steps.push({
      index: steps.length,
      t: from.t,
      tPrev: to.t,
      ...x0HatAt(from, options),
      next: { x: (to.a * ratio) / from.a, x0Hat: to.a * (1 - ratio) },
      save: [{ x: 1 / (from.a * from.sigma), x0Hat: -1 / from.sigma }],
      sigma: 0,
    });
    if (to.sigma === 0) break;
    const half = change / 2;
    const heun = { x: 1 + half / to.sigma, x0Hat: (-to.a * half) / to.sigma, h: [-to.a * half] };
    steps.push({
      index: steps.length,
      t: to.t,
      tPrev: after.t,
      ...x0HatAt(to, options),
      next: combine([after.a / to.a, heun]),
      sigma: noise,
    });
  }
  return steps;
}

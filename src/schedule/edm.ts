/**
 * EDM's stochastic sampler (Karras et al. 2022, algorithm 2): Heun's method, with a small increase of the noise before
 * each step. With gamma = min(churn / n, sqrt 2 - 1) and y = x / a:
 *
 *     sigmaHat = sigma (1 + gamma),   yHat = y + sqrt(sigmaHat^2 - sigma^2) z
 *     then Heun from sigmaHat to sigmaPrev; in the last step Euler to 0
 *
 * A step of ours ends with its noise, so the increase belongs to the step before. The increase before the first step is
 * part of x_T, which is pure noise in any case.
 *
 * History: h_0 is the slope at sigmaHat.
 */

import { levels, twicePerStep, type Sampler } from './context.ts';
import { levelOfSigma, type Level } from './levels.ts';
import { weightedSum } from './linear_combination.ts';
import { x0HatAt, type PredictionOptions } from './prediction.ts';
import type { Step } from './step.ts';

/** Paper and equation, for docs/samplers.md. */
export const SOURCE = 'Karras et al. 2022, algorithm 2';

export const edm: Sampler = {
  title: 'EDM',
  blurb: 'Heun on Karras’ noise levels',
  stochastic: false,
  evaluations: twicePerStep,
  takesTimesteps: false,
  options: ['churn'],
  diffusersClips: [],
  make: (context) => {
    const { sigmas, schedule, churn, predictionType, clip } = context;
    const options = { predictionType, clip, churn, table: schedule.sigma };
    return edmSteps(levels(context, { sigmas: sigmas ?? 'karras' }), options);
  },
};

interface EdmOptions extends PredictionOptions {
  /** S_churn; 0 is Heun's method. */
  readonly churn: number;
  /** sigma of every timestep of the training. */
  readonly table: Float64Array;
}

function edmSteps(levels: readonly Level[], options: EdmOptions): Step[] {
  const n = levels.length - 1;
  const gamma = Math.min(options.churn / n, Math.SQRT2 - 1);
  const maxSigma = options.table.at(-1)!;
  /** Returns the level at which a step starts; at most the noisiest level of the training. */
  const increased = (level: Level): Level =>
    level.sigma === 0 || gamma === 0
      ? level
      : levelOfSigma(options.table, Math.min(level.sigma * (1 + gamma), Math.max(maxSigma, level.sigma)));
  const steps: Step[] = [];
  for (let i = 0; i < n; i++) {
    const [from, to] = [increased(levels[i]!), levels[i + 1]!];
    const after = increased(to);
    const noise = after.a * Math.sqrt(Math.max(after.sigma ** 2 - to.sigma ** 2, 0));
    const ratio = to.sigma / from.sigma;
    const change = to.sigma - from.sigma;
    steps.push({
      index: steps.length,
      t: from.t,
      tPrev: to.t,
      ...x0HatAt(from, options),
      next: { x: (to.a * ratio) / from.a, x0Hat: to.a * (1 - ratio) },
      history: [{ x: 1 / (from.a * from.sigma), x0Hat: -1 / from.sigma }],
      sigma: 0,
    });
    if (to.sigma === 0) break;
    const half = change / 2;
    const corrected = { x: 1 + half / to.sigma, x0Hat: (-to.a * half) / to.sigma, history: [-to.a * half] };
    steps.push({
      index: steps.length,
      t: to.t,
      tPrev: after.t,
      ...x0HatAt(to, options),
      next: weightedSum([after.a / to.a, corrected]),
      sigma: noise,
    });
  }
  return steps;
}

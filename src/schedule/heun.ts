/**
 * Heun's method on the probability-flow ODE (Karras et al. 2022, algorithm 1): two evaluations per step, one in the last.
 *
 *     d  = (y - x0Hat(y, sigma)) / sigma          y = x / a
 *     y1 = y + (sigmaPrev - sigma) d
 *     d' = (y1 - x0Hat(y1, sigmaPrev)) / sigmaPrev
 *     y' = y + (sigmaPrev - sigma) (d + d') / 2 = y1 + (sigmaPrev - sigma) (d' - d) / 2
 *
 * History: h_0 is d.
 */

import { levels, twicePerStep, type Sampler } from './context.ts';
import type { Level } from './levels.ts';
import { x0HatAt, type PredictionOptions } from './prediction.ts';
import type { Step } from './step.ts';

/** Paper and equation, for docs/samplers.md. */
export const SOURCE = 'Karras et al. 2022, algorithm 1';

export const heun: Sampler = {
  title: 'Heun',
  blurb: 'two evaluations per step',
  stochastic: false,
  evaluations: twicePerStep,
  takesTimesteps: false,
  options: [],
  diffusersClips: ['range'],
  diffusers: {
    className: 'HeunDiscreteScheduler',
    spacing: 'linspace',
    clip: false,
    betas: [0.00085, 0.012],
  },
  make: (context) => heunSteps(levels(context), context),
};

function heunSteps(levels: readonly Level[], options: PredictionOptions): Step[] {
  const steps: Step[] = [];
  for (let i = 0; i < levels.length - 1; i++) {
    const [from, to] = [levels[i]!, levels[i + 1]!];
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
    steps.push({
      index: steps.length,
      t: to.t,
      tPrev: to.t,
      ...x0HatAt(to, options),
      next: { x: 1 + half / to.sigma, x0Hat: (-to.a * half) / to.sigma, history: [-to.a * half] },
      sigma: 0,
    });
  }
  return steps;
}

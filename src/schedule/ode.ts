/**
 * Probability-flow ODE (Song et al. 2021b, eq. 13) by the classical Runge-Kutta method of order 4 in lambda: four
 * evaluations per step, one in the last. With y = x / a and mu = -lambda = ln sigma:
 *
 *     dy/dmu = y - x0Hat(y, mu)
 *     k1 at mu, k2 and k3 at the middle, k4 at muPrev;   y' = y + dmu (k1 + 2 k2 + 2 k3 + k4) / 6
 *
 * History: h_0 is y at the start of the step, h_1 the weighted sum of the slopes.
 */

import { levels, type Sampler } from './context.ts';
import { levelOfSigma, type Level } from './levels.ts';
import { history, weightedSum } from './linear_combination.ts';
import { x0HatAt, type PredictionOptions } from './prediction.ts';
import type { LinearCombination, Step } from './step.ts';

/** Paper and equation, for docs/samplers.md. */
export const SOURCE = 'Song et al. 2021b, eq. 13; classical Runge-Kutta of order 4';

export const ode: Sampler = {
  title: 'Runge–Kutta 4',
  blurb: 'the ODE, four evaluations per step',
  stochastic: false,
  evaluations: (n) => 4 * n - 3,
  takesTimesteps: false,
  options: [],
  diffusersClips: [],
  make: (context) => odeSteps(levels(context), context, context.schedule.sigma),
};

function odeSteps(levels: readonly Level[], options: PredictionOptions, table: Float64Array): Step[] {
  const steps: Step[] = [];
  for (let i = 0; i < levels.length - 1; i++) {
    const [from, to] = [levels[i]!, levels[i + 1]!];
    if (to.sigma === 0) {
      // The slope in mu diverges at the clean end; the limit of the step is the prediction itself.
      const base = { index: steps.length, t: from.t, tPrev: to.t, ...x0HatAt(from, options) };
      steps.push({ ...base, next: { x0Hat: 1 }, sigma: 0 });
      break;
    }
    const change = from.lambda - to.lambda; // dmu, negative
    const middle = levelOfSigma(table, Math.sqrt(from.sigma * to.sigma));
    /** Adds one evaluation at a level, after which the state is `next` of the slope, at the level `end`. */
    const stage = (
      level: Level,
      end: Level,
      next: (slope: LinearCombination) => LinearCombination,
      remembered: (slope: LinearCombination) => (LinearCombination | undefined)[],
    ) => {
      const slope: LinearCombination = { x: 1 / level.a, x0Hat: -1 };
      steps.push({
        index: steps.length,
        t: level.t,
        tPrev: end.t,
        ...x0HatAt(level, options),
        next: weightedSum([end.a, next(slope)]),
        history: remembered(slope),
        sigma: 0,
      });
    };
    const [y, sum] = [history(0), history(1)];
    const add = (weight: number) => (k: LinearCombination) => [undefined, weightedSum([1, sum], [weight, k])];
    const start: LinearCombination = { x: 1 / from.a };
    const half = change / 2;
    stage(
      from,
      middle,
      (k) => weightedSum([1, start], [half, k]),
      (k) => [start, k],
    );
    stage(middle, middle, (k) => weightedSum([1, y], [half, k]), add(2));
    stage(middle, to, (k) => weightedSum([1, y], [change, k]), add(2));
    stage(
      to,
      to,
      (k) => weightedSum([1, y], [change / 6, sum], [change / 6, k]),
      () => [],
    );
  }
  return steps;
}

/**
 * The probability-flow ODE (Song et al. 2021b, eq. 13) by the classical Runge-Kutta method of order 4 in lambda:
 * four evaluations a step, one in the last. With y = x / a and mu = -lambda = ln sigma:
 *
 *     dy/dmu = y - x0Hat(y, mu)
 *     k1 at mu, k2 and k3 at the middle, k4 at muPrev;   y' = y + dmu (k1 + 2 k2 + 2 k3 + k4) / 6
 *
 * Slots: 0 the y of the start, 1 the weighted sum of slopes.
 */

import { levelOfSigma, type Level } from './levels.ts';
import { combine, slot, x0HatAt, type SolverOptions } from './solver.ts';
import type { Mix, Step } from './step.ts';

export function odeSteps(
  levels: readonly Level[],
  options: SolverOptions & { readonly table: Float64Array },
): Step[] {
  const steps: Step[] = [];
  for (let i = 0; i < levels.length - 1; i++) {
    const [from, to] = [levels[i]!, levels[i + 1]!];
    if (to.sigma === 0) {
      // The slope in mu has no end there; the prediction itself is the limit.
      const base = { index: steps.length, t: from.t, tPrev: to.t, ...x0HatAt(from, options) };
      steps.push({ ...base, next: { x0Hat: 1 }, sigma: 0 });
      break;
    }
    const change = from.lambda - to.lambda; // dmu, negative
    const middle = levelOfSigma(options.table, Math.sqrt(from.sigma * to.sigma));
    /** One evaluation at a level; the state goes to `next`, both in y. */
    const stage = (
      level: Level,
      end: Level,
      next: (slope: Mix) => Mix,
      save: (slope: Mix, y: Mix) => (Mix | undefined)[],
    ) => {
      const y: Mix = { x: 1 / level.a };
      const slope: Mix = { x: 1 / level.a, x0Hat: -1 };
      steps.push({
        index: steps.length,
        t: level.t,
        tPrev: end.t,
        ...x0HatAt(level, options),
        next: combine([end.a, next(slope)]),
        save: save(slope, y),
        sigma: 0,
      });
    };
    const y = slot(0);
    const sum = slot(1);
    const keep = (weight: number) => (k: Mix) => [undefined, combine([1, sum], [weight, k])];
    const start: Mix = { x: 1 / from.a };
    stage(from, middle, (k) => combine([1, start], [change / 2, k]), (k, own) => [own, k]); // prettier-ignore
    stage(middle, middle, (k) => combine([1, y], [change / 2, k]), keep(2));
    stage(middle, to, (k) => combine([1, y], [change, k]), keep(2));
    stage(
      to,
      to,
      (k) => combine([1, y], [change / 6, sum], [change / 6, k]),
      () => [],
    );
  }
  return steps;
}

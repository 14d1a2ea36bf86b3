/**
 * Euler's method on the probability-flow ODE, plain and ancestral (Karras et al. 2022, eq. 4; k-diffusion).
 *
 * With y = x / a:  dy/dsigma = (y - x0Hat) / sigma.  One step from sigma to sigmaPrev is
 *
 *     y' = (sigmaPrev / sigma) y + (1 - sigmaPrev / sigma) x0Hat
 *
 * which is DDIM with eta = 0. The ancestral step goes down to sigmaDown and adds sigmaUp of new noise:
 *
 *     sigmaUp^2 = sigmaPrev^2 (sigma^2 - sigmaPrev^2) / sigma^2,   sigmaDown^2 = sigmaPrev^2 - sigmaUp^2
 */

import type { SolverOptions } from './solver.ts';
import { x0HatAt } from './solver.ts';
import type { Level } from './levels.ts';
import type { Step } from './step.ts';

export function eulerSteps(levels: readonly Level[], options: SolverOptions, ancestral = false): Step[] {
  return levels.slice(0, -1).map((from, index): Step => {
    const to = levels[index + 1]!;
    const up = ancestral
      ? Math.sqrt((to.sigma ** 2 * (from.sigma ** 2 - to.sigma ** 2)) / from.sigma ** 2)
      : 0;
    const down = Math.sqrt(to.sigma ** 2 - up ** 2);
    const ratio = down / from.sigma;
    return {
      index,
      t: from.t,
      tPrev: to.t,
      ...x0HatAt(from, options),
      next: { x: (to.a * ratio) / from.a, x0Hat: to.a * (1 - ratio) },
      sigma: to.a * up,
    };
  });
}

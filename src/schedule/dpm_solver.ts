/**
 * DPM-Solver++ (Lu et al. 2022b): exponential integrators in lambda for the predicted x_0.
 *
 * With D_k the prediction k evaluations ago, h = lambdaNext - lambda, h_k the earlier steps, r_k = h_k / h, and
 * E = e^-h - 1 (all of it finite at the clean end, where h is infinite):
 *
 *     order 1   x' = (s'/s) x - a' E D_0                                                              eq. 9 (= DDIM)
 *     order 2   ... - a' E / 2 * D1,                 D1 = (D_0 - D_1) / r_0                           algorithm 2, 2M
 *     order 3   ... + a' (E / h + 1) D1 - a' ((E + h) / h^2 - 1/2) D2                                  appendix, 3M
 *               D1 = D1_0 + r_0 / (r_0 + r_1) (D1_0 - D1_1),   D2 = (D1_0 - D1_1) / (r_0 + r_1)
 *
 * The SDE form of order 2 (2M SDE) has e^-2h in place of e^-h in the term of D, e^-h more before x, and adds
 * s' sqrt(1 - e^-2h) z. The last step is of order 1: it arrives at the clean image.
 */

import type { Level } from './levels.ts';
import { combine, slot, X, X0_HAT, x0HatAt, type SolverOptions } from './solver.ts';
import type { Mix, Step } from './step.ts';

export interface MultistepOptions extends SolverOptions {
  readonly order: 1 | 2 | 3;
  readonly sde?: boolean;
}

/** Lower orders while there is no history, in the last step, and (below 15 steps) in the last but one. */
export function orderAt(i: number, n: number, order: number): number {
  if (i === n - 1) return 1;
  if (i === n - 2 && n < 15) return Math.min(order, 2, i + 1);
  return Math.min(order, i + 1);
}

/** Multistep: one evaluation a step. Slots: D_1, D_2. */
export function dpmSolverMultistep(levels: readonly Level[], options: MultistepOptions): Step[] {
  const n = levels.length - 1;
  const lambda = (i: number): number => levels[i]!.lambda;
  return levels.slice(0, -1).map((from, index): Step => {
    const to = levels[index + 1]!;
    const order = orderAt(index, n, options.order);
    const h = to.lambda - from.lambda;
    const E = Math.expm1(-h);
    const [d0, d1, d2] = [X0_HAT, slot(0), slot(1)];
    let next: Mix;
    if (options.sde) {
      const F = -Math.expm1(-2 * h);
      const parts: [number, Mix][] = [
        [(to.s / from.s) * Math.exp(-h), X],
        [to.a * F, d0],
      ];
      if (order > 1) {
        const r0 = (lambda(index) - lambda(index - 1)) / h;
        parts.push([(0.5 * to.a * F) / r0, combine([1, d0], [-1, d1])]);
      }
      next = combine(...parts);
    } else {
      const parts: [number, Mix][] = [
        [to.s / from.s, X],
        [-to.a * E, d0],
      ];
      if (order === 2) {
        const r0 = (lambda(index) - lambda(index - 1)) / h;
        parts.push([(-0.5 * to.a * E) / r0, combine([1, d0], [-1, d1])]);
      } else if (order === 3) {
        const r0 = (lambda(index) - lambda(index - 1)) / h;
        const r1 = (lambda(index - 1) - lambda(index - 2)) / h;
        const first = combine([1 / r0, d0], [-1 / r0, d1]);
        const second = combine([1 / r1, d1], [-1 / r1, d2]);
        const change = combine([1, first], [-1, second]);
        parts.push(
          [to.a * (E / h + 1), combine([1, first], [r0 / (r0 + r1), change])],
          [-to.a * ((E + h) / h ** 2 - 0.5), combine([1 / (r0 + r1), change])],
        );
      }
      next = combine(...parts);
    }
    return {
      index,
      t: from.t,
      tPrev: to.t,
      ...x0HatAt(from, options),
      next,
      save: options.order === 3 ? [X0_HAT, slot(0)] : [X0_HAT],
      sigma: options.sde ? to.s * Math.sqrt(-Math.expm1(-2 * h)) : 0,
    };
  });
}

/**
 * Single step of order 2 (2S): pairs of evaluations; the second restarts from the state before the first. A step of
 * order 1 is left over at the end. Slots: x and x0Hat of the pair's start.
 */
export function dpmSolverSinglestep(levels: readonly Level[], options: SolverOptions): Step[] {
  const n = levels.length - 1;
  return levels.slice(0, -1).map((from, index): Step => {
    const to = levels[index + 1]!;
    const base = { index, t: from.t, tPrev: to.t, ...x0HatAt(from, options), sigma: 0 };
    if (index % 2 === 0 || index === n - 1) {
      const E = Math.expm1(from.lambda - to.lambda);
      return { ...base, next: combine([to.s / from.s, X], [-to.a * E, X0_HAT]), save: [X, X0_HAT] };
    }
    const start = levels[index - 1]!;
    const h = to.lambda - start.lambda;
    const r0 = (from.lambda - start.lambda) / h;
    const E = Math.expm1(-h);
    const change = combine([1 / r0, X0_HAT], [-1 / r0, slot(1)]);
    return {
      ...base,
      next: combine([to.s / start.s, slot(0)], [-to.a * E, slot(1)], [-0.5 * to.a * E, change]),
    };
  });
}

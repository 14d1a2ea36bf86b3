/**
 * DPM-Solver++ (Lu et al. 2022b): exponential integrators in lambda for the predicted x_0.
 *
 * D_k is the prediction k evaluations ago, h = lambdaNext - lambda, h_k are the earlier steps, r_k = h_k / h, and
 * E = e^-h - 1. All of it is finite at the clean end, where h is infinite:
 *
 *     order 1   x' = (s'/s) x - a' E D_0                                                              eq. 9 (= DDIM)
 *     order 2   ... - a' E / 2 * D1,                 D1 = (D_0 - D_1) / r_0                           algorithm 2, 2M
 *     order 3   ... + a' (E / h + 1) D1 - a' ((E + h) / h^2 - 1/2) D2                                  appendix, 3M
 *               D1 = D1_0 + r_0 / (r_0 + r_1) (D1_0 - D1_1),   D2 = (D1_0 - D1_1) / (r_0 + r_1)
 *
 * The SDE form of order 2 (2M SDE) has e^-2h in place of e^-h in the term of D, multiplies the term of x by e^-h, and
 * adds s' sqrt(1 - e^-2h) z. The last step is of order 1: it ends at the clean image.
 */

import { levels, oncePerStep, type DiffusersClass, type Sampler } from './context.ts';
import type { Level } from './levels.ts';
import { history, weightedSum, X, X0_HAT } from './linear_combination.ts';
import { x0HatAt, type PredictionOptions } from './prediction.ts';
import type { LinearCombination, Step } from './step.ts';

/** Paper and equation, for docs/samplers.md. */
export const SOURCE = 'Lu et al. 2022b';

const multistepClass: DiffusersClass = {
  className: 'DPMSolverMultistepScheduler',
  spacing: 'linspace',
  clip: false,
  fixed: { solver_type: 'midpoint', final_sigmas_type: 'zero', use_lu_lambdas: false, euler_at_final: false },
};

export const dpmpp2m: Sampler = {
  title: 'DPM-Solver++ 2M',
  blurb: 'good in 10 to 20 steps',
  stochastic: false,
  evaluations: oncePerStep,
  takesTimesteps: false,
  options: [],
  diffusersClips: ['threshold'],
  diffusers: { ...multistepClass, selectedBy: { algorithm_type: 'dpmsolver++', solver_order: 2 } },
  make: (context) => multistepSteps(levels(context, { integerTimesteps: true }), context, { order: 2 }),
};

export const dpmpp3m: Sampler = {
  ...dpmpp2m,
  title: 'DPM-Solver++ 3M',
  blurb: 'one order higher',
  diffusers: { ...multistepClass, selectedBy: { algorithm_type: 'dpmsolver++', solver_order: 3 } },
  make: (context) => multistepSteps(levels(context, { integerTimesteps: true }), context, { order: 3 }),
};

export const dpmppSde: Sampler = {
  ...dpmpp2m,
  title: 'DPM-Solver++ SDE',
  blurb: 'few steps, new noise',
  stochastic: true,
  diffusers: { ...multistepClass, selectedBy: { algorithm_type: 'sde-dpmsolver++', solver_order: 2 } },
  make: (context) =>
    multistepSteps(levels(context, { integerTimesteps: true }), context, { order: 2, sde: true }),
};

export const dpmpp2s: Sampler = {
  ...dpmpp2m,
  title: 'DPM-Solver++ 2S',
  blurb: 'steps in pairs',
  diffusers: {
    className: 'DPMSolverSinglestepScheduler',
    spacing: 'linspace',
    clip: false,
    fixed: {
      solver_order: 2,
      solver_type: 'midpoint',
      final_sigmas_type: 'zero',
      algorithm_type: 'dpmsolver++',
    },
  },
  make: (context) => singlestepSteps(levels(context, { integerTimesteps: true }), context),
};

/**
 * Returns the order of step i of n: lower without enough history, in the last step, and below 15 steps in the last but
 * one.
 */
function orderAt(i: number, n: number, order: number): number {
  if (i === n - 1) return 1;
  if (i === n - 2 && n < 15) return Math.min(order, 2, i + 1);
  return Math.min(order, i + 1);
}

/** Multistep form: one evaluation per step. History: h_0 is D_1, h_1 is D_2. */
function multistepSteps(
  levels: readonly Level[],
  prediction: PredictionOptions,
  { order: maxOrder, sde = false }: { readonly order: 2 | 3; readonly sde?: boolean },
): Step[] {
  const n = levels.length - 1;
  const lambda = (i: number): number => levels[i]!.lambda;
  return levels.slice(0, -1).map((from, index): Step => {
    const to = levels[index + 1]!;
    const order = orderAt(index, n, maxOrder);
    const h = to.lambda - from.lambda;
    const r = (k: number): number => (lambda(index - k) - lambda(index - k - 1)) / h;
    const next = sde ? sdeStep(from, to, h, order, r) : odeStep(from, to, h, order, r);
    return {
      index,
      t: from.t,
      tPrev: to.t,
      ...x0HatAt(from, prediction),
      next,
      history: maxOrder === 3 ? [X0_HAT, history(0)] : [X0_HAT],
      sigma: sde ? to.s * Math.sqrt(-Math.expm1(-2 * h)) : 0,
    };
  });
}

const [D0, D1, D2] = [X0_HAT, history(0), history(1)];

/** @param r function from k to r_k; called only if the order needs it */
function odeStep(
  from: Level,
  to: Level,
  h: number,
  order: number,
  r: (k: number) => number,
): LinearCombination {
  const E = Math.expm1(-h);
  const terms: [number, LinearCombination][] = [
    [to.s / from.s, X],
    [-to.a * E, D0],
  ];
  if (order === 2) terms.push([(-0.5 * to.a * E) / r(0), weightedSum([1, D0], [-1, D1])]);
  if (order === 3) {
    const [r0, r1] = [r(0), r(1)];
    const first = weightedSum([1 / r0, D0], [-1 / r0, D1]);
    const second = weightedSum([1 / r1, D1], [-1 / r1, D2]);
    const change = weightedSum([1, first], [-1, second]);
    terms.push(
      [to.a * (E / h + 1), weightedSum([1, first], [r0 / (r0 + r1), change])],
      [-to.a * ((E + h) / h ** 2 - 0.5), weightedSum([1 / (r0 + r1), change])],
    );
  }
  return weightedSum(...terms);
}

/** @param r as for `odeStep` */
function sdeStep(
  from: Level,
  to: Level,
  h: number,
  order: number,
  r: (k: number) => number,
): LinearCombination {
  const F = -Math.expm1(-2 * h);
  const terms: [number, LinearCombination][] = [
    [(to.s / from.s) * Math.exp(-h), X],
    [to.a * F, D0],
  ];
  if (order > 1) terms.push([(0.5 * to.a * F) / r(0), weightedSum([1, D0], [-1, D1])]);
  return weightedSum(...terms);
}

/**
 * Singlestep form of order 2 (2S): pairs of evaluations, of which the second restarts from the state before the first.
 * An odd number of steps ends with a step of order 1. History: h_0 is x and h_1 is x0Hat at the start of the pair.
 */
function singlestepSteps(levels: readonly Level[], prediction: PredictionOptions): Step[] {
  const n = levels.length - 1;
  return levels.slice(0, -1).map((from, index): Step => {
    const to = levels[index + 1]!;
    const base = { index, t: from.t, tPrev: to.t, ...x0HatAt(from, prediction), sigma: 0 };
    if (index % 2 === 0 || index === n - 1) {
      const E = Math.expm1(from.lambda - to.lambda);
      return { ...base, next: weightedSum([to.s / from.s, X], [-to.a * E, X0_HAT]), history: [X, X0_HAT] };
    }
    const start = levels[index - 1]!;
    const h = to.lambda - start.lambda;
    const r0 = (from.lambda - start.lambda) / h;
    const E = Math.expm1(-h);
    const change = weightedSum([1 / r0, X0_HAT], [-1 / r0, history(1)]);
    return {
      ...base,
      next: weightedSum([to.s / start.s, history(0)], [-to.a * E, history(1)], [-0.5 * to.a * E, change]),
    };
  });
}

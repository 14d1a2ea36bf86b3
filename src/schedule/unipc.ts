/**
 * UniPC (Zhao et al. 2023): a predictor like DPM-Solver++, and a corrector that uses the same evaluation again.
 *
 * The network is evaluated at the predicted state of a level. This evaluation first corrects the state (UniC), then
 * advances it to the next level (UniP). Both have the following form. D_0 is the prediction at the level where the step
 * starts, D_k are those of earlier levels, r_k are the relative positions of these levels, rho is the solution of a small
 * linear system (eq. 9), and B(h) = e^-h - 1 (bh2) or -h (bh1):
 *
 *     x' = (s'/s) x - a' (e^-h - 1) D_0 - a' B(h) sum_k rho_k (D_k - D_0) / r_k
 *
 * History: h_0 is the corrected state of the previous level; h_1, h_2, h_3 are the predictions of the previous levels.
 */

import { levels, oncePerStep, type Sampler } from './context.ts';
import type { Level } from './levels.ts';
import { history, weightedSum, X, X0_HAT } from './linear_combination.ts';
import { x0HatAt, type PredictionOptions } from './prediction.ts';
import type { LinearCombination, Step } from './step.ts';

/** Paper and equation, for docs/samplers.md. */
export const SOURCE = 'Zhao et al. 2023';

export const unipc: Sampler = {
  title: 'UniPC',
  blurb: 'predicts, then corrects, for free',
  stochastic: false,
  evaluations: oncePerStep,
  takesTimesteps: false,
  options: ['order', 'bh'],
  diffusersClips: ['threshold'],
  diffusers: {
    className: 'UniPCMultistepScheduler',
    spacing: 'linspace',
    clip: false,
    fixed: { predict_x0: true, disable_corrector: [], solver_p: null, final_sigmas_type: 'zero' },
  },
  make: (context) => uniPCSteps(levels(context, { integerTimesteps: true }), context),
};

interface UniPCOptions extends PredictionOptions {
  readonly order: 1 | 2 | 3;
  readonly bh: 'bh1' | 'bh2';
}

/** Returns the weights rho for relative positions r (eq. 9 with B(h)). */
function weights(r: readonly number[], h: number, bh: 'bh1' | 'bh2'): number[] {
  const hh = -h;
  const phi1 = Math.expm1(hh);
  const B = bh === 'bh1' ? hh : phi1;
  const b: number[] = [];
  let [phi, factorial] = [phi1 / hh - 1, 1];
  for (let i = 1; i <= r.length; i++) {
    b.push((phi * factorial) / B);
    factorial *= i + 1;
    phi = phi / hh - 1 / factorial;
  }
  return solve(
    r.map((_, i) => r.map((rk) => rk ** i)),
    b,
  );
}

/** Solves a linear system of at most 3 x 3 by Gaussian elimination with pivoting. */
function solve(A: number[][], b: number[]): number[] {
  const n = b.length;
  const rows = A.map((row, i) => [...row, b[i]!]);
  for (let k = 0; k < n; k++) {
    const pivot = rows
      .slice(k)
      .reduce((best, row, i) => (Math.abs(row[k]!) > Math.abs(rows[best]![k]!) ? k + i : best), k);
    [rows[k], rows[pivot]] = [rows[pivot]!, rows[k]!];
    for (let i = 0; i < n; i++) {
      if (i === k) continue;
      const factor = rows[i]![k]! / rows[k]![k]!;
      rows[i] = rows[i]!.map((value, j) => value - factor * rows[k]![j]!);
    }
  }
  return rows.map((row, k) => row[n]! / row[k]!);
}

function uniPCSteps(levels: readonly Level[], options: UniPCOptions): Step[] {
  const n = levels.length - 1;
  const { bh } = options;
  const orders = levels.slice(0, -1).map((_, i) => Math.min(options.order, n - i, i + 1));

  /**
   * Advances x from level i to level i + 1. `past[k]` is the prediction at level i - k. `arrived` is the prediction at
   * level i + 1, for the corrector; null for the predictor.
   */
  const advance = (
    i: number,
    x: LinearCombination,
    past: readonly LinearCombination[],
    order: number,
    arrived: LinearCombination | null,
  ): LinearCombination => {
    const [from, to] = [levels[i]!, levels[i + 1]!];
    const h = to.lambda - from.lambda;
    const phi1 = Math.expm1(-h);
    const B = bh === 'bh1' ? -h : phi1;
    const r = Array.from({ length: order - 1 }, (_, k) => (levels[i - k - 1]!.lambda - from.lambda) / h);
    const terms: [number, LinearCombination][] = [
      [to.s / from.s, x],
      [-to.a * phi1, past[0]!],
    ];
    let rho: number[];
    if (arrived) rho = order === 1 ? [0.5] : weights([...r, 1], h, bh);
    else rho = order === 2 ? [0.5] : weights(r, h, bh);
    r.forEach((rk, k) =>
      terms.push([(-to.a * B * rho[k]!) / rk, weightedSum([1, past[k + 1]!], [-1, past[0]!])]),
    );
    if (arrived) terms.push([-to.a * B * rho[order - 1]!, weightedSum([1, arrived], [-1, past[0]!])]);
    return weightedSum(...terms);
  };

  return levels.slice(0, -1).map((from, index): Step => {
    const before = [history(1), history(2), history(3)];
    const corrected = index === 0 ? X : advance(index - 1, history(0), before, orders[index - 1]!, X0_HAT);
    return {
      index,
      t: from.t,
      tPrev: levels[index + 1]!.t,
      ...x0HatAt(from, options),
      next: advance(index, corrected, [X0_HAT, ...before], orders[index]!, null),
      history: [corrected, X0_HAT, history(1), history(2)].slice(0, options.order + 1),
      sigma: 0,
    };
  });
}

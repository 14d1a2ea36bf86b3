/** Arithmetic of linear combinations, for samplers. */

import type { LinearCombination } from './step.ts';

/** Returns the sum of multiples: `weightedSum([2, p], [-1, q])` is 2 p - q. */
export function weightedSum(
  ...terms: readonly (readonly [weight: number, LinearCombination])[]
): LinearCombination {
  const length = Math.max(0, ...terms.map(([, term]) => term.history?.length ?? 0));
  const total = (pick: (term: LinearCombination) => number | undefined): number =>
    terms.reduce((sum, [weight, term]) => sum + (weight === 0 ? 0 : weight * (pick(term) ?? 0)), 0);
  return {
    x: total((term) => term.x),
    x0Hat: total((term) => term.x0Hat),
    modelOutput: total((term) => term.modelOutput),
    history: Array.from({ length }, (_, k) => total((term) => term.history?.[k])),
  };
}

/** The state. */
export const X: LinearCombination = { x: 1 };
/** The predicted clean image. */
export const X0_HAT: LinearCombination = { x0Hat: 1 };
/** History entry h_k. */
export const history = (k: number): LinearCombination => ({
  history: Array.from({ length: k + 1 }, (_, i) => Number(i === k)),
});

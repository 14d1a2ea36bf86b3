/** The contract of src/schedule/step.ts on plain numbers: a CPU run of a sampler without a GPU. */

import type { LinearCombination, Step } from '../../src/schedule/step.ts';
import { clipped } from '../reference/update.ts';

export interface State {
  readonly x: number[];
  readonly h: number[][];
}

/** One step; m and z by element. The network's output may depend on the state and the step. */
export function applyStep(
  step: Step,
  { x, h }: State,
  network: (x: number, j: number) => number,
  z: (j: number) => number,
): State & { x0Hat: number[] } {
  const m = x.map(network);
  const x0Hat = clipped(
    x.map((value, j) => step.x0Hat.x * value + step.x0Hat.modelOutput * m[j]!),
    step.clip,
  );
  const mix = (part: LinearCombination, j: number): number =>
    [[part.x, x[j]!], [part.x0Hat, x0Hat[j]!], [part.modelOutput, m[j]!], ...(part.history ?? []).map((f, k) => [f, h[k]?.[j] ?? 0])]
      .reduce((sum, [factor, number]) => sum + (factor ? factor * number! : 0), 0); // prettier-ignore
  const slots = Math.max(h.length, step.history?.length ?? 0);
  return {
    x0Hat,
    x: x.map((_, j) => mix(step.next, j) + (step.sigma > 0 ? step.sigma * z(j) : 0)),
    h: Array.from({ length: slots }, (_, k) => {
      const part = step.history?.[k];
      return part ? x.map((_, j) => mix(part, j)) : (h[k] ?? x.map(() => 0));
    }),
  };
}

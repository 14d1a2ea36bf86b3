/** What the solvers share. */

import type { Level } from './levels.ts';
import { x0HatOf, type PredictionType } from './prediction.ts';
import type { Clip, Mix, Step } from './step.ts';

export interface SolverOptions {
  readonly predictionType: PredictionType;
  readonly clip: Clip;
}

/** The fields of a step that say how x0Hat comes from the network at a level. */
export function x0HatAt(level: Level, { predictionType, clip }: SolverOptions): Pick<Step, 'x0Hat' | 'clip'> {
  return { x0Hat: x0HatOf(predictionType, level.a ** 2), clip };
}

/** The sum of multiples of mixes: `combine([2, p], [-1, q])` is 2 p - q. */
export function combine(...parts: readonly (readonly [number, Mix])[]): Mix {
  const length = Math.max(0, ...parts.map(([, mix]) => mix.h?.length ?? 0));
  const total = (pick: (mix: Mix) => number | undefined): number =>
    parts.reduce((sum, [factor, mix]) => sum + (factor === 0 ? 0 : factor * (pick(mix) ?? 0)), 0);
  return {
    x: total((mix) => mix.x),
    x0Hat: total((mix) => mix.x0Hat),
    m: total((mix) => mix.m),
    h: Array.from({ length }, (_, k) => total((mix) => mix.h?.[k])),
  };
}

export const X: Mix = { x: 1 };
export const X0_HAT: Mix = { x0Hat: 1 };
/** h_k itself. */
export const slot = (k: number): Mix => ({ h: Array.from({ length: k + 1 }, (_, i) => Number(i === k)) });

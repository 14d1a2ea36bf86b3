/**
 * DDIM run backwards (Song et al. 2021, section 4.3; Dhariwal & Nichol 2021, appendix F): from a picture to the noise
 * that DDIM with eta = 0 takes to it.
 *
 *     x_next = sqrt(alphaBarNext) x0Hat + sqrt(1 - alphaBarNext) epsHat
 *
 * The state stands at the entry of the list before (at first the clean image); the network is told the entry that the
 * step goes to, as the step of DDIM that it undoes was. Nothing is clipped: a clipped x0Hat cannot be undone.
 */

import { epsHatOf, x0HatOf, type PredictionType } from './prediction.ts';
import type { Schedule } from './schedule.ts';
import type { Step } from './step.ts';

export interface DdimInverseOptions {
  readonly predictionType: PredictionType;
  readonly finalAlphaOne: boolean;
}

/** @param timesteps falling, as for DDIM */
export function ddimInverseSteps(
  { alphaBar: table }: Schedule,
  timesteps: readonly number[],
  { predictionType, finalAlphaOne }: DdimInverseOptions,
): Step[] {
  return timesteps.toReversed().map((t, index, rising): Step => {
    // x_0 says nothing about epsilon where there is none: a network that predicts it starts at the first level.
    const clean = finalAlphaOne && predictionType !== 'sample' ? 1 : table[0]!;
    const from = index === 0 ? clean : table[rising[index - 1]!]!;
    const to = table[t]!;
    const eps = epsHatOf(predictionType, from);
    const direction = Math.sqrt(1 - to);
    return {
      index,
      t,
      tPrev: t,
      x0Hat: x0HatOf(predictionType, from),
      clip: null,
      next: { x: direction * eps.x, x0Hat: Math.sqrt(to), m: direction * eps.m },
      sigma: 0,
    };
  });
}

/**
 * DDIM run backwards (Song et al. 2021, section 4.3; Dhariwal & Nichol 2021, appendix F): from a picture to the noise
 * that DDIM with eta = 0 turns into it.
 *
 *     x_next = sqrt(alphaBarNext) x0Hat + sqrt(1 - alphaBarNext) epsHat
 *
 * Each step starts at the level of the list's previous entry, the first at the clean image. The network is given the
 * timestep at which the step ends, as in the DDIM step that it reverses. Nothing is clipped: a clipped x0Hat cannot be
 * reversed.
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
    // The clean image does not determine epsilon, so a network that predicts x_0 starts at the first noise level.
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
      next: { x: direction * eps.x, x0Hat: Math.sqrt(to), modelOutput: direction * eps.modelOutput },
      sigma: 0,
    };
  });
}

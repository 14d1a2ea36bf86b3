/**
 * Meaning of the model output m, for all samplers. With a = sqrt(alphaBar_t), s = sqrt(1 - alphaBar_t), x_t = a x0 + s eps:
 *
 *     epsilon       m = eps             x0Hat = (x_t - s m) / a        epsHat = m                    DDPM eq. 12
 *     sample        m = x0              x0Hat = m                      epsHat = (x_t - a m) / s
 *     v_prediction  m = a eps - s x0    x0Hat = a x_t - s m            epsHat = s x_t + a m          Salimans & Ho 2022
 */

import type { Level } from './levels.ts';
import type { Clip, Prediction, Step } from './step.ts';

export type PredictionType = 'epsilon' | 'sample' | 'v_prediction';
export const PREDICTION_TYPES: readonly PredictionType[] = ['epsilon', 'sample', 'v_prediction'];

/** Options of every sampler that steps with x0Hat. */
export interface PredictionOptions {
  readonly predictionType: PredictionType;
  readonly clip: Clip;
}

export function x0HatOf(type: PredictionType, alphaBar: number): Prediction {
  const [a, s] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
  switch (type) {
    case 'epsilon':
      return { x: 1 / a, modelOutput: -s / a };
    case 'sample':
      return { x: 0, modelOutput: 1 };
    case 'v_prediction':
      return { x: a, modelOutput: -s };
  }
}

export function epsHatOf(type: PredictionType, alphaBar: number): Prediction {
  const [a, s] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
  switch (type) {
    case 'epsilon':
      return { x: 0, modelOutput: 1 };
    case 'sample':
      return { x: 1 / s, modelOutput: -a / s };
    case 'v_prediction':
      return { x: s, modelOutput: a };
  }
}

/** Returns the fields of a step that derive x0Hat from the model output at a noise level. */
export function x0HatAt(
  level: Level,
  { predictionType, clip }: PredictionOptions,
): Pick<Step, 'x0Hat' | 'clip'> {
  return { x0Hat: x0HatOf(predictionType, level.a ** 2), clip };
}

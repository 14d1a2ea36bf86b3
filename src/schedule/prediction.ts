/**
 * What the network's output m means, once and for all samplers. With a = sqrt(alphaBar_t), s = sqrt(1 - alphaBar_t),
 * x_t = a x0 + s eps:
 *
 *     epsilon       m = eps             x0Hat = (x_t - s m) / a        epsHat = m                    DDPM eq. 12
 *     sample        m = x0              x0Hat = m                      epsHat = (x_t - a m) / s
 *     v_prediction  m = a eps - s x0    x0Hat = a x_t - s m            epsHat = s x_t + a m          Salimans & Ho 2022
 */

export type PredictionType = 'epsilon' | 'sample' | 'v_prediction';
export const PREDICTION_TYPES: readonly PredictionType[] = ['epsilon', 'sample', 'v_prediction'];

/** x * x_t + m * output */
export interface Linear {
  readonly x: number;
  readonly m: number;
}

export function x0HatOf(type: PredictionType, alphaBar: number): Linear {
  const [a, s] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
  switch (type) {
    case 'epsilon':
      return { x: 1 / a, m: -s / a };
    case 'sample':
      return { x: 0, m: 1 };
    case 'v_prediction':
      return { x: a, m: -s };
  }
}

export function epsHatOf(type: PredictionType, alphaBar: number): Linear {
  const [a, s] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
  switch (type) {
    case 'epsilon':
      return { x: 0, m: 1 };
    case 'sample':
      return { x: 1 / s, m: -a / s };
    case 'v_prediction':
      return { x: s, m: a };
  }
}

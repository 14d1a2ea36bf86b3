/** Noise level of each timestep of a model. */

import { DiffusionError } from '../core/errors.ts';
import { CLEAN, levelAt } from './levels.ts';
import { scheduleOf, type ScheduleConfig } from './schedule.ts';

/** Coefficients of the forward process, x_t = a x_0 + s eps (DDPM eq. 4). */
export interface NoiseLevel {
  readonly a: number;
  readonly s: number;
}

/**
 * Returns the function from a timestep to its noise level. The table behind it is computed once per config object.
 * The function takes t = 0 ... T - 1, interpolates sigma linearly at a fraction, and returns a = 1, s = 0 for t = -1.
 * @throws bad-option, from the function, for any other t
 */
export function noiseLevels(config: ScheduleConfig): (t: number) => NoiseLevel {
  const { sigma } = scheduleOf(config);
  return (t) => {
    if (t === -1) return CLEAN;
    if (!(t >= 0 && t <= config.T - 1))
      throw new DiffusionError(
        'bad-option',
        `There is no timestep ${t}.`,
        `Choose one from 0 to ${config.T - 1}.`,
      );
    return levelAt(sigma, t);
  };
}

/**
 * PNDM (Liu et al. 2022): three steps of a pseudo Runge-Kutta method, four evaluations each, then a linear multistep
 * method (Adams-Bashforth) of order 4 on epsHat. Every move from t to tPrev is the transfer of eq. 11:
 *
 *     phi(x, eps) = sqrt(abPrev / ab) x - (abPrev - ab) eps / (ab sqrt(1 - abPrev) + sqrt(ab (1 - ab) abPrev))
 *
 * x0Hat is shown, and takes no part: nothing is clipped.
 *
 * Slots: 0, 1, 2 the last epsHat; 3 the state at the start of a Runge-Kutta step; 4 its weighted sum of epsHat.
 *
 * Deviation from diffusers 0.42: where the middle of a step is not whole, its first stage arrives at the upper of the two
 * neighbours and evaluates the network at the lower one; here both are the lower. With v prediction it averages v of
 * different levels and takes the mean for one of t; here every v becomes epsHat where it was made. `compat` follows it.
 */

import { DiffusionError } from '../errors.ts';
import { epsHatOf, x0HatOf, type PredictionType } from './prediction.ts';
import type { Schedule } from './schedule.ts';
import { combine, slot, X } from './solver.ts';
import type { Mix, Step } from './step.ts';

export interface PndmOptions {
  readonly predictionType: PredictionType;
  /** set_alpha_to_one: alphaBar past the last timestep is 1, else alphaBar[0]. */
  readonly finalAlphaOne: boolean;
  readonly compat?: boolean;
}

/** @throws bad-option for fewer than four timesteps, and where the first steps are too long for f32 */
export function pndmSteps(
  { alphaBar: table }: Schedule,
  timesteps: readonly number[],
  options: PndmOptions,
): Step[] {
  const { predictionType, finalAlphaOne, compat = false } = options;
  if (timesteps.length < 4)
    throw new DiffusionError(
      'bad-option',
      `pndm cannot do ${timesteps.length} steps: it begins with three of Runge and Kutta.`,
      'Choose 4 steps or more, or another sampler.',
    );
  const at = (t: number): number => (t >= 0 ? table[t]! : finalAlphaOne ? 1 : table[0]!);
  // Each of the four stages multiplies rounding errors by a' / a: 1e5 in the first step of a whole cosine schedule.
  const growth = Math.sqrt(Math.max(...[0, 1, 2].map((k) => at(timesteps[k + 1]!) / at(timesteps[k]!))));
  if (!(growth <= 50) && !compat)
    throw new DiffusionError(
      'bad-option',
      `pndm cannot begin at timestep ${timesteps[0]} with steps this long: it would drown in rounding errors.`,
      'Choose leading spacing, more steps, or another sampler.',
    );
  const phi = (from: number, to: number, x: Mix, eps: Mix): Mix => {
    const [ab, abPrev] = [at(from), at(to)];
    const scale = (abPrev - ab) / (ab * Math.sqrt(1 - abPrev) + Math.sqrt(ab * (1 - ab) * abPrev));
    const late = epsHatOf(predictionType, ab);
    const epsHat = compat ? combine([late.x, x], [late.m, eps]) : eps;
    return combine([Math.sqrt(abPrev / ab), x], [-scale, epsHat]);
  };
  const steps: Step[] = [];
  const take = (
    t: number,
    tPrev: number,
    next: (eps: Mix) => Mix,
    save: (eps: Mix) => (Mix | undefined)[],
  ) => {
    const eps = epsHatOf(predictionType, at(t));
    const mix: Mix = compat ? { m: 1 } : { x: eps.x, m: eps.m };
    const x0Hat = x0HatOf(predictionType, at(t));
    steps.push({
      index: steps.length,
      t,
      tPrev,
      x0Hat,
      clip: null,
      next: next(mix),
      save: save(mix),
      sigma: 0,
    });
  };

  for (let k = 0; k < 3; k++) {
    const [t, to] = [timesteps[k]!, timesteps[k + 1]!];
    const half = Math.floor((t - to) / 2);
    const middle = to + half;
    const first = compat ? t - half : middle;
    const sum = (weight: number, e: Mix): Mix[] => {
      const kept: Mix[] = [];
      kept[4] = combine([1, slot(4)], [weight, e]); // slots 0 to 3 stay
      return kept;
    };
    // Stage by stage: the new epsHat joins the sum with its weight; the state starts again from slot 3.
    take(t, first, (e) => phi(t, first, X, e), (e) => [e, slot(0), slot(1), X, combine([1 / 6, e])]); // prettier-ignore
    take(
      middle,
      middle,
      (e) => phi(t, middle, slot(3), e),
      (e) => sum(1 / 3, e),
    );
    take(
      middle,
      to,
      (e) => phi(t, to, slot(3), e),
      (e) => sum(1 / 3, e),
    );
    take(to, to, (e) => phi(t, to, slot(3), combine([1, slot(4)], [1 / 6, e])), () => []); // prettier-ignore
  }
  for (let k = 3; k < timesteps.length; k++) {
    const t = timesteps[k]!;
    const to = timesteps[k + 1] ?? -1;
    const mean = (e: Mix): Mix =>
      combine([55 / 24, e], [-59 / 24, slot(0)], [37 / 24, slot(1)], [-9 / 24, slot(2)]);
    take(t, to, (e) => phi(t, to, X, mean(e)), (e) => [e, slot(0), slot(1)]); // prettier-ignore
  }
  return steps;
}

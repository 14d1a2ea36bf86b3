/**
 * PNDM (Liu et al. 2022): three steps of a pseudo Runge-Kutta method with four evaluations each, then a linear multistep
 * method (Adams-Bashforth) of order 4 on epsHat. Every move from t to tPrev is the transfer of eq. 11:
 *
 *     phi(x, eps) = sqrt(abPrev / ab) x - (abPrev - ab) eps / (ab sqrt(1 - abPrev) + sqrt(ab (1 - ab) abPrev))
 *
 * x0Hat is for display only, so nothing is clipped.
 *
 * History: h_0, h_1, h_2 are the last epsHat; h_3 is the state at the start of a Runge-Kutta step; h_4 its weighted sum of
 * epsHat.
 *
 * Deviations from diffusers 0.42, which `compat` follows. If the middle of a step is not an integer, its first stage
 * arrives at the upper neighbour and evaluates the network at the lower one; here both are the lower. With v prediction
 * it averages v of different levels and uses the mean as the v of one t; here every v is converted to epsHat at its own
 * level.
 */

import { DiffusionError } from '../core/errors.ts';
import { timesteps, type Sampler } from './context.ts';
import { history, weightedSum, X } from './linear_combination.ts';
import { epsHatOf, x0HatOf, type PredictionType } from './prediction.ts';
import type { Schedule } from './schedule.ts';
import type { LinearCombination, Step } from './step.ts';

/** Paper and equation, for docs/samplers.md. */
export const SOURCE = 'Liu et al. 2022, eq. 11';

export const pndm: Sampler = {
  title: 'PNDM',
  blurb: 'Runge–Kutta, then multistep',
  stochastic: false,
  evaluations: (n) => n + 9,
  minSteps: 4,
  takesTimesteps: true,
  options: [],
  diffusersClips: [],
  diffusers: { className: 'PNDMScheduler', spacing: 'leading', clip: false },
  make: (context) => {
    const finalAlphaOne = context.finalAlphaOne ?? false;
    return pndmSteps(context.schedule, timesteps(context), { ...context, finalAlphaOne });
  },
};

interface PndmOptions {
  readonly predictionType: PredictionType;
  /** set_alpha_to_one: alphaBar after the last timestep is 1, else alphaBar[0]. */
  readonly finalAlphaOne: boolean;
  readonly compat: boolean;
}

/** @throws bad-option for fewer than four timesteps, and if the first steps are too long for float32 */
function pndmSteps({ alphaBar }: Schedule, timesteps: readonly number[], options: PndmOptions): Step[] {
  const { predictionType, finalAlphaOne, compat } = options;
  const at = (t: number): number => (t >= 0 ? alphaBar[t]! : finalAlphaOne ? 1 : alphaBar[0]!);
  checkTimesteps(timesteps, at, compat);
  const phi = (from: number, to: number, x: LinearCombination, eps: LinearCombination): LinearCombination => {
    const [ab, abPrev] = [at(from), at(to)];
    const scale = (abPrev - ab) / (ab * Math.sqrt(1 - abPrev) + Math.sqrt(ab * (1 - ab) * abPrev));
    const converted = epsHatOf(predictionType, ab);
    const epsHat = compat ? weightedSum([converted.x, x], [converted.modelOutput, eps]) : eps;
    return weightedSum([Math.sqrt(abPrev / ab), x], [-scale, epsHat]);
  };
  const steps: Step[] = [];
  /** Adds one evaluation; `next` and `remembered` are functions of epsHat, with compat of the raw model output. */
  const evaluate = (
    t: number,
    tPrev: number,
    next: (eps: LinearCombination) => LinearCombination,
    remembered: (eps: LinearCombination) => (LinearCombination | undefined)[],
  ) => {
    const eps: LinearCombination = compat ? { modelOutput: 1 } : epsHatOf(predictionType, at(t));
    steps.push({
      index: steps.length,
      t,
      tPrev,
      x0Hat: x0HatOf(predictionType, at(t)),
      clip: null,
      next: next(eps),
      history: remembered(eps),
      sigma: 0,
    });
  };

  const [h0, h1, h2] = [history(0), history(1), history(2)];
  const [start, sum] = [history(3), history(4)];
  for (let k = 0; k < 3; k++) {
    const [t, to] = [timesteps[k]!, timesteps[k + 1]!];
    const half = Math.floor((t - to) / 2);
    const middle = to + half;
    const first = compat ? t - half : middle;
    const addToSum = (weight: number) => (e: LinearCombination) => {
      const kept: LinearCombination[] = [];
      kept[4] = weightedSum([1, sum], [weight, e]); // h_0 to h_3 keep their values
      return kept;
    };
    // Each stage adds its epsHat to the sum; the state restarts from h_3.
    evaluate(
      t,
      first,
      (e) => phi(t, first, X, e),
      (e) => [e, h0, h1, X, weightedSum([1 / 6, e])],
    );
    evaluate(middle, middle, (e) => phi(t, middle, start, e), addToSum(1 / 3));
    evaluate(middle, to, (e) => phi(t, to, start, e), addToSum(1 / 3));
    evaluate(
      to,
      to,
      (e) => phi(t, to, start, weightedSum([1, sum], [1 / 6, e])),
      () => [],
    );
  }
  for (let k = 3; k < timesteps.length; k++) {
    const [t, to] = [timesteps[k]!, timesteps[k + 1] ?? -1];
    const mean = (e: LinearCombination): LinearCombination =>
      weightedSum([55 / 24, e], [-59 / 24, h0], [37 / 24, h1], [-9 / 24, h2]);
    evaluate(
      t,
      to,
      (e) => phi(t, to, X, mean(e)),
      (e) => [e, h0, h1],
    );
  }
  return steps;
}

function checkTimesteps(timesteps: readonly number[], at: (t: number) => number, compat: boolean): void {
  if (timesteps.length < 4)
    throw new DiffusionError(
      'bad-option',
      `pndm cannot take ${timesteps.length} steps: it starts with three Runge-Kutta steps.`,
      'Choose 4 steps or more, or another sampler.',
    );
  // Each of the four stages multiplies rounding errors by a' / a: 1e5 in the first step of a whole cosine schedule.
  const growth = Math.sqrt(Math.max(...[0, 1, 2].map((k) => at(timesteps[k + 1]!) / at(timesteps[k]!))));
  if (!(growth <= 50) && !compat)
    throw new DiffusionError(
      'bad-option',
      `pndm cannot start at timestep ${timesteps[0]} with steps this long: rounding errors would dominate.`,
      'Choose leading spacing, more steps, or another sampler.',
    );
}

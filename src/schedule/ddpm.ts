/**
 * Ancestral sampling: DDPM (Ho et al. 2020, algorithm 2) on any falling list of timesteps.
 *
 *     alphaBar, alphaBarPrev   at t and at the next entry of the list (1 after the end)
 *     alpha = alphaBar / alphaBarPrev,  beta = 1 - alpha       of the possibly longer step (never the table's beta_t)
 *     mu    = sqrt(alphaBarPrev) beta / (1 - alphaBar) x0Hat + sqrt(alpha) (1 - alphaBarPrev) / (1 - alphaBar) x_t    eq. 7
 *     sigma^2 = (1 - alphaBarPrev) / (1 - alphaBar) beta  (fixed_small, eq. 7)    or  beta  (fixed_large)
 *             log sigma^2 = (v + 1) / 2 log(fixed_large) + (1 - v) / 2 log(fixed_small)    (learned_range; Nichol & Dhariwal
 *             2021, eq. 15; v the second half of the network's output)    or  v itself  (learned, as guided-diffusion)
 *     x_{t-1} = mu + sigma z,  z = 0 in the last step
 *
 * Deviation from diffusers 0.42, which adds noise while t > 0: lists that end above 0 (trailing, offset) then leave
 * noise on the final image (fixed_large, trailing, 10 steps: sigma = 0.32). Here the last step adds none; `compat`
 * follows diffusers. The _log variances are the same numbers (fixed_large_log of diffusers is NaN: huggingface/diffusers
 * issue 14569).
 */

import { oncePerStep, timesteps, type Sampler, type VarianceType } from './context.ts';
import { x0HatOf, type PredictionOptions } from './prediction.ts';
import type { Schedule } from './schedule.ts';
import type { Step } from './step.ts';

/** Paper and equation, for docs/samplers.md. */
export const SOURCE = 'Ho et al. 2020, algorithm 2; Nichol & Dhariwal 2021, eq. 15';

export const ddpm: Sampler = {
  title: 'DDPM',
  blurb: 'new noise in every step',
  stochastic: true,
  evaluations: oncePerStep,
  takesTimesteps: true,
  options: ['variance', 'jumpLength', 'jumpSamples'],
  diffusersClips: ['range', 'threshold'],
  diffusers: { className: 'DDPMScheduler', spacing: 'leading', clip: true },
  make: (context) => ddpmSteps(context.schedule, timesteps(context), context),
};

interface DdpmOptions extends PredictionOptions {
  readonly variance: VarianceType;
  readonly compat: boolean;
  /** True: the run ends at timestep 0 instead of the clean image. */
  readonly endsAtZero: boolean;
}

function ddpmSteps(
  { alphaBar: table }: Schedule,
  timesteps: readonly number[],
  { predictionType, clip, variance, compat, endsAtZero }: DdpmOptions,
): Step[] {
  return timesteps.map((t, index) => {
    const last = index === timesteps.length - 1;
    const tPrev = last ? (endsAtZero ? 0 : -1) : timesteps[index + 1]!;
    const alphaBar = table[t]!;
    const alphaBarPrev = tPrev < 0 ? 1 : table[tPrev]!;
    const alpha = alphaBar / alphaBarPrev;
    const beta = 1 - alpha;
    const small = Math.max(((1 - alphaBarPrev) / (1 - alphaBar)) * beta, 1e-20);
    const noisy = compat ? t > 0 : !last;
    return {
      index,
      t,
      tPrev,
      x0Hat: x0HatOf(predictionType, alphaBar),
      clip,
      next: {
        x: (Math.sqrt(alpha) * (1 - alphaBarPrev)) / (1 - alphaBar),
        x0Hat: (Math.sqrt(alphaBarPrev) * beta) / (1 - alphaBar),
      },
      ...(variance === 'learned_range' || variance === 'learned'
        ? {
            sigma: Number(noisy),
            logVariance: variance === 'learned' ? [-1, 1] : [Math.log(small), Math.log(beta)],
          }
        : { sigma: noisy ? Math.sqrt(variance.startsWith('fixed_small') ? small : beta) : 0 }),
    };
  });
}

/**
 * DDIM (Song et al. 2021), from deterministic (eta = 0) to ancestral (eta = 1).
 *
 *     alphaBar, alphaBarPrev   at t and at the next entry of the list
 *     sigma  = eta sqrt((1 - alphaBarPrev) / (1 - alphaBar)) sqrt(1 - alphaBar / alphaBarPrev)                eq. 16
 *     x_prev = sqrt(alphaBarPrev) x0Hat + sqrt(1 - alphaBarPrev - sigma^2) epsHat + sigma z                   eq. 12
 *
 * If x0Hat is clipped, epsHat is derived from it again, as in guided-diffusion: epsHat = (x_t - sqrt(alphaBar) x0Hat) /
 * sqrt(1 - alphaBar). A step with eta = 1 then equals a DDPM step even if clipped. `epsFromClipped` false keeps the
 * network's own epsHat.
 *
 * Deviation from diffusers 0.42, which keeps the network's own epsHat (`use_clipped_model_output` false): x0Hat and
 * epsHat then belong to different x_t, and with guidance the state drifts. With guidance 2 and 50 steps, a third of the
 * digits are the requested ones; with the derived epsHat all are (weights/digits/README.md). `compat` follows diffusers.
 *
 * Deviation from diffusers 0.42, which steps to t - floor(T / n) for any list: wrong for linspace, and for trailing if n
 * does not divide T. Here alphaBarPrev is that of the list's next entry; `compat` follows diffusers.
 */

import { allTimesteps, oncePerStep, timesteps, type Sampler } from './context.ts';
import { ddimInverseSteps } from './ddim_inverse.ts';
import { epsHatOf, x0HatOf, type PredictionOptions } from './prediction.ts';
import type { Schedule } from './schedule.ts';
import type { Step } from './step.ts';

/** Paper and equation, for docs/samplers.md. */
export const SOURCE = 'Song et al. 2021, eq. 12 and 16';

export const ddim: Sampler = {
  title: 'DDIM',
  blurb: 'the same noise, the same path',
  stochastic: false,
  evaluations: oncePerStep,
  takesTimesteps: true,
  options: ['eta', 'epsFromClipped', 'invert', 'jumpLength', 'jumpSamples'],
  diffusersClips: ['range', 'threshold'],
  diffusers: { className: 'DDIMScheduler', spacing: 'leading', clip: true },
  make: (context) => {
    const finalAlphaOne = context.finalAlphaOne ?? true;
    if (context.invert)
      return ddimInverseSteps(context.schedule, timesteps(context), { ...context, finalAlphaOne });
    const stride = Math.floor(context.schedule.T / allTimesteps(context).length);
    return ddimSteps(context.schedule, timesteps(context), { ...context, finalAlphaOne, stride });
  },
};

interface DdimOptions extends PredictionOptions {
  /** 0 to 1. */
  readonly eta: number;
  readonly finalAlphaOne: boolean;
  /** floor(T / n) of the whole run, which is the length of a step with `compat`. */
  readonly stride: number;
  readonly epsFromClipped: boolean;
  readonly compat: boolean;
}

function ddimSteps(
  { alphaBar: table }: Schedule,
  timesteps: readonly number[],
  { predictionType, clip, eta, finalAlphaOne, stride, epsFromClipped, compat }: DdimOptions,
): Step[] {
  return timesteps.map((t, index) => {
    const last = index === timesteps.length - 1;
    const tPrev = Math.max(compat ? t - stride : last ? -1 : timesteps[index + 1]!, -1);
    const alphaBar = table[t]!;
    const alphaBarPrev = tPrev >= 0 ? table[tPrev]! : finalAlphaOne ? 1 : table[0]!;
    const noisy = compat || !last;
    // The last step may be the identity (alphaBarPrev = alphaBar = alphaBar[0]); 1 - ratio must not fall below 0.
    const ratio = Math.min(alphaBar / alphaBarPrev, 1);
    const sigma = noisy ? eta * Math.sqrt(((1 - alphaBarPrev) / (1 - alphaBar)) * (1 - ratio)) : 0;
    const direction = Math.sqrt(Math.max(1 - alphaBarPrev - sigma ** 2, 0));
    const eps = epsHatOf(predictionType, alphaBar);
    const derived = direction / Math.sqrt(1 - alphaBar); // epsHat = (x_t - sqrt(alphaBar) x0Hat) / sqrt(1 - alphaBar)
    return {
      index,
      t,
      tPrev,
      x0Hat: x0HatOf(predictionType, alphaBar),
      clip,
      next:
        epsFromClipped && clip !== null
          ? { x: derived, x0Hat: Math.sqrt(alphaBarPrev) - derived * Math.sqrt(alphaBar) }
          : {
              x: direction * eps.x,
              x0Hat: Math.sqrt(alphaBarPrev),
              modelOutput: direction * eps.modelOutput,
            },
      sigma,
    };
  });
}

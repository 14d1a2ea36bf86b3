/**
 * DDIM (Song et al. 2021), from deterministic (eta = 0) to ancestral (eta = 1).
 *
 *     alphaBar, alphaBarPrev   at t and at the next entry of the list
 *     sigma  = eta sqrt((1 - alphaBarPrev) / (1 - alphaBar)) sqrt(1 - alphaBar / alphaBarPrev)                eq. 16
 *     x_prev = sqrt(alphaBarPrev) x0Hat + sqrt(1 - alphaBarPrev - sigma^2) epsHat + sigma z                   eq. 12
 *
 * Where x0Hat is clipped, epsHat is derived again from it, as in guided-diffusion: epsHat = (x_t - sqrt(alphaBar) x0Hat) /
 * sqrt(1 - alphaBar). Then a step with eta = 1 is DDPM's also there. With `epsFromClipped` false it stays the network's own.
 *
 * Deviation from diffusers 0.42, which keeps the network's own (`use_clipped_model_output` false): x0Hat and epsHat then do
 * not belong to the same x_t, and with guidance the state drifts off. Of digits drawn with guidance 2 in 50 steps a third
 * are the ones asked for; derived again, all (weights/digits/README.md). `compat` follows diffusers.
 *
 * Deviation from diffusers 0.42, which steps to t - floor(T / n) whatever the list says: wrong for linspace and
 * for trailing when n does not divide T. Here alphaBarPrev is the list's; `compat` follows diffusers.
 */

import { epsHatOf, x0HatOf, type PredictionType } from './prediction.ts';
import type { Schedule } from './schedule.ts';
import type { Clip, Step } from './step.ts';

export interface DdimOptions {
  readonly predictionType: PredictionType;
  readonly clip: Clip;
  /** 0 to 1. */
  readonly eta: number;
  readonly finalAlphaOne: boolean;
  /** Of the whole run: T / steps, where `compat` steps by it. */
  readonly stride: number;
  /** True unless `compat`. */
  readonly epsFromClipped?: boolean;
  readonly compat?: boolean;
}

export function ddimSteps(
  { alphaBar: table }: Schedule,
  timesteps: readonly number[],
  options: DdimOptions,
): Step[] {
  const {
    predictionType,
    clip,
    eta,
    finalAlphaOne,
    stride,
    compat = false,
    epsFromClipped = !compat,
  } = options;
  return timesteps.map((t, index) => {
    const last = index === timesteps.length - 1;
    const tPrev = Math.max(compat ? t - stride : last ? -1 : timesteps[index + 1]!, -1);
    const alphaBar = table[t]!;
    const alphaBarPrev = tPrev >= 0 ? table[tPrev]! : finalAlphaOne ? 1 : table[0]!;
    const noisy = compat || !last;
    // The last step may stand still (alphaBarPrev = alphaBar = alphaBar[0]); 1 - ratio must not fall below 0.
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
          ? { x: derived, x0Hat: Math.sqrt(alphaBarPrev) - derived * Math.sqrt(alphaBar), m: 0 }
          : { x: direction * eps.x, x0Hat: Math.sqrt(alphaBarPrev), m: direction * eps.m },
      sigma,
    };
  });
}

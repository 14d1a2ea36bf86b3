/**
 * Euler's method on the probability-flow ODE, plain and ancestral (Karras et al. 2022, eq. 4; k-diffusion).
 *
 * With y = x / a:  dy/dsigma = (y - x0Hat) / sigma.  One step from sigma to sigmaPrev is
 *
 *     y' = (sigmaPrev / sigma) y + (1 - sigmaPrev / sigma) x0Hat
 *
 * This equals DDIM with eta = 0. The ancestral step goes down to sigmaDown and adds new noise of sigmaUp:
 *
 *     sigmaUp^2 = sigmaPrev^2 (sigma^2 - sigmaPrev^2) / sigma^2,   sigmaDown^2 = sigmaPrev^2 - sigmaUp^2
 */

import { levels, oncePerStep, type Sampler } from './context.ts';
import type { Level } from './levels.ts';
import { x0HatAt, type PredictionOptions } from './prediction.ts';
import type { Step } from './step.ts';

/** Paper and equation, for docs/samplers.md. */
export const SOURCE = 'Karras et al. 2022, eq. 4; k-diffusion';

export const euler: Sampler = {
  title: 'Euler',
  blurb: 'the plain ODE step',
  stochastic: false,
  evaluations: oncePerStep,
  takesTimesteps: false,
  options: [],
  diffusersClips: [],
  diffusers: { className: 'EulerDiscreteScheduler', spacing: 'linspace', clip: false },
  make: (context) => eulerSteps(levels(context), context),
};

export const eulerAncestral: Sampler = {
  ...euler,
  title: 'Euler ancestral',
  blurb: 'Euler with new noise',
  stochastic: true,
  diffusers: { className: 'EulerAncestralDiscreteScheduler', spacing: 'linspace', clip: false },
  make: (context) => eulerSteps(levels(context), context, true),
};

function eulerSteps(levels: readonly Level[], options: PredictionOptions, ancestral = false): Step[] {
  return levels.slice(0, -1).map((from, index): Step => {
    const to = levels[index + 1]!;
    const up = ancestral
      ? Math.sqrt((to.sigma ** 2 * (from.sigma ** 2 - to.sigma ** 2)) / from.sigma ** 2)
      : 0;
    const down = Math.sqrt(to.sigma ** 2 - up ** 2);
    const ratio = down / from.sigma;
    return {
      index,
      t: from.t,
      tPrev: to.t,
      ...x0HatAt(from, options),
      next: { x: (to.a * ratio) / from.a, x0Hat: to.a * (1 - ratio) },
      sigma: to.a * up,
    };
  });
}

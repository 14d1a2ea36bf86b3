/**
 * The views of the lecture: one a question, each mounted by its name, on lecture.html and by
 * `<diffusion-sampler view="NAME">`. A view's code is loaded when it is asked for.
 */

import type { View } from './view.ts';

export type { View };

/** In the order of the article. */
export const views: Readonly<Record<string, () => Promise<View>>> = {
  'one-jump': async () => (await import('./one_jump.ts')).view,
  schedules: async () => (await import('./schedules.ts')).view,
  'q-and-p': async () => (await import('./q_and_p.ts')).view,
  lenses: async () => (await import('./lenses.ts')).view,
  inside: async () => (await import('./step.ts')).view,
  noise: async () => (await import('./noise.ts')).view,
  variances: async () => (await import('./variances.ts')).view,
  solvers: async () => (await import('./solvers.ts')).view,
  guidance: async () => (await import('./guidance.ts')).view,
  mixture: async () => (await import('./mixture.ts')).view,
};

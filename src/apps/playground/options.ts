/** From the state of the page to the options of a run, and what to call them. */

import type { SampleOptions } from '../../session/sample_options.ts';
import { SAMPLERS as REGISTRY, SCHEDULERS, type SchedulerName } from '../../schedule/samplers.ts';
import type { Branch, State } from './fragment.ts';
import type { ModelInfo } from './models.ts';

/** Choices of a sampler: name, title, a few words. */
export const SAMPLERS: readonly (readonly [SchedulerName, string, string])[] = SCHEDULERS.map((name) => [
  name,
  REGISTRY[name].title,
  REGISTRY[name].blurb,
]);
export const nameOf = (sampler: string): string =>
  sampler === 'ddim-1' ? 'DDIM, η = 1' : (SAMPLERS.find(([key]) => key === sampler)?.[1] ?? sampler);

export const SPACING_NAMES: readonly (readonly [State['spacing'], string])[] = [
  ['', 'The model’s'],
  ['leading', 'Leading'],
  ['trailing', 'Trailing'],
  ['linspace', 'Even'],
  ['karras', 'Karras’ σ'],
  ['exponential', 'Exponential σ'],
  ['beta', 'Beta σ'],
];
/** Noise levels spaced by sigma are for the solvers. */
export const spacingFits = (sampler: SchedulerName, spacing: State['spacing']): boolean =>
  !['karras', 'exponential', 'beta'].includes(spacing) || !REGISTRY[sampler].takesTimesteps;

export function spacingOptions(spacing: State['spacing']): SampleOptions {
  if (spacing === 'karras' || spacing === 'exponential' || spacing === 'beta') return { sigmas: spacing };
  return spacing === '' ? {} : { spacing };
}

/** One class a picture; undefined for a model without classes. */
export function labelsOf({ label }: State, info: ModelInfo, count: number): (number | null)[] | undefined {
  const { classes, hasAny } = info;
  if (classes === 0) return undefined;
  return Array.from({ length: count }, (_, n) => {
    if (label === 'each') return n % classes;
    if (label === 'any') return hasAny ? null : n % classes;
    return label;
  });
}

export function optionsOf(state: State, info: ModelInfo, count = state.count): SampleOptions {
  const labels = labelsOf(state, info, count);
  return {
    ...(labels ? { labels } : { count }),
    ...(labels && info.hasAny && state.guidance !== 1 ? { guidance: state.guidance } : {}),
    seed: state.seed,
    steps: state.steps,
    scheduler: state.sampler,
    ...spacingOptions(state.spacing),
    ...(state.sampler === 'ddim' && state.eta > 0 ? { eta: state.eta } : {}),
  };
}

/** What a fork changes. */
export function changesOf(
  { seed, sampler, label }: Omit<Branch, 'from' | 'at'>,
  count: number,
): SampleOptions {
  return {
    seed,
    ...(sampler === ''
      ? {}
      : sampler === 'ddim-1'
        ? { scheduler: 'ddim', eta: 1 }
        : { scheduler: sampler, eta: 0 }),
    ...(label === null ? {} : { labels: Array<number>(count).fill(label) }),
  };
}

/** With what a fork from this sampler gets other noise: itself, where it adds noise at all. */
export function noisy(options: SampleOptions): Branch['sampler'] {
  const { scheduler = 'ddim', eta = 0 } = options;
  if (REGISTRY[scheduler].stochastic || eta > 0) return '';
  return scheduler === 'ddim' ? 'ddim-1' : 'ddpm';
}

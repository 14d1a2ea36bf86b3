/** The options of a run, from the attributes of the element. */

import { DiffusionError } from '../../core/errors.ts';
import type { SchedulerName } from '../../schedule/samplers.ts';
import type { SampleOptions } from '../../session/sample_options.ts';
import { labelsIn, type SamplerAttributes } from './attributes.ts';

/** More pictures than the sampler draws at a time; it has a message for them. */
const MOST = 4096;

/** @param names of the model's classes @throws bad-option, for a class that is not one of them */
export function optionsOf(element: SamplerAttributes, names: readonly string[]): SampleOptions {
  const { count, sampler, steps, seed, guidance, eta } = element;
  const classes = labelsIn(element.label).map((text) => classOf(text, names));
  const possible = Number.isInteger(count) && count > 0 && count <= MOST;
  return {
    ...(classes.length > 0 && possible
      ? { labels: Array.from({ length: count }, (_, n) => classes[n % classes.length]!) }
      : { count }),
    ...{ seed, steps, guidance },
    ...(sampler ? { scheduler: sampler as SchedulerName } : {}),
    ...(element.hasAttribute('eta') ? { eta } : {}),
  };
}

/** A class by its name or number. */
function classOf(text: string, names: readonly string[]): number {
  const named = names.findIndex((name) => name.toLowerCase() === text.toLowerCase());
  if (named >= 0) return named;
  if (/^\d+$/.test(text)) return Number(text);
  const some = `${names.slice(0, 12).join(', ')}${names.length > 12 ? ' ...' : ''}`;
  throw new DiffusionError(
    'bad-option',
    `There is no class ${text}.`,
    some ? `Choose one of ${some}.` : 'Leave the label out.',
  );
}

/** Old names of options, which recipes, links and scripts contain: each gives the steps of its current name. */

import { describe, expect, it } from 'vitest';
import { makeRecipe, readRecipe, recipeOptions } from '../../src/session/recipe.ts';
import { stepsOf, type SampleOptions } from '../../src/session/sample_options.ts';
import { parseSchedulerConfig } from '../../src/schedule/config.ts';
import { makeSteps, startForStrength } from '../../src/schedule/make_steps.ts';
import { withCurrentNames, type RunOptions } from '../../src/schedule/run_options.ts';
import { refusal } from '../helpers/refusal.ts';

const config = parseSchedulerConfig({}, 'test');
const base = { scheduler: 'ddpm', steps: 12 } as const;

const NAMES: readonly (readonly [old: string, given: RunOptions, current: RunOptions, other: RunOptions])[] =
  [
    ['top', { top: 700 }, { maxTimestep: 700 }, { maxTimestep: 600 }],
    ['begin', { begin: 4 }, { startStep: 4 }, { startStep: 5 }],
    ['jumps', { jumps: { length: 3, samples: 2 } }, { jumpLength: 3, jumpSamples: 2 }, { jumpSamples: 3 }],
  ];

describe.each(NAMES)('%s', (old, given, current, other) => {
  it('gives the same steps as its current name, which are not those without it', () => {
    const steps = makeSteps(config, { ...base, ...current });
    expect(makeSteps(config, { ...base, ...given })).toEqual(steps);
    expect(makeSteps(config, base)).not.toEqual(steps);
    expect(stepsOf(config, { ...base, ...given } as SampleOptions)).toEqual(steps);
    expect(startForStrength(config, { ...base, ...given }, 0.5)).toBe(6);
  });

  it('may stand beside its current name, but not with another value', () => {
    expect(withCurrentNames({ ...base, ...given, ...current })).toEqual({ ...base, ...current });
    const error = refusal(() => makeSteps(config, { ...base, ...given, ...other }));
    expect(error.code).toBe('bad-option');
    expect(error.message).toContain(old);
  });
});

describe('recipes', () => {
  const model = { source: 'digits', key: 'abc', dtype: 'f32' } as const;
  const shape = [1, 1, 2, 2] as const;
  const old = { ...base, top: 700, jumps: { length: 3, samples: 2 } };
  const current = { ...base, maxTimestep: 700, jumpLength: 3, jumpSamples: 2 };

  it('with old names are read, and their forks', () => {
    const json = {
      recipe: 1,
      model,
      dtype: 'f32',
      options: old,
      forks: [{ at: 2, options: { jumps: old.jumps } }],
    };
    const recipe = readRecipe(JSON.stringify(json));
    expect(recipe.options).toEqual(current);
    expect(recipe.forks).toEqual([{ at: 2, options: { jumpLength: 3, jumpSamples: 2 } }]);
    expect(recipeOptions(recipe)).toEqual(current);
  });

  it('are written with current names', () => {
    expect(makeRecipe(model, old, shape).options).toEqual(current);
    expect(refusal(() => makeRecipe(model, { ...base, begin: 3 }, shape)).code).toBe('bad-input');
  });

  it('with malformed jumps are refused', () => {
    for (const jumps of [3, {}, { length: 3 }, { length: -1, samples: 2 }])
      expect(() =>
        readRecipe(JSON.stringify({ recipe: 1, model, dtype: 'f32', options: { jumps } })),
      ).toThrow(/jumps/);
  });
});

it('malformed jumps of a program are refused, too', () => {
  for (const jumps of [{}, { length: 3 }, { samples: 3 }] as never[])
    expect(refusal(() => makeSteps(config, { ...base, jumps })).code).toBe('bad-option');
});

it('one of jumpLength and jumpSamples: the other is 10, as in the paper', () => {
  const run = { scheduler: 'ddim', steps: 30 } as const;
  const both = makeSteps(config, { ...run, jumpLength: 10, jumpSamples: 10 });
  expect(makeSteps(config, { ...run, jumpLength: 10 })).toEqual(both);
  expect(makeSteps(config, { ...run, jumpSamples: 10 })).toEqual(both);
});

it('the loop of the lecture takes jumps', () => {
  const steps = makeSteps(config, { scheduler: 'ddpm', compat: 'lecture', jumpLength: 400, jumpSamples: 2 });
  expect(steps.filter((s) => s.renoise)).toHaveLength(2);
  expect(steps).toHaveLength(999 + 2 * 401);
});

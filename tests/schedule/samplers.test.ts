/** Registry of the samplers: each entry is true, documented, offered and compared with a reference. */

import { readFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { main } from '../../src/apps/cli/main.ts';
import { parse } from '../../src/apps/playground/fragment.ts';
import { SAMPLERS as PAGE } from '../../src/apps/playground/options.ts';
import { parseSchedulerConfig } from '../../src/schedule/config.ts';
import type { Sampler, SamplerContext } from '../../src/schedule/context.ts';
import { makeSteps } from '../../src/schedule/make_steps.ts';
import { SAMPLERS, SCHEDULERS } from '../../src/schedule/samplers.ts';
import { SOLVERS } from '../../src/apps/article/solvers.ts';

const config = parseSchedulerConfig({}, 'test');
const entries = Object.entries(SAMPLERS) as [keyof typeof SAMPLERS, Sampler][];

describe.each(entries)('%s', (scheduler, sampler) => {
  const { minSteps = 1, stochastic, evaluations } = sampler;

  it('takes as many evaluations as the entry states', () => {
    for (const steps of [minSteps, 4, 7, 10, 50])
      expect(makeSteps(config, { scheduler, steps })).toHaveLength(evaluations(steps));
  });

  it('takes no fewer steps than minSteps', () => {
    if (minSteps > 1) expect(() => makeSteps(config, { scheduler, steps: minSteps - 1 })).toThrow(/steps/);
  });

  it('adds noise with its default options if and only if the entry is stochastic', () => {
    const steps = makeSteps(config, { scheduler, steps: 10 });
    expect(steps.some(({ sigma }) => sigma > 0)).toBe(stochastic);
  });

  it('takes the options of its entry, and no timesteps if it steps between noise levels', () => {
    const values = { eta: 0.5, epsFromClipped: true, invert: true, variance: 'fixed_large', order: 3, bh: 'bh1', churn: 5, jumpLength: 2, jumpSamples: 2 } as const; // prettier-ignore
    for (const option of Object.keys(values) as (keyof typeof values)[]) {
      const run = () => makeSteps(config, { scheduler, steps: 10, [option]: values[option] });
      if (sampler.options.includes(option)) expect(run().length).toBeGreaterThan(0);
      else expect(run).toThrow(`${option} is an option of`);
    }
    const [lists, spaced] = [{ timesteps: [900, 600, 300, 100] }, { steps: 10, sigmas: 'karras' }] as const;
    expect(makeSteps(config, { scheduler, ...(sampler.takesTimesteps ? lists : spaced) })).not.toEqual([]);
    expect(() => makeSteps(config, { scheduler, ...(sampler.takesTimesteps ? spaced : lists) })).toThrow(/is an option of/); // prettier-ignore
  });

  it('is the sampler of its diffusers class', () => {
    const { className, selectedBy } = sampler.diffusers ?? {};
    if (className)
      expect(parseSchedulerConfig({ _class_name: className, ...selectedBy }, 'test').scheduler).toBe(
        scheduler,
      );
  });

  it('is compared with diffusers if diffusers has it', () => {
    const golden = ['schedulers.json', 'solvers.json'].flatMap(
      (file) =>
        JSON.parse(readFileSync(new URL(`../fixtures/${file}`, import.meta.url), 'utf8')) as {
          scheduler: string;
        }[],
    );
    if (sampler.diffusers) expect(golden.map((run) => run.scheduler)).toContain(scheduler);
    // Samplers without a class are compared with exact answers, as all are: tests/schedule/analytic.test.ts.
  });
});

it('every sampler is on the page, in its links, in the lecture and in the help of the command line', async () => {
  expect(PAGE.map(([name]) => name)).toEqual(SCHEDULERS);
  expect(PAGE.every(([, title, blurb]) => title && blurb)).toBe(true);
  for (const name of SCHEDULERS) expect(parse(`#sampler=${name}`).sampler).toBe(name);
  expect(SOLVERS.map(({ name }) => name).sort()).toEqual([...SCHEDULERS].sort());
  const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  expect(await main(['help'])).toBe(0);
  const help = String(write.mock.calls[0]![0]);
  write.mockRestore();
  expect(/ NAME: (.*)/.exec(help)![1]!.split(' ')).toEqual(SCHEDULERS);
});

/** A linear function of n as text. */
function formula(evaluations: (n: number) => number): string {
  const slope = evaluations(21) - evaluations(20);
  const constant = evaluations(20) - 20 * slope;
  const sign = constant < 0 ? '−' : '+';
  return `${slope === 1 ? '' : `${slope} `}n${constant === 0 ? '' : ` ${sign} ${Math.abs(constant)}`}`;
}

it('docs/samplers.md is the registry (npx vitest run tests/schedule/samplers.test.ts -u writes it)', async () => {
  const modules = import.meta.glob<Record<string, unknown>>('../../src/schedule/*.ts', { eager: true });
  const rows = entries.map(([name, s]) => {
    const [path, module] = Object.entries(modules).find(([, m]) => Object.values(m).includes(s))!;
    const file = path.slice(path.lastIndexOf('/') + 1);
    expect(module['SOURCE'], `SOURCE of ${file}`).toMatch(/./);
    const options = [...s.options, ...(s.takesTimesteps ? ['timesteps', 'respacing'] : ['sigmas'])];
    return [
      `\`${name}\``,
      `[${s.title}](../src/schedule/${file})`,
      formula(s.evaluations),
      s.stochastic ? 'yes' : 'no',
      options.map((option) => `\`${option}\``).join(' '),
      s.diffusers?.className ?? 'none',
      module['SOURCE'],
    ];
  });
  const head = ['name', 'sampler', 'evaluations of n steps', 'adds noise', 'own options', 'diffusers class', 'source']; // prettier-ignore
  const table = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
  const text = `# Samplers

Made from the registry, src/schedule/samplers.ts, by tests/schedule/samplers.test.ts: do not edit.

An evaluation is one pass of the network; a guided run takes two passes at once. "Adds noise" is with default options:
\`ddim\` also adds noise with \`eta\`, \`edm\` with \`churn\`. Options that every sampler takes are not listed.

${table.join('\n')}
`;
  await expect(text).toMatchFileSnapshot('../../docs/samplers.md');
});

describe('a sampler that is not in the registry', () => {
  const { euler } = SAMPLERS;

  it('makes the steps of the run, with the run’s context', () => {
    const steps = makeSteps(config, { sampler: { ...euler, title: 'Mine' }, steps: 7, sigmas: 'karras' });
    expect(steps).toEqual(makeSteps(config, { scheduler: 'euler', steps: 7, sigmas: 'karras' }));
    const shifted = makeSteps(config, { sampler: euler, steps: 7, startStep: 3 });
    expect(shifted.map(({ index }) => index)).toEqual([3, 4, 5, 6]);
  });

  it.each<[string, object, RegExp]>([
    ['beside a scheduler', { sampler: euler, scheduler: 'ddim' }, /Leave scheduler/],
    ['without make', { sampler: { ...euler, make: undefined } }, /no title, options or make/],
    [
      'with an option that it does not list',
      { sampler: { ...euler, title: 'Mine' }, eta: 1 },
      /scheduler is Mine/,
    ],
    ['without steps', { sampler: { ...euler, make: () => [] } }, /makes no steps/],
    [
      'with a NaN',
      {
        sampler: { ...euler, make: (c: SamplerContext) => euler.make(c).map((s) => ({ ...s, sigma: NaN })) },
      },
      /not finite/,
    ],
    [
      'with too long a history',
      {
        sampler: {
          ...euler,
          make: (c: SamplerContext) => euler.make(c).map((s) => ({ ...s, history: Array(7).fill({ x: 1 }) })),
        },
      },
      /history of more than 6/,
    ],
  ])('is refused %s', (_, options, message) => {
    expect(() => makeSteps(config, options)).toThrow(message);
  });
});

/**
 * The samplers on data whose denoiser is known exactly: a Gaussian, where the probability-flow ODE has a closed form,
 * and a mixture of two. Orders of convergence, moments, and finite numbers for every legal number of steps.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseSchedulerConfig } from '../../src/schedule/config.ts';
import { makeSteps } from '../../src/schedule/make_steps.ts';
import type { RunOptions } from '../../src/schedule/run_options.ts';
import { SAMPLERS, SCHEDULERS, type SchedulerName } from '../../src/schedule/samplers.ts';
import { normals } from '../../src/schedule/noise.ts';
import type { Step } from '../../src/schedule/step.ts';
import { applyStep, type State } from '../helpers/steps.ts';

const config = parseSchedulerConfig({ clip_sample: false }, 'test');

/** sqrt(alphaBar) of the level at which a step evaluates the network (epsilon prediction: x0Hat = x / a - ...). */
const aOf = (step: Step): number => 1 / step.x0Hat.x;

/** The exact epsilon of x_0 ~ sum of weight N(mean, sd^2). */
function epsilon(step: Step, parts: readonly { weight: number; mean: number; sd: number }[]) {
  const a = aOf(step);
  const s = Math.sqrt(1 - a * a);
  return (x: number): number => {
    if (s === 0) return 0; // at the clean image there is no noise to see
    let [total, x0] = [0, 0];
    const logs = parts.map(({ weight, mean, sd }) => {
      const variance = (a * sd) ** 2 + s * s;
      return Math.log(weight) - 0.5 * Math.log(variance) - (x - a * mean) ** 2 / (2 * variance);
    });
    const top = Math.max(...logs);
    parts.forEach(({ mean, sd }, k) => {
      const variance = (a * sd) ** 2 + s * s;
      const p = Math.exp(logs[k]! - top);
      total += p;
      x0 += p * (mean + ((a * sd * sd) / variance) * (x - a * mean));
    });
    return (x - (a * x0) / total) / s;
  };
}

describe('order of convergence on the exact ODE of a Gaussian', () => {
  const sd = 0.3;
  const width = (a: number) => Math.sqrt((a * sd) ** 2 + 1 - a * a);

  /** Error, relative, at the last level before the clean image; levels spaced evenly in log sigma. */
  function error(scheduler: SchedulerName, steps: number): { error: number; evaluations: number } {
    const run: RunOptions = { scheduler, steps, spacing: 'linspace', sigmas: 'exponential' };
    const all = makeSteps(config, run);
    let state: State = { x: [1], h: [] };
    for (const step of all.slice(0, -1))
      state = applyStep(step, state, epsilon(step, [{ weight: 1, mean: 0, sd }]), () => 0);
    const wanted = width(aOf(all.at(-1)!)) / width(aOf(all[0]!));
    return { error: Math.abs(state.x[0]! / wanted - 1), evaluations: all.length };
  }

  it.each([
    ['euler', 1, 1],
    ['heun', 2, 2],
    ['dpmpp-2m', 2, 1],
    ['dpmpp-2s', 2, 1],
    ['dpmpp-3m', 2, 1], // its first step is of order 1, and leaves an error of h^2
    ['unipc', 2, 1],
    ['ode', 4, 4],
  ] as [SchedulerName, number, number][])('%s: %i', (scheduler, order, evaluations) => {
    const [coarse, fine] = [error(scheduler, 40), error(scheduler, 80)];
    const slope = Math.log2(coarse.error / fine.error);
    expect(slope, `error ${coarse.error} at 40 steps, ${fine.error} at 80`).toBeGreaterThan(order - 0.35);
    // n steps, of which the last takes one evaluation.
    expect(fine.evaluations).toBe(evaluations * 79 + 1);
  });

  it('error against evaluations, for docs/orders.svg (tests/plots/orders.py)', () => {
    const names = ['euler', 'heun', 'dpmpp-2m', 'dpmpp-2s', 'dpmpp-3m', 'unipc', 'ode'] as const;
    const curves = names.map((name) => ({
      name,
      points: [3, 5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160].map((n) => error(name, n)),
    }));
    // Heun: 2 n - 1 evaluations.
    expect(curves[1]!.points.map((p) => p.evaluations).slice(0, 3)).toEqual([5, 9, 13]);
    for (const { points } of curves) expect(points.at(-1)!.error).toBeLessThan(points[0]!.error / 30);
    const folder = new URL('../output/', import.meta.url);
    mkdirSync(folder, { recursive: true });
    writeFileSync(new URL('orders.json', folder), JSON.stringify(curves));
  });

  it('higher orders are nearer with the same number of evaluations', () => {
    const at = (name: SchedulerName, steps: number) => error(name, steps).error;
    expect(at('dpmpp-2m', 80)).toBeLessThan(at('euler', 80) / 3);
    expect(at('unipc', 80)).toBeLessThan(at('dpmpp-2m', 80));
    expect(at('heun', 40)).toBeLessThan(at('euler', 80) / 3);
    expect(at('ode', 20)).toBeLessThan(at('heun', 40));
  });
});

describe('a mixture of two: weights, means and widths come out', () => {
  const parts = [
    { weight: 0.3, mean: -0.8, sd: 0.1 },
    { weight: 0.7, mean: 0.5, sd: 0.2 },
  ];
  const N = 4000;

  const RUNS: readonly (readonly [SchedulerName, RunOptions])[] = [
    ['ddpm', { steps: 200 }],
    ['ddim', { steps: 100 }],
    ['ddim', { steps: 250, eta: 1 }],
    ['pndm', { steps: 50 }],
    ['euler', { steps: 100 }],
    ['euler-ancestral', { steps: 200 }],
    ['heun', { steps: 50 }],
    ['dpmpp-2m', { steps: 40, sigmas: 'karras' }],
    ['dpmpp-2s', { steps: 40, sigmas: 'karras' }],
    ['dpmpp-sde', { steps: 100 }],
    ['dpmpp-3m', { steps: 40, sigmas: 'karras' }],
    ['unipc', { steps: 40, sigmas: 'karras' }],
    ['edm', { steps: 50 }],
    ['edm', { steps: 50, churn: 10 }],
    ['ode', { steps: 30 }],
  ];

  it('covers every sampler', () => expect(new Set(RUNS.map(([name]) => name))).toEqual(new Set(SCHEDULERS)));

  it.each(RUNS)('%s %j', (scheduler, options) => {
    const steps = makeSteps(config, { scheduler, ...options });
    let state: State = { x: [...normals(5, 0, 0, N)], h: [] };
    steps.forEach((step, i) => {
      const noise = step.sigma > 0 ? normals(5, 1, i, N) : null;
      state = applyStep(step, state, epsilon(step, parts), (j) => noise![j]!);
    });
    const low = state.x.filter((x) => x < -0.3);
    const high = state.x.filter((x) => x >= -0.3);
    const mean = (x: number[]) => x.reduce((a, b) => a + b, 0) / x.length;
    const sd = (x: number[]) => Math.sqrt(mean(x.map((v) => (v - mean(x)) ** 2)));
    // Five standard errors of the sample (N = 4000), and a discretisation error of as much again.
    expect(Math.abs(low.length / N - 0.3)).toBeLessThan(0.04);
    expect(Math.abs(mean(low) + 0.8)).toBeLessThan(0.03);
    expect(Math.abs(mean(high) - 0.5)).toBeLessThan(0.03);
    expect(Math.abs(sd(low) / 0.1 - 1)).toBeLessThan(0.15);
    expect(Math.abs(sd(high) / 0.2 - 1)).toBeLessThan(0.12);
  });
});

describe('finite numbers, and as many steps as asked for', () => {
  const counts = [
    ...Array.from({ length: 40 }, (_, i) => i + 1),
    61,
    97,
    128,
    250,
    333,
    499,
    500,
    501,
    750,
    998,
    999,
    1000,
  ];
  const finite = (step: Step): boolean =>
    [step.next, ...(step.history ?? [])]
      .flatMap((mix) =>
        mix ? [mix.x ?? 0, mix.x0Hat ?? 0, mix.modelOutput ?? 0, ...(mix.history ?? [])] : [],
      )
      .concat(step.sigma, step.t, step.x0Hat.x, step.x0Hat.modelOutput)
      .every(Number.isFinite);

  it.each(SCHEDULERS)('%s', (scheduler) => {
    for (const json of [
      {},
      { beta_schedule: 'squaredcos_cap_v2' },
      { num_train_timesteps: 1000, set_alpha_to_one: false },
    ])
      for (const spacing of ['leading', 'trailing', 'linspace'] as const)
        for (const sigmas of [undefined, 'karras', 'exponential', 'beta'] as const) {
          if (sigmas && SAMPLERS[scheduler].takesTimesteps) continue;
          for (const steps of counts) {
            const cosine = 'beta_schedule' in json && spacing !== 'leading'; // its first steps are refused by pndm
            if (scheduler === 'pndm' && (steps < 4 || cosine)) continue;
            const all = makeSteps(parseSchedulerConfig(json, 'x'), {
              scheduler,
              steps,
              spacing,
              ...(sigmas ? { sigmas } : {}),
              ...(scheduler === 'edm' ? { churn: 20 } : {}),
            });
            const bad = all.findIndex((step) => !finite(step));
            if (bad >= 0) throw new Error(`${spacing} ${sigmas} ${steps}: ${JSON.stringify(all[bad])}`);
            expect(all.length).toBeGreaterThanOrEqual(steps);
            expect(all.every((s) => s.t >= 0 && s.t <= 999)).toBe(true);
            if (sigmas && steps > 12) break; // spaced sigmas do not know about T
          }
        }
  });
});

it('DDIM inverted, and back: the picture comes again', () => {
  const parts = [{ weight: 1, mean: 0.2, sd: 0.4 }];
  let state: State = { x: [-0.7, 0.1, 0.9], h: [] };
  const run = (options: RunOptions) => {
    for (const step of makeSteps(config, { scheduler: 'ddim', steps: 500, ...options })) {
      state = applyStep(step, state, epsilon(step, parts), () => 0);
    }
  };
  run({ invert: true });
  expect(state.x.every((x) => Math.abs(x) < 4)).toBe(true);
  run({});
  [-0.7, 0.1, 0.9].forEach((x, j) => expect(state.x[j]).toBeCloseTo(x, 1));
});

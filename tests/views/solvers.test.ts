/** Few steps, which solver: the numbers that the view shows, from the functions that it draws from. */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseSchedulerConfig } from '../../src/schedule/config.ts';
import { makeSteps } from '../../src/schedule/make_steps.ts';
import { makeSchedule } from '../../src/schedule/schedule.ts';
import {
  BUDGETS,
  fit,
  gaussianError,
  orderOf,
  reference,
  SOLVERS,
  maxTimestepOf,
} from '../../src/apps/article/solvers.ts';
import { refusal } from '../helpers/refusal.ts';

const file = new URL('../../weights/digits/scheduler/scheduler_config.json', import.meta.url);
const config = parseSchedulerConfig(JSON.parse(readFileSync(file, 'utf8')), 'digits');

it.each([
  ['euler', 1],
  ['heun', 2],
  ['dpmpp-2m', 2],
  ['dpmpp-2s', 2],
  ['dpmpp-3m', 2], // its first step is of order 1, and leaves an error of h^2
  ['unipc', 2],
  ['ode', 4],
] as const)('%s converges with order %i on the exact Gaussian', (name, order) => {
  expect(orderOf(name)).toBeGreaterThan(order - 0.35);
  // Halving the steps twice, the error falls by that order each time.
  const [a, b] = [gaussianError(name, 40), gaussianError(name, 160)];
  expect(a.error / b.error).toBeGreaterThan(4 ** (order - 0.35));
});

describe('what a budget pays for', () => {
  it.each(SOLVERS)('$name: never more evaluations, one more step would be too many', (solver) => {
    for (const budget of BUDGETS) {
      const fitted = fit(config, solver, budget);
      if (!fitted) {
        expect(solver.minSteps! + 9).toBeGreaterThan(budget); // pndm alone cannot
        continue;
      }
      const steps = makeSteps(config, fitted.run);
      expect(fitted.evaluations).toBe(steps.length);
      expect(steps.length).toBe(solver.evaluations(fitted.run.steps!)); // the formula that the text names
      expect(steps.length).toBeLessThanOrEqual(budget);
      expect(solver.evaluations(fitted.run.steps! + 1)).toBeGreaterThan(budget);
      expect(steps.some((s) => s.sigma > 0)).toBe(solver.stochastic);
    }
  });

  it('all start from one level, that of x_T', () => {
    const top = maxTimestepOf(config)!;
    const { alphaBar } = makeSchedule(config);
    for (const solver of SOLVERS)
      for (const budget of BUDGETS) {
        const fitted = fit(config, solver, budget);
        if (!fitted) continue;
        const [first] = makeSteps(config, fitted.run);
        expect(first!.t).toBeCloseTo(top, 9);
        expect(first!.x0Hat.x).toBeCloseTo(1 / Math.sqrt(alphaBar[top]!), 6);
      }
    expect(makeSteps(config, reference(config, false))).toHaveLength(997);
    expect(makeSteps(config, reference(config, true))).toHaveLength(100);
  });
});

it('top: the steps are those of a schedule that ends there; impossible ones are refused by name', () => {
  const whole = makeSteps(config, { scheduler: 'ddim', timesteps: [700, 400, 100] });
  const cut = makeSteps(config, { scheduler: 'ddim', timesteps: [700, 400, 100], top: 700 });
  cut.forEach((step, i) => {
    expect(step.t).toBe(whole[i]!.t);
    expect(step.next.x).toBeCloseTo(whole[i]!.next.x!, 9);
    expect(step.next.x0Hat).toBeCloseTo(whole[i]!.next.x0Hat!, 9);
  });
  expect(makeSteps(config, { scheduler: 'heun', steps: 10, spacing: 'trailing', top: 950 })[0]!.t).toBe(950);
  for (const top of [0, -1, 2.5, 1000, NaN])
    expect(refusal(() => makeSteps(config, { scheduler: 'ddim', steps: 5, top })).code).toBe('bad-option');
  expect(refusal(() => makeSteps(config, { scheduler: 'ddim', steps: 5, top: 900, compat: 'diffusers' })).code).toBe('bad-option'); // prettier-ignore
});

/** The samplers against diffusers: every step of many runs, and the sums published in diffusers' own tests. */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseSchedulerConfig } from '../../src/schedule/config.ts';
import { startForStrength, makeSteps } from '../../src/schedule/make_steps.ts';
import type { RunOptions } from '../../src/schedule/run_options.ts';
import type { SchedulerName } from '../../src/schedule/samplers.ts';
import { makeSchedule } from '../../src/schedule/schedule.ts';
import type { SigmaSpacing } from '../../src/schedule/levels.ts';
import type { Spacing } from '../../src/schedule/timesteps.ts';
import type { Step } from '../../src/schedule/step.ts';
import { expectClose, type Tolerance } from '../helpers/array.ts';
import { applyStep, type State } from '../helpers/steps.ts';

interface Run {
  scheduler: SchedulerName;
  config: Record<string, unknown>;
  steps: number;
  eta?: number;
  sigmas?: SigmaSpacing | null;
  timesteps: number[];
  states: number[][];
}
const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8')) as Run[];

/** One step, with the network of diffusers' tests: m = x t / (t + 1). */
const apply = (step: Step, state: State, z: (j: number) => number): State =>
  applyStep(step, state, (x) => (x * step.t) / (step.t + 1), z);

const z = (i: number) => (j: number) => 1.5 * Math.sin(1 + 7 * i + 3 * j);
const named = (runs: Run[]) =>
  runs.map(
    (r, i) => [i, `${r.scheduler} ${r.steps} ${r.sigmas ?? ''} ${JSON.stringify(r.config)}`, r] as const,
  );

function follow(steps: readonly Step[], first: number[], states: number[][], tolerance: Tolerance): void {
  let state: State = { x: first, h: [] };
  steps.forEach((step, i) => {
    state = apply(step, state, z(i));
    expectClose(state.x, states[i] ?? state.x, tolerance, `step ${i}`);
    state = { ...state, x: [...(states[i] ?? state.x)] };
  });
  expect(state.x.every(Number.isFinite)).toBe(true);
  // One is left out where the last step of diffusers is NaN (bh1).
  expect([steps.length, steps.length - 1]).toContain(states.length);
}

describe('every step as diffusers (compat)', () => {
  it.each(named(read('schedulers.json')))('%i: %s', (_, __, run) => {
    const config = parseSchedulerConfig(run.config, 'fixture');
    const options: RunOptions = { scheduler: run.scheduler, steps: run.steps, compat: 'diffusers' };
    const steps = makeSteps(config, run.scheduler === 'ddim' ? { ...options, eta: run.eta! } : options);
    expect(steps.map((s) => s.t)).toEqual(run.timesteps);
    // diffusers computes in f32; near t = T - 1 of the cosine schedule it divides by 5e-5.
    follow(steps, [-1.7, -0.6, 0.0, 0.35, 0.9, 2.1], run.states, { atol: 1e-5, rtol: 1e-5 });
  });

  it.each(named(read('solvers.json')))('%i: %s', (_, __, run) => {
    const config = parseSchedulerConfig(run.config, 'fixture');
    const steps = makeSteps(config, {
      scheduler: run.scheduler,
      steps: run.steps,
      spacing: (run.config['timestep_spacing'] as Spacing | undefined) ?? 'linspace',
      compat: 'diffusers',
      ...(run.sigmas ? { sigmas: run.sigmas } : {}),
    });
    expectClose(
      steps.map((s) => s.t),
      run.timesteps,
      { atol: 2e-3, rtol: 0 }, // theirs are f32, and beta sigmas an f32 quantile
      'timesteps',
    );
    const [first, ...states] = run.states;
    expect(states).toHaveLength(run.timesteps.length - Number(run.config['solver_type'] === 'bh1'));
    follow(steps, first!, states, { atol: 1e-5, rtol: 1e-5 });
  });
});

interface Improved {
  schedule: string;
  T: number;
  respacing: string;
  v: number[];
  steps: { t: number; x0: number; x: number; log_variance: number[] }[];
}

describe('respacing and learned variance as Improved DDPM has them (numpy, from the paper)', () => {
  const runs = read('improved.json') as unknown as Improved[];
  it.each(runs.map((r) => [r.schedule, r.T, r.respacing, r] as const))(
    '%s, T = %i, "%s"',
    (_, __, ___, run) => {
      const config = parseSchedulerConfig(
        { beta_schedule: run.schedule, num_train_timesteps: run.T, variance_type: 'learned_range' },
        'fixture',
      );
      const steps = makeSteps(config, { scheduler: 'ddpm', respacing: run.respacing });
      expect(steps.map((s) => s.t)).toEqual(run.steps.map((s) => s.t));
      run.steps.forEach((wanted, i) => {
        const { next, sigma, logVariance } = steps[i]!;
        const last = i === steps.length - 1;
        const close = { atol: 1e-9, rtol: 1e-8 }; // 1 - alphaBar / alphaBarPrev loses digits where t is 0
        expectClose([next.x0Hat!, next.x!], [wanted.x0, wanted.x], close, `mean of step ${i}`);
        expect(sigma).toBe(last ? 0 : 1);
        const [min, max] = logVariance!;
        if (!last)
        expectClose(run.v.map((v) => min + ((v + 1) / 2) * (max - min)), wanted.log_variance, close, `log variance ${i}`); // prettier-ignore
      });
    },
  );

  it('learned: v is the log of the variance itself', () => {
    const [step] = makeSteps(parseSchedulerConfig({ variance_type: 'learned' }, 'test'), {
      scheduler: 'ddpm',
    });
    expect(step!.logVariance).toEqual([-1, 1]);
    expect(() => makeSteps(parseSchedulerConfig({}, 'test'), { scheduler: 'ddpm', variance: 'learned', compat: 'diffusers' })).toThrow(/root of a learned variance/); // prettier-ignore
  });
});

describe('the jumps of RePaint', () => {
  // The timesteps of diffusers 0.42's RePaintScheduler for T = 1000: 20 steps, jumps of 4, each stretch three times.
  const wanted = JSON.parse(readFileSync(new URL('../fixtures/repaint.json', import.meta.url), 'utf8')) as {
    steps: number;
    length: number;
    samples: number;
    timesteps: number[];
  }[];
  it.each(wanted.map((w) => [w.steps, w.length, w.samples, w.timesteps] as const))('%i steps, %i back, %i times', (steps, length, samples, timesteps) => {
    const list = makeSteps(parseSchedulerConfig({}, 'test'), { scheduler: 'ddpm', steps, jumps: { length, samples } });
    expect(list.map((s) => s.index)).toEqual(list.map((_, i) => i));
    // Theirs lists where every step of q and p arrives; ours has one jump for `length` of them.
    const stride = 1000 / steps;
    const walked = list.flatMap((s) => s.renoise ? Array.from({ length }, (_, k) => s.t + (k + 1) * stride) : s.tPrev >= 0 ? [s.tPrev] : []);
    expect([list[0]!.t, ...walked]).toEqual(timesteps);
    for (const { t, tPrev, renoise: jump } of list.filter((s) => s.renoise)) {
      const { alphaBar } = makeSchedule(parseSchedulerConfig({}, 'test'));
      expect(jump!.c ** 2).toBeCloseTo(alphaBar[tPrev]! / alphaBar[t]!, 12);
      expect(jump!.c ** 2 + jump!.s ** 2).toBeCloseTo(1, 12);
      expect(tPrev).toBeGreaterThan(t);
    }
  }); // prettier-ignore
});

it('jumps and strength where the list of steps is not the usual one', () => {
  const config = parseSchedulerConfig({}, 'test');
  // compat's DDIM steps by T / n = 166: from t = 5 straight to the clean image, five times.
  const list = makeSteps(config, { scheduler: 'ddim', timesteps: [5, 4, 3, 2, 1, 0], jumps: { length: 2, samples: 2 }, compat: 'diffusers' });
  expect(list.some((s) => s.renoise)).toBe(true);
  for (const { renoise: jump } of list) if (jump) expect([jump.c, jump.s].every(Number.isFinite)).toBe(true);
  // The lecture's loop has T - 1 steps, whatever `steps` would be: 0.6 of them are 599.
  const begin = startForStrength(config, { scheduler: 'ddpm', compat: 'lecture' }, 0.6);
  expect(makeSteps(config, { scheduler: 'ddpm', compat: 'lecture', begin })).toHaveLength(599);
}); // prettier-ignore

describe("sums published in diffusers' tests", () => {
  // arange(768).reshape(3, 8, 8, 4) / 768; the sum does not depend on the order of its elements.
  const x_T = Array.from({ length: 768 }, (_, i) => i / 768);
  const total = (json: Record<string, unknown>, options: RunOptions) => {
    const config = parseSchedulerConfig({ beta_start: 1e-4, beta_end: 0.02, ...json }, 'test');
    let state: State = { x: x_T, h: [] };
    for (const step of makeSteps(config, { steps: 10, ...options })) state = apply(step, state, () => 0);
    return state.x.reduce((sum, v) => sum + Math.abs(v), 0);
  };
  it.each([
    [{}, 172.0067],
    [{ prediction_type: 'v_prediction' }, 52.5302],
    [{ beta_start: 0.01, set_alpha_to_one: true }, 149.8295],
    [{ beta_start: 0.01, set_alpha_to_one: false }, 149.0784],
  ])('DDIM %j', (config, sum) => {
    // Their own tolerance.
    expect(Math.abs(total(config, { scheduler: 'ddim', epsFromClipped: false }) - sum)).toBeLessThan(1e-2);
    expect(Math.abs(total(config, { scheduler: 'ddim', compat: 'diffusers' }) - sum)).toBeLessThan(2e-4);
  });

  it.each([
    [{ set_alpha_to_one: false }, 198.1318],
    [{ set_alpha_to_one: false, prediction_type: 'v_prediction' }, 67.3986],
    [{ beta_start: 0.01, set_alpha_to_one: true }, 230.0399],
    [{ beta_start: 0.01, set_alpha_to_one: false }, 186.9482],
  ])('PNDM %j', (config, sum) => {
    expect(Math.abs(total(config, { scheduler: 'pndm', compat: 'diffusers' }) - sum)).toBeLessThan(1e-2);
  });

  it.each([
    [{}, 671.6816],
    [{ beta_start: 0.01, set_alpha_to_one: true }, 539.9622],
    [{ beta_start: 0.01, set_alpha_to_one: false }, 542.6722],
  ])('DDIM inverse %j', (config, sum) => {
    // Theirs clips x0Hat, ours does not: in the third run that is 1e-2 of the sum.
    expect(Math.abs(total(config, { scheduler: 'ddim', invert: true }) - sum)).toBeLessThan(2e-2);
  });
});

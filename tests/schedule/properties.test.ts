/** What must hold for every schedule, list of timesteps and option, looked for by fast-check. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DiffusionError } from '../../src/core/errors.ts';
import { parseSchedulerConfig } from '../../src/schedule/config.ts';
import { VARIANCES } from '../../src/schedule/context.ts';
import { makeSteps } from '../../src/schedule/make_steps.ts';
import { noiseLevels } from '../../src/schedule/noise_levels.ts';
import type { RunOptions } from '../../src/schedule/run_options.ts';
import { SCHEDULERS } from '../../src/schedule/samplers.ts';
import { epsHatOf, PREDICTION_TYPES, x0HatOf, type PredictionType } from '../../src/schedule/prediction.ts';
import type { LinearCombination, Step } from '../../src/schedule/step.ts';
import { applyStep, type State } from '../helpers/steps.ts';

const config = (json: object) => parseSchedulerConfig({ clip_sample: false, ...json }, 'test');

fc.configureGlobal({ seed: 20261124 }); // the same cases in every run

const schedules = fc
  .record({
    beta_schedule: fc.constantFrom('linear', 'scaled_linear', 'squaredcos_cap_v2', 'sigmoid'),
    num_train_timesteps: fc.constantFrom(10, 100, 1000, 4000),
    prediction_type: fc.constantFrom(...PREDICTION_TYPES),
  })
  // Betas of 1,000 steps would leave an alphaBar of 1e-18 after 4,000: beyond what float64 can subtract from 1.
  .map((json) =>
    json.num_train_timesteps === 4000 ? { ...json, beta_start: 2.5e-5, beta_end: 0.005 } : json,
  );

/** A schedule, and some of its timesteps, falling. */
const lists = schedules.chain((json) =>
  fc
    .uniqueArray(fc.nat(json.num_train_timesteps - 1), { minLength: 1, maxLength: 30 })
    .map((list) => ({ json, timesteps: list.sort((a, b) => b - a) })),
);

/** A step without its x0Hat: factors of x and of the network's output. */
const direct = ({ next, x0Hat }: Step): [number, number] => [
  (next.x ?? 0) + (next.x0Hat ?? 0) * x0Hat.x,
  (next.modelOutput ?? 0) + (next.x0Hat ?? 0) * x0Hat.modelOutput,
];
const close = (a: number, b: number, scale = 1): boolean =>
  Math.abs(a - b) <= 1e-8 * scale + 1e-7 * Math.abs(b);

it('DDIM with eta = 1 is DDPM with fixed_small, on every list', () => {
  fc.assert(
    fc.property(lists, ({ json, timesteps }) => {
      const [ddim, ddpm] = [
        makeSteps(config(json), { scheduler: 'ddim', timesteps, eta: 1 }),
        makeSteps(config(json), { scheduler: 'ddpm', timesteps }),
      ];
      ddim.forEach((step, i) => {
        const [mine, theirs] = [direct(step), direct(ddpm[i]!)];
        const scale = Math.max(1, ...theirs.map(Math.abs));
        expect(mine.every((v, k) => close(v, theirs[k]!, scale)), `${String(mine)} ${String(theirs)}`).toBe(true);
        expect(close(step.sigma, Math.abs(ddpm[i]!.sigma)), `${step.sigma} ${ddpm[i]!.sigma}`).toBe(true);
      });
    }),
  );
}); // prettier-ignore

it('and step by step also where x0Hat is clipped', () => {
  const x = [-3, -1.2, -0.1, 0, 0.4, 0.99, 2.5];
  fc.assert(
    fc.property(lists, ({ json, timesteps }) => {
      const own = config({ ...json, clip_sample: true });
      const run = (scheduler: 'ddim' | 'ddpm', options: RunOptions) =>
        makeSteps(own, { scheduler, timesteps, ...options }).map((step) => applyStep(step, { x, h: [] }, (v) => 0.3 * v, () => 0).x);
      const [ddim, ddpm] = [run('ddim', { eta: 1 }), run('ddpm', {})];
      ddim.forEach((state, i) => state.forEach((v, j) => expect(close(v, ddpm[i]![j]!), `${v} ${ddpm[i]![j]}`).toBe(true)));
    }),
  );
}); // prettier-ignore

it('epsilon, x0 and v: each gives both x0 and epsilon back', () => {
  const number = fc.double({ min: -5, max: 5, noNaN: true });
  fc.assert(
    fc.property(fc.double({ min: 1e-6, max: 1 - 1e-6, noNaN: true }), number, number, (alphaBar, x0, eps) => {
      const [a, s] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
      const x = a * x0 + s * eps;
      const outputs: Record<PredictionType, number> = { epsilon: eps, sample: x0, v_prediction: a * eps - s * x0 };
      for (const type of PREDICTION_TYPES) {
        const [p, q] = [x0HatOf(type, alphaBar), epsHatOf(type, alphaBar)];
        expect(p.x * x + p.modelOutput * outputs[type]).toBeCloseTo(x0, 8);
        expect(q.x * x + q.modelOutput * outputs[type]).toBeCloseTo(eps, 8);
      }
    }),
  );
}); // prettier-ignore

describe('the marginals of q, where one picture is all the data', () => {
  // Then the network knows x_0, and every map is linear: a state is its factors of x_0, of the first noise, and of each z.
  const options = fc.record({
    steps: fc.integer({ min: 4, max: 40 }),
    spacing: fc.constantFrom('leading', 'trailing', 'linspace'),
    eta: fc.double({ min: 0, max: 1, noNaN: true }),
    churn: fc.double({ min: 0, max: 30, noNaN: true }),
    sigmas: fc.constantFrom(undefined, 'karras', 'exponential', 'beta'),
    order: fc.constantFrom(1, 2, 3),
    bh: fc.constantFrom('bh1', 'bh2'),
    json: schedules.filter((s) => s.num_train_timesteps >= 100),
  });
  const deterministic = ['euler', 'heun', 'dpmpp-2m', 'dpmpp-2s', 'dpmpp-3m', 'unipc', 'ode', 'pndm'];

  it.each(SCHEDULERS)('%s', (scheduler) => {
    fc.assert(
      fc.property(options, ({ steps, spacing, eta, churn, sigmas, order, bh, json }) => {
        const run = {
          scheduler,
          steps,
          spacing,
          ...(scheduler === 'ddim' ? { eta } : {}),
          ...(scheduler === 'edm' ? { churn } : {}),
          ...(scheduler === 'unipc' ? { order, bh } : {}),
          ...(sigmas && !['ddpm', 'ddim', 'pndm'].includes(scheduler) ? { sigmas } : {}),
        } as RunOptions;
        const own = config({ ...json, set_alpha_to_one: true });
        let all: Step[];
        try {
          all = makeSteps(own, run);
        } catch (error) {
          expect(scheduler).toBe('pndm'); // refuses first steps that are too long
          expect(error).toMatchObject({ code: 'bad-option' });
          return;
        }
        const level = noiseLevels(own);
        const first = level(all[0]!.t);
        let state: State = { x: [first.a, first.s, ...all.map(() => 0)], h: [] };
        all.forEach((step, k) => {
          // The level at which the step sees the state, from the step's own numbers: x0Hat = x0Hat.x x + x0Hat.m m.
          const { x, modelOutput: m } = step.x0Hat;
          state = applyStep(
            step,
            state,
            (value, j) => {
              if (json.prediction_type === 'sample') return Number(j === 0);
              // m for which x0Hat is x_0: epsilon and v alike.
              return m === 0 ? 0 : (Number(j === 0) - x * value) / m;
            },
            (j) => Number(j === 2 + k),
          );
          // Spaced sigmas stand between the timesteps, and solvers of several stages pass through other states.
          const exact = [
            'ddpm',
            'ddim',
            'euler',
            'euler-ancestral',
            'dpmpp-2m',
            'dpmpp-3m',
            'dpmpp-sde',
            'unipc',
          ];
          if (exact.includes(scheduler) && !run.sigmas) {
            const { a, s } = level(step.tPrev);
            expect(Math.abs(state.x[0]! - a), `mean after step ${k}`).toBeLessThan(1e-6);
            expect(Math.abs(Math.hypot(...state.x.slice(1)) - s), `spread after step ${k}`).toBeLessThan(
              1e-6,
            );
          }
          if (deterministic.includes(scheduler)) expect(step.sigma).toBe(0);
        });
        expect(Math.abs(state.x[0]! - 1), 'the picture').toBeLessThan(1e-6);
        expect(Math.hypot(...state.x.slice(1)), 'what is left of the noise').toBeLessThan(1e-6);
      }),
      { numRuns: 60 },
    );
  });
});

describe('legal options give finite numbers, illegal ones an error that names the option', () => {
  const factors = (mix: LinearCombination | undefined): number[] =>
    mix ? [mix.x ?? 0, mix.x0Hat ?? 0, mix.modelOutput ?? 0, ...(mix.history ?? [])] : [];
  const maybe = <V>(values: fc.Arbitrary<V>) =>
    fc.oneof({ arbitrary: fc.constant(undefined), weight: 7 }, { arbitrary: values, weight: 1 });
  const anything = fc.record({
    scheduler: fc.constantFrom(...SCHEDULERS),
    steps: maybe(fc.oneof(fc.integer({ min: 1, max: 60 }), fc.constantFrom(0, -1, 1.5, 1001, NaN))),
    spacing: maybe(fc.constantFrom('leading', 'trailing', 'linspace', 'loose')),
    eta: maybe(fc.constantFrom(0, 0.5, 1, 1.01, -1, NaN)),
    sigmas: maybe(fc.constantFrom('karras', 'exponential', 'beta', 'gamma')),
    prediction: maybe(fc.constantFrom(...PREDICTION_TYPES, 'score')),
    variance: maybe(fc.constantFrom(...VARIANCES, 'small')),
    churn: maybe(fc.constantFrom(0, 5, 1e5, -1, NaN)),
    clip: maybe(
      fc.constantFrom(null, 1, 0.5, 0, -1, NaN, { quantile: 0.9, max: 2 }, { quantile: 2, max: 2 }),
    ),
    order: maybe(fc.constantFrom(1, 2, 3, 4)),
    bh: maybe(fc.constantFrom('bh1', 'bh2', 'bh3')),
    jumps: maybe(
      fc.constantFrom({ length: 2, samples: 3 }, { length: 0, samples: 3 }, { length: 2, samples: 0.5 }),
    ),
    begin: maybe(fc.constantFrom(0, 1, 3, 59, -1, 0.5)),
    timesteps: maybe(fc.constantFrom([999, 500, 3], [3, 500], [1000], [])),
    respacing: maybe(fc.constantFrom('7', '10,15,20', 'ddim50', 'ddim7', '0', 'ten')),
    epsFromClipped: maybe(fc.boolean()),
    compat: maybe(fc.constantFrom('diffusers', 'keras')),
  });

  it('in any combination', () => {
    let [fine, refused] = [0, 0];
    fc.assert(
      fc.property(anything, schedules, (wild, json) => {
        const run = Object.fromEntries(Object.entries(wild).filter(([, v]) => v !== undefined)) as RunOptions;
        let all: Step[];
        try {
          all = makeSteps(config({ ...json, num_train_timesteps: 1000 }), run);
        } catch (error) {
          expect(error).toBeInstanceOf(DiffusionError);
          expect(['bad-option', 'unsupported-model']).toContain((error as DiffusionError).code);
          refused++;
          return;
        }
        fine++;
        expect(all.length).toBeGreaterThan(0);
        for (const step of all) {
          const numbers = [...factors(step.next), ...(step.history ?? []).flatMap(factors), step.x0Hat.x, step.x0Hat.modelOutput];
          expect([...numbers, step.sigma, step.t].every(Number.isFinite), JSON.stringify(step)).toBe(true);
        }
      }),
      { numRuns: 3000 },
    );
    expect(Math.min(fine, refused)).toBeGreaterThan(50); // neither side of the test is idle
  }); // prettier-ignore

  it.each([
    [{ scheduler: 'dppm' }, /scheduler dppm/],
    [{ steps: 0 }, /0 steps/],
    [{ steps: 1001 }, /1001 steps/],
    [{ steps: 2.5 }, /2\.5 steps/],
    [{ spacing: 'loose' }, /spacing loose/],
    [{ scheduler: 'ddim', eta: 2 }, /eta is 2/],
    [{ scheduler: 'ddpm', eta: 0.5 }, /eta is an option of ddim/],
    [{ scheduler: 'euler', sigmas: 'gamma' }, /spacing of sigmas gamma/],
    [{ scheduler: 'ddim', sigmas: 'karras' }, /sigmas is an option of/],
    [{ prediction: 'score' }, /prediction type score/],
    [{ scheduler: 'ddpm', variance: 'small' }, /variance small/],
    [{ scheduler: 'euler', variance: 'fixed_small' }, /variance is an option of ddpm/],
    [{ scheduler: 'edm', churn: -1 }, /churn is -1/],
    [{ clip: 0 }, /clipped to 0/],
    [{ clip: { quantile: 0, max: 1 } }, /threshold at the quantile 0/],
    [{ clip: { quantile: 0.9, max: 0.5 } }, /at most 0\.5/],
    [{ scheduler: 'unipc', order: 4 }, /order is 4/],
    [{ scheduler: 'unipc', bh: 'bh3' }, /B\(h\) bh3/],
    [{ scheduler: 'ddpm', jumps: { length: 0, samples: 1 } }, /Jumps of 0 steps/],
    [{ scheduler: 'heun', jumps: { length: 2, samples: 2 } }, /jumpLength is an option of/],
    [{ begin: -1 }, /startStep is -1/],
    [{ steps: 5, begin: 5 }, /starts at step 5 of 5/],
    [{ timesteps: [1, 2] }, /list of timesteps/],
    [{ timesteps: [3, 1], steps: 2 }, /given twice/],
    [{ respacing: 'ten' }, /respacing/],
    [{ compat: 'keras' }, /compat mode keras/],
  ] as [object, RegExp][])('%j', (options, message) => {
    const illegal = () => makeSteps(config({}), { scheduler: 'ddpm', ...options } as RunOptions);
    expect(illegal).toThrow(DiffusionError);
    expect(illegal).toThrow(message);
  }); // prettier-ignore
});

import { describe, expect, it } from 'vitest';
import { parseSchedulerConfig } from '../../src/schedule/config.ts';
import { startForStrength, makeSteps } from '../../src/schedule/make_steps.ts';
import type { RunOptions } from '../../src/schedule/run_options.ts';
import { SCHEDULERS } from '../../src/schedule/samplers.ts';
import { betasOf, makeSchedule } from '../../src/schedule/schedule.ts';
import {
  respacedTimesteps,
  roundHalfEven,
  timestepList,
  type Spacing,
} from '../../src/schedule/timesteps.ts';
import { random } from '../helpers/array.ts';

const schedule = (json: Record<string, unknown>) => makeSchedule(parseSchedulerConfig(json, 'test'));

describe('alphaBar in float64', () => {
  // docs: numbers computed independently in float64 (shared conventions, section 5.1).
  it.each([
    [{}, [[0, 0.9999], [1, 0.999780092], [499, 0.0785872429], [999, 4.03582977e-5]]],
    [{ beta_schedule: 'scaled_linear', beta_start: 0.00085, beta_end: 0.012 }, [[0, 0.99915], [499, 0.27766965], [999, 0.0046601]]],
    [{ beta_schedule: 'squaredcos_cap_v2' }, [[0, 0.999958716], [499, 0.49384359], [998, 2.42876691e-6], [999, 2.42876691e-9]]],
  ] as [Record<string, unknown>, [number, number][]][])('%j', (json, values) => {
    const { alphaBar } = schedule(json);
    for (const [t, value] of values) expect(Math.abs(alphaBar[t]! / value - 1)).toBeLessThan(2e-5);
  }); // prettier-ignore

  it('the cosine schedule caps one beta', () => {
    const betas = betasOf(parseSchedulerConfig({ beta_schedule: 'squaredcos_cap_v2' }, 'test'));
    expect(betas.filter((b) => b === 0.999)).toHaveLength(1);
    expect(betas[0]).toBeCloseTo(4.12842248e-5, 12);
    expect(betas[998]).toBeCloseTo(0.749999393, 8);
  });

  it('falls, strictly, for every schedule and T', () => {
    for (const beta_schedule of ['linear', 'scaled_linear', 'squaredcos_cap_v2'])
      for (const num_train_timesteps of [1, 2, 10, 250, 4000]) {
        const { alphaBar } = schedule({ beta_schedule, num_train_timesteps });
        expect(alphaBar).toHaveLength(num_train_timesteps);
        alphaBar.forEach((a, t) => expect(a < (t ? alphaBar[t - 1]! : 1) && a > 0).toBe(true));
      }
  });
});

describe('timesteps', () => {
  const list = (n: number, spacing: Spacing, options = {}) =>
    timestepList({ T: 1000, n, spacing, offset: 0, ...options });

  it('known lists', () => {
    expect(list(10, 'leading')).toEqual([900, 800, 700, 600, 500, 400, 300, 200, 100, 0]);
    expect(list(50, 'leading').slice(0, 2)).toEqual([980, 960]);
    expect(list(13, 'leading')[0]).toBe(912);
    expect(list(10, 'trailing')).toEqual([999, 899, 799, 699, 599, 499, 399, 299, 199, 99]);
    expect(list(50, 'trailing').at(-1)).toBe(19);
    expect(list(2, 'linspace')).toEqual([999, 0]);
    expect(list(1, 'linspace')).toEqual([999]);
    expect(list(1, 'linspace', { compat: true })).toEqual([0]);
    expect(timestepList({ T: 1000, n: 10, spacing: 'leading', offset: 1 })[0]).toBe(901);
  });

  it('every n gives n falling timesteps inside the training range', () => {
    for (const spacing of ['leading', 'trailing', 'linspace'] as const)
      for (let n = 1; n <= 1000; n++) {
        const t = list(n, spacing);
        expect(t).toHaveLength(n);
        expect(t[0]! <= 999 && t.at(-1)! >= 0 && t.every((x, i) => i === 0 || x < t[i - 1]!)).toBe(true);
      }
  });

  it('compat refuses the 62 step counts at which diffusers makes one timestep too many', () => {
    const refused = Array.from({ length: 1000 }, (_, i) => i + 1).filter((n) => {
      try {
        list(n, 'trailing', { compat: true });
        return false;
      } catch {
        return true;
      }
    });
    expect(refused).toHaveLength(62);
    expect(refused.slice(0, 5)).toEqual([61, 103, 121, 122, 201]);
  });

  it('refuses impossible counts, and an offset that leaves the range', () => {
    for (const n of [0, -1, 1001, 2.5, NaN])
      expect(() => list(n, 'leading')).toThrow(/steps are not possible/);
    expect(() => timestepList({ T: 1000, n: 1000, spacing: 'leading', offset: 1 })).toThrow(
      /start at timestep 1000/,
    );
  });

  it('rounds half to even', () => {
    expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4999, 1e6 + 0.5].map(roundHalfEven)).toEqual([
      0, 2, 2, 0, -2, 2, 1e6,
    ]);
  });
});

describe('respacing strings of guided-diffusion', () => {
  // Lists computed independently in numpy (shared conventions, section 5.2).
  const rising = (text: string) => respacedTimesteps(1000, text).reverse();

  it('known lists', () => {
    expect(rising('25').slice(0, 4)).toEqual([0, 42, 83, 125]);
    expect(rising('25').slice(-2)).toEqual([957, 999]);
    expect(rising('50').slice(0, 4)).toEqual([0, 20, 41, 61]);
    expect(rising('250').slice(0, 5)).toEqual([0, 4, 8, 12, 16]);
    expect(rising('250').slice(-2)).toEqual([995, 999]);
    expect(rising('ddim25').slice(0, 2)).toEqual([0, 40]);
    expect(rising('ddim25').at(-1)).toBe(960);
    expect(rising('10,15,20')).toHaveLength(45);
    expect(rising('10,15,20').filter((t) => t < 334)).toHaveLength(10);
    expect(rising('1')).toEqual([999]);
  });

  it('ddimN is impossible for 938 of a thousand', () => {
    const refused = Array.from({ length: 1000 }, (_, i) => i + 1).filter((n) => {
      try {
        rising(`ddim${n}`);
        return false;
      } catch {
        return true;
      }
    });
    expect(refused).toHaveLength(938);
    expect(refused.slice(0, 4)).toEqual([1, 37, 41, 43]);
  });

  it('every number of steps works', () => {
    for (let n = 1; n <= 1000; n++) {
      const list = respacedTimesteps(1000, String(n));
      expect(list).toHaveLength(n);
      expect(list[0]).toBe(999);
      expect(list.every((t, i) => i === 0 || t < list[i - 1]!)).toBe(true);
    }
  });

  it('anything else is refused', () => {
    for (const text of ['', 'x', '0', '1001', '10,', '500,600', 'ddim', 'ddim0', '1e3', '-5', '10;20'])
      expect(() => respacedTimesteps(1000, text), text).toThrow(/respacing/);
  });
});

describe('properties of the steps', () => {
  const config = parseSchedulerConfig({ clip_sample: false }, 'test');

  it('DDIM with eta 1 is DDPM with fixed_small, mean and variance', () => {
    for (const steps of [1, 2, 13, 50, 1000]) {
      const ddpm = makeSteps(config, { scheduler: 'ddpm', steps });
      const ddim = makeSteps(config, { scheduler: 'ddim', steps, eta: 1 });
      ddim.forEach((a, i) => {
        const b = ddpm[i]!;
        expect(a.sigma).toBeCloseTo(b.sigma, 9);
        for (const [x, m] of [[1, 0], [0, 1], [0.3, -2]] as const) {
          const mean = (s: typeof a) => (s.next.x ?? 0) * x +
              (s.next.modelOutput ?? 0) * m +
              (s.next.x0Hat ?? 0) * (s.x0Hat.x * x + s.x0Hat.modelOutput * m);
          expect(Math.abs(mean(a) - mean(b))).toBeLessThan(1e-6 * Math.max(1, Math.abs(mean(b))));
        }
      });
    }
  }); // prettier-ignore

  it('a perfect network leads back to x0: DDIM for any eta, spacing and prediction type', () => {
    const u = random(3);
    for (const spacing of ['leading', 'trailing', 'linspace'] as const)
      for (const prediction_type of ['epsilon', 'sample', 'v_prediction'])
        for (const epsFromClipped of [false, true]) {
          const c = parseSchedulerConfig({ prediction_type }, 'test');
          const { alphaBar } = makeSchedule(c);
          const x0 = 2 * u() - 1;
          let x = 3 * u();
          for (const s of makeSteps(c, { steps: 17, spacing, epsFromClipped })) {
            const [a, sd] = [Math.sqrt(alphaBar[s.t]!), Math.sqrt(1 - alphaBar[s.t]!)];
            const eps = (x - a * x0) / sd;
            const m = { epsilon: eps, sample: x0, v_prediction: a * eps - sd * x0 }[prediction_type]!;
            const x0Hat = s.x0Hat.x * x + s.x0Hat.modelOutput * m;
            expect(x0Hat).toBeCloseTo(x0, 8);
            x = (s.next.x ?? 0) * x + (s.next.x0Hat ?? 0) * x0Hat + (s.next.modelOutput ?? 0) * m;
          }
          expect(x).toBeCloseTo(x0, 8);
        }
  });

  it('the last step adds no noise, whatever the spacing; with compat it does, as in diffusers', () => {
    const large = parseSchedulerConfig({ variance_type: 'fixed_large' }, 'test');
    const last = (options: RunOptions) =>
      makeSteps(large, { scheduler: 'ddpm', steps: 10, ...options }).at(-1)!.sigma;
    expect(last({ spacing: 'trailing' })).toBe(0);
    expect(last({ spacing: 'trailing', compat: 'diffusers' })).toBeCloseTo(0.3209, 4);
    expect(last({ spacing: 'leading', compat: 'diffusers' })).toBe(0);
  });

  it('refuses options by name', () => {
    const bad: [RunOptions, RegExp][] = [
      [{ scheduler: 'lms' as never }, /no scheduler lms/],
      [{ spacing: 'even' as never }, /no timestep spacing even/],
      [{ eta: -0.1 }, /eta is -0.1/],
      [{ eta: NaN }, /eta is NaN/],
      [{ scheduler: 'ddpm', eta: 0.5 }, /eta is an option of ddim/],
      [{ scheduler: 'ddim', sigmas: 'karras' }, /sigmas is an option of dpmpp-2m/],
      [{ scheduler: 'edm', churn: -1 }, /churn is -1/],
      [{ scheduler: 'pndm', steps: 3 }, /pndm cannot take 3 steps/],
      [{ prediction: 'flow' as never }, /no prediction type flow/],
      [{ scheduler: 'ddpm', variance: 'other' as never }, /no variance other/],
      [{ compat: 'torch' as never }, /no compat mode torch/],
      [{ steps: 0 }, /0 steps/],
      [{ respacing: '25', steps: 25 }, /given twice/],
      [{ scheduler: 'heun', respacing: '25' }, /respacing is an option of ddim/],
      [{ timesteps: [5, 5] }, /does not fall/],
      [{ timesteps: [] }, /does not fall/],
      [{ timesteps: [1000] }, /does not fall/],
    ];
    for (const [options, message] of bad) expect(() => makeSteps(config, options)).toThrow(message);
  });

  it('a run that begins later takes the last steps of the whole, with their noise', () => {
    for (const scheduler of ['ddpm', 'ddim', 'euler', 'euler-ancestral'] as const) {
      const whole = makeSteps(config, { scheduler, steps: 20 });
      expect(makeSteps(config, { scheduler, steps: 20, begin: 13 })).toEqual(whole.slice(13));
    }
    for (const scheduler of SCHEDULERS) {
      const rest = makeSteps(config, { scheduler, steps: 20, begin: 15 });
      const { next } = rest[0]!; // nothing is remembered yet
      expect(
        (next.history ?? []).every((factor) => factor === 0),
        scheduler,
      ).toBe(true);
      expect(rest.at(-1)!.index).toBe(makeSteps(config, { scheduler, steps: 20 }).length - 1);
    }
    expect(() => makeSteps(config, { steps: 5, begin: 5 })).toThrow(/no steps remain/);
    expect(() => makeSteps(config, { steps: 5, begin: -1 })).toThrow(/startStep is -1/);
  });

  it('strength takes the last steps, counted as diffusers does', () => {
    expect(startForStrength(config, { steps: 50 }, 0.58)).toBe(22); // int(50 * 0.58) = 28
    expect(startForStrength(config, { steps: 100 }, 0.29)).toBe(72); // int(28.999999999999996) = 28
    expect(startForStrength(config, { steps: 50 }, 1)).toBe(0);
    for (const strength of [0, -1, 1.1, NaN, 0.01])
      expect(() => startForStrength(config, { steps: 50 }, strength)).toThrow(/strength/);
  });
});

/** What the views draw from, by the numbers that each must meet. (The mounted views: tests/browser/views.test.ts.) */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { packStep, unpackStep } from '../../src/engine/kernels/update.ts';
import { parseSchedulerConfig } from '../../src/schedule/config.ts';
import { makeSteps } from '../../src/schedule/make_steps.ts';
import { SCHEDULERS } from '../../src/schedule/samplers.ts';
import { normals } from '../../src/schedule/noise.ts';
import { affineStep } from '../../src/apps/article/affine.ts';
import { amplification, lensesAt } from '../../src/apps/article/lenses.ts';
import { COUNT as POINTS, PARTS, runPoints, score, shares, density } from '../../src/apps/article/mixture.ts';
import { etaOneAgainstDdpm } from '../../src/apps/article/noise.ts';
import * as jump from '../../src/apps/article/one_jump.ts';
import * as qp from '../../src/apps/article/q_and_p.ts';
import { standing, tableOf, timestepFor } from '../../src/apps/article/schedules.ts';
import { between, variancesOf } from '../../src/apps/article/variances.ts';
import { applyStep } from '../helpers/steps.ts';

const cosine = parseSchedulerConfig({ beta_schedule: 'squaredcos_cap_v2' }, 'cosine');
const linear = parseSchedulerConfig({}, 'linear');

describe('the CPU twin of the update', () => {
  it.each(SCHEDULERS)('%s: equals the one of the tests', (scheduler) => {
    const steps = makeSteps(linear, { scheduler, steps: 12 });
    let mine: { x: Float64Array; h: readonly Float64Array[] } = {
      x: Float64Array.from(normals(3, 0, 0, 8)),
      h: [],
    };
    let theirs = { x: [...mine.x], h: [] as number[][] };
    for (const step of steps) {
      const z = normals(3, 1, step.index, 8);
      mine = affineStep(step, mine, (x) => x.map((v) => Math.sin(v + step.t)), z);
      theirs = applyStep(step, theirs, (v) => Math.sin(v + step.t), (j) => z[j]!); // prettier-ignore
    }
    theirs.x.forEach((v, i) => expect(mine.x[i]).toBeCloseTo(v, 9));
  });
});

describe('one jump', () => {
  it.each([10, 20, 100])(
    '%i steps land on 1 - alphaBar within 4 standard errors; added deviations do not',
    (n) => {
      const alphaBar = jump.stridedAlphaBar(n);
      const independent = new Float32Array(jump.COUNT).fill(0.6);
      const again = independent.slice();
      for (let k = 1; k <= n; k++) {
        jump.smallStep(independent, jump.betaAt(alphaBar, k), normals(1, 1, k, jump.COUNT));
        jump.smallStep(again, jump.betaAt(alphaBar, k), normals(1, 1, 0, jump.COUNT));
        const wanted = 1 - alphaBar[k - 1]!;
        const error = jump.errorOfVariance(wanted, jump.COUNT);
        const { mean, variance } = jump.momentsOf(independent);
        expect(Math.abs(variance - wanted)).toBeLessThan(4 * error);
        expect(Math.abs(mean - 0.6 * Math.sqrt(alphaBar[k - 1]!))).toBeLessThan(
          4 * Math.sqrt(wanted / jump.COUNT),
        );
        if (k > 2) expect(jump.momentsOf(again).variance - wanted).toBeGreaterThan(40 * error);
      }
      const added = jump.addedDeviations(alphaBar).at(-1)!;
      expect(jump.momentsOf(again).variance / added ** 2).toBeCloseTo(1, 1);
    },
  );
});

describe('schedules', () => {
  const tables = { linear: tableOf('linear'), cosine: tableOf('cosine'), sigmoid: tableOf('sigmoid') };
  it('equal destruction at different t: the numbers worked out by hand', () => {
    // The first timestep below the level; ours is the nearest, so that one or the one before.
    for (const [name, level, t] of [
      ['linear', 0.5, 259],
      ['cosine', 0.5, 496],
      ['linear', 0.01, 673],
      ['cosine', 0.01, 935],
    ] as const) {
      expect(tables[name].findIndex((ab) => ab < level)).toBe(t);
      expect([t - 1, t]).toContain(timestepFor(tables[name], level));
    }
  });
  it('locked, the three have one alphaBar; unlocked, one t', () => {
    for (const t of [50, 300, 496, 700, 900]) {
      const at = standing(tables, t, true);
      for (const name of ['linear', 'sigmoid'] as const)
        expect(Math.abs(tables[name][at[name]]! / tables.cosine[t]! - 1)).toBeLessThan(0.02);
      expect(standing(tables, t, false)).toEqual({ linear: t, cosine: t, sigmoid: t });
    }
  });
});

describe('q and p', () => {
  const steps = makeSteps(cosine, { scheduler: 'ddpm', timesteps: qp.denserTimesteps(1000, 16) });
  const x0 = normals(1, 0, 0, 1024).map((v) => Math.tanh(v));
  const guess = x0.map((v, i) => v + 0.1 * Math.sin(i));
  const byDraws = (mq: Float32Array, vq: number, mp: Float32Array, vp: number, n: number, seed: number) =>
    qp.meanOfDraws(Array.from({ length: n }, (_, k) => qp.logRatio(mq, vq, mp, vp, seed, k)));

  it.each([2, 8, 13])('step %i: the closed form is what draws of q say, for both variances', (i) => {
    const step = steps[i]!;
    const x = normals(2, 0, 0, 1024);
    const { small, large } = qp.variancesOf(cosine, step);
    const [q, p] = [qp.meanOf(step, x, x0), qp.meanOf(step, x, guess)];
    for (const v of [small, large]) {
      const closed = qp.klTotal(q, small, p, v);
      expect(closed).toBeGreaterThan(0);
      const drawn = byDraws(q, small, p, v, 200, 5);
      expect(Math.abs(drawn.mean - closed)).toBeLessThan(4 * drawn.error);
    }
  });
  it('within 1 percent, where a guess is far enough off for 2,000 draws to tell', () => {
    const far = x0.map((v, i) => v + 3 * Math.sin(i));
    const step = steps[13]!;
    const x = normals(2, 0, 0, 1024);
    const { small, large } = qp.variancesOf(cosine, step);
    const [q, p] = [qp.meanOf(step, x, x0), qp.meanOf(step, x, far)];
    for (const v of [small, large]) {
      const closed = qp.klTotal(q, small, p, v);
      const drawn = byDraws(q, small, p, v, 2000, 6);
      expect(4 * drawn.error).toBeLessThan(0.01 * closed); // the draws can tell
      expect(Math.abs(drawn.mean / closed - 1)).toBeLessThan(0.01);
    }
  });
  it('q’s mean and variance are the posterior of two Gaussians, by numeric integration', () => {
    const step = steps[9]!;
    const { small } = qp.variancesOf(cosine, step);
    const ab = (t: number): number => tableOf('cosine')[t]!;
    const [at, to] = [ab(step.t), ab(step.tPrev)];
    const [pixel, xt] = [0.4, -0.3];
    let [mass, mean, square] = [0, 0, 0];
    for (let i = -40000; i <= 40000; i++) {
      const y = i / 5000;
      const prior = -((y - Math.sqrt(to) * pixel) ** 2) / (2 * (1 - to));
      const step1 = -((xt - Math.sqrt(at / to) * y) ** 2) / (2 * (1 - at / to));
      const w = Math.exp(prior + step1);
      mass += w;
      mean += w * y;
      square += w * y * y;
    }
    mean /= mass;
    const [own] = qp.meanOf(step, Float32Array.of(xt), Float32Array.of(pixel));
    expect(own).toBeCloseTo(mean, 5);
    expect(square / mass - mean ** 2).toBeCloseTo(small, 6);
  });
  it('probabilities of the decoder sum to 1 over the 256 values', () => {
    for (const mean of [-1.02, -0.31, 0, 0.97]) {
      let sum = 0;
      for (let k = 0; k < 256; k++) sum += Math.exp(-qp.decoderTerm(Float32Array.of((k / 255) * 2 - 1), Float32Array.of(mean), 0.01)); // prettier-ignore
      expect(sum).toBeCloseTo(1, 4);
    }
    expect(qp.between(5, 6)).toBeCloseTo(2.8566e-7, 10);
    expect(qp.between(-6, -5)).toBe(qp.between(5, 6));
  });
});

describe('lenses', () => {
  it('an error in epsilon is 157 times as large in x0Hat at the noisy end of linear, 20,291 times of cosine', () => {
    expect(amplification('epsilon', tableOf('linear')[999]!).x0Hat).toBeCloseTo(157.4, 0);
    expect(Math.round(amplification('epsilon', tableOf('cosine')[999]!).x0Hat)).toBe(20291);
    expect(amplification('sample', 0.3).x0Hat).toBe(1);
  });
  it.each([0, 1, 300, 999])(
    't = %i: x_t is put together again from x0Hat and epsHat; mu is the posterior mean',
    (t) => {
      const x = normals(4, 0, 0, 64);
      const m = normals(5, 0, 0, 64);
      const seen = lensesAt(linear, t, x, m, false);
      const ab = tableOf('linear')[t]!;
      seen.x0Hat.forEach((x0, i) => {
        expect(Math.abs(Math.sqrt(ab) * x0 + Math.sqrt(1 - ab) * seen.epsHat[i]! - x[i]!)).toBeLessThan(1e-4);
        expect(seen.epsHat[i]).toBeCloseTo(m[i]!, 3);
        expect(seen.update[i]).toBeCloseTo(seen.mean[i]! - x[i]!, 5);
      });
      const clipped = lensesAt(linear, t, x, m, true);
      expect(Math.max(...clipped.x0Hat.map(Math.abs))).toBeLessThanOrEqual(1);
      expect(clipped.outside).toBe(seen.x0Hat.filter((v) => Math.abs(v) > 1).length / 64);
    },
  );
});

it.each([linear, cosine])('eta = 1 on the full list is DDPM with beta-tilde (fixed_small)', (config) => {
  expect(etaOneAgainstDdpm(config, 1000)).toBeLessThan(1e-9);
  expect(etaOneAgainstDdpm(config, 20)).toBeLessThan(1e-9);
  // And the measure sees a difference where there is one.
  const [small, large] = variancesOf(config, 20).map((v) => [v.small, v.large])[5]!;
  expect(large! - small!).toBeGreaterThan(1e-3);
});

describe('variances', () => {
  it('beta-tilde is 0.45 of beta at t = 1, 0.86 at 10, 0.98 at 100, of the linear schedule', () => {
    const all = variancesOf(linear, 1000);
    const share = (t: number): number => {
      const row = all.find((v) => v.t === t)!;
      return row.small / row.large;
    };
    expect(share(1)).toBeCloseTo(0.45, 1);
    expect(share(10)).toBeCloseTo(0.86, 1);
    expect(share(100)).toBeCloseTo(0.98, 1);
  });
  it('v goes from beta-tilde to beta in the logarithm', () => {
    const row = variancesOf(cosine, 50)[20]!;
    expect(between(row, -1)).toBeCloseTo(row.small, 12);
    expect(between(row, 1)).toBeCloseTo(row.large, 12);
    expect(between(row, 0)).toBeCloseTo(Math.sqrt(row.small * row.large), 12);
  });
});

describe('the mixture', () => {
  it('the score is the slope of log density, by finite differences', () => {
    const at = (x: number, y: number) => Math.log(density(PARTS, 0.8, 0.6, x, y));
    for (const [x, y] of [[0.1, 0.4], [-1.2, 0.3], [0.9, -0.8]] as const) {
      const [u, v] = score(PARTS, 0.8, 0.6, x, y);
      expect(u).toBeCloseTo((at(x + 1e-4, y) - at(x - 1e-4, y)) / 2e-4, 5);
      expect(v).toBeCloseTo((at(x, y + 1e-4) - at(x, y - 1e-4)) / 2e-4, 5);
    }
  }); // prettier-ignore
  it.each(['ddpm', 'ddim', 'heun', 'dpmpp-2m', 'euler-ancestral'] as const)(
    '%s: the hills hold their weights within 2 percent',
    (scheduler) => {
      let last = new Float64Array();
      for (const { x } of runPoints(PARTS, { scheduler, steps: 100 }, 1, POINTS))
        last = x as Float64Array<ArrayBuffer>;
      shares(PARTS, last).forEach((share, i) =>
        expect(Math.abs(share - PARTS[i]!.weight)).toBeLessThan(0.02),
      );
    },
  );
});

describe('inside a step', () => {
  it('the numbers shown are those of the packed step', () => {
    for (const scheduler of ['ddpm', 'ddim'] as const)
      for (const step of makeSteps(cosine, { scheduler, steps: 10 })) {
        const n = unpackStep(packStep(step, 1, 0));
        const f = Math.fround;
        expect(n).toEqual({
          x0_x: f(step.x0Hat.x), x0_m: f(step.x0Hat.modelOutput), clip: 1, sigma: f(step.sigma), guidance: 1, index: step.index,
          x: f(step.next.x!), x0Hat: f(step.next.x0Hat!), m: 0,
        }); // prettier-ignore
      }
  });
  it('the copied Python, as diffusers ran it (tests/fixtures/make/views.py), gives the same step', () => {
    const runs = JSON.parse(readFileSync(new URL('../fixtures/views.json', import.meta.url), 'utf8')) as { name: string; sha256: string; difference: number }[]; // prettier-ignore
    const texts = JSON.parse(execFileSync('node', [new URL('../fixtures/make/views.mjs', import.meta.url).pathname], { encoding: 'utf8' })) as { name: string; sha256: string }[]; // prettier-ignore
    // The text that was executed is the text that the view gives today.
    expect(runs.map(({ name, sha256 }) => ({ name, sha256 }))).toEqual(texts.map(({ name, sha256 }) => ({ name, sha256 }))); // prettier-ignore
    expect(runs).toHaveLength(27);
    for (const { name, difference } of runs) expect(difference, name).toBeLessThan(2e-6);
  });
});

/**
 * One jump equals many small steps: q(x_t | x_{t-1}) iterated on a cloud of draws, beside one draw of q(x_t | x_0)
 * (DDPM eq. 2 and 4). With the same noise in every step standard deviations would add, and do, and miss.
 */

import { parseSchedulerConfig } from '../../schedule/config.ts';
import { normals, STREAM_X_T, STREAM_Z } from '../../schedule/noise.ts';
import { makeSchedule } from '../../schedule/schedule.ts';
import type { View } from './view.ts';
import { nextFrame } from '../../session/pace.ts';
import { choice, seedControl, slider, toggle } from './controls.ts';
import { latest, soon } from './work.ts';
import { mountFrame, type Frame } from './frame.ts';
import { show } from './text.ts';
import { plot } from './plot.ts';

export const COUNT = 20_000;
const BINS = 64;

/** alphaBar after each of n steps: entry k - 1 after k steps; DDPM's linear schedule of 1,000, in n strides. */
export function stridedAlphaBar(n: number): number[] {
  const { alphaBar, T } = makeSchedule(parseSchedulerConfig({}, 'the lecture'));
  return Array.from({ length: n }, (_, k) => alphaBar[Math.round(((k + 1) * T) / n) - 1]!);
}

export interface Moments {
  readonly mean: number;
  readonly variance: number;
}

export function momentsOf(x: ArrayLike<number>): Moments {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]!;
  const mean = sum / x.length;
  let square = 0;
  for (let i = 0; i < x.length; i++) square += (x[i]! - mean) ** 2;
  return { mean, variance: square / (x.length - 1) };
}

/** One small step of the whole cloud, in place: x_t = sqrt(1 - beta) x_{t-1} + sqrt(beta) z. */
export function smallStep(x: Float32Array, beta: number, z: Float32Array): void {
  const [keep, add] = [Math.sqrt(1 - beta), Math.sqrt(beta)];
  for (let i = 0; i < x.length; i++) x[i] = keep * x[i]! + add * z[i]!;
}

/** beta of step k, 1 to n. */
export const betaAt = (alphaBar: readonly number[], k: number): number =>
  1 - alphaBar[k - 1]! / (alphaBar[k - 2] ?? 1);

/** Standard error of the variance of `count` normal draws with variance v. */
export const errorOfVariance = (v: number, count: number): number => v * Math.sqrt(2 / (count - 1));

/** Standard deviations where all steps add the same z: s_t = sqrt(1 - beta) s_{t-1} + sqrt(beta). */
export function addedDeviations(alphaBar: readonly number[]): number[] {
  let s = 0;
  return alphaBar.map((_, i) => {
    const beta = betaAt(alphaBar, i + 1);
    return (s = Math.sqrt(1 - beta) * s + Math.sqrt(beta));
  });
}

interface Walk {
  readonly n: number;
  readonly alphaBar: readonly number[];
  readonly reach: number;
  /** Of the cloud after k steps, k = 0 ... as far as computed. */
  readonly moments: Moments[];
  readonly histograms: Float64Array[];
}

/** Density in each of BINS bins from -reach to reach. */
function histogram(x: Float32Array, reach: number): Float64Array {
  const out = new Float64Array(BINS);
  const scale = BINS / (2 * reach);
  for (let i = 0; i < x.length; i++) {
    const bin = Math.floor((x[i]! + reach) * scale);
    if (bin >= 0 && bin < BINS) out[bin]! += scale / x.length;
  }
  return out;
}

function build(frame: Frame): void {
  let walk: Walk | null = null;
  let jumpOf: { readonly key: string; moments: Moments; histogram: Float64Array } | null = null;

  const size = choice(
    frame,
    {
      name: 'steps',
      label: 'The way down in',
      values: [
        ['10', '10 steps'],
        ['20', '20'],
        ['100', '100'],
        ['1000', '1,000'],
      ],
      value: '20',
    },
    (n) => {
      time.rescale(Number(n));
      again();
    },
  );
  const time = slider(
    frame,
    { name: 't', label: 'After step t', min: 0, max: 20, value: 10, format: (k) => `${k} of ${size.value}` },
    () => redraw(),
  );
  const x0 = slider(
    frame,
    {
      name: 'x0',
      label: 'The pixel x₀',
      min: -1,
      max: 1,
      step: 0.05,
      value: 0.6,
      format: (v) => v.toFixed(2),
    },
    () => again(),
  );
  const same = toggle(
    frame,
    { name: 'same', label: 'Add standard deviations instead (the same z in every step)' },
    () => again(),
  );
  const seed = seedControl(frame, 1, () => again());

  const run = latest(frame, async (signal) => {
    const n = Number(size.value);
    const alphaBar = stridedAlphaBar(n);
    const spread = same.value ? Math.max(...addedDeviations(alphaBar)) : 1;
    const own: Walk = { n, alphaBar, reach: 4 * spread, moments: [], histograms: [] };
    walk = own;
    const cloud = new Float32Array(COUNT).fill(x0.value);
    const once = normals(seed.value, STREAM_Z, 0, COUNT);
    const note = (): void => {
      own.moments.push(momentsOf(cloud));
      own.histograms.push(histogram(cloud, own.reach));
    };
    note();
    let since = performance.now();
    for (let k = 1; k <= n; k++) {
      const z = same.value || k === 1 ? once : normals(seed.value, STREAM_Z, k - 1, COUNT);
      smallStep(cloud, betaAt(alphaBar, k), z);
      note();
      if (performance.now() - since > 24) {
        frame.progress(`Step ${k} of ${n}, ${COUNT.toLocaleString('en')} draws`, k / n);
        redraw();
        await nextFrame();
        if (signal.aborted) return;
        since = performance.now();
      }
    }
    redraw();
  });
  const again = (): void => run();

  /** The one jump to step k, of its own noise. */
  function jump(k: number): { key: string; moments: Moments; histogram: Float64Array } {
    const { alphaBar, reach } = walk!;
    const key = [k, size.value, x0.value, seed.value, reach].join();
    if (jumpOf?.key === key) return jumpOf;
    const ab = alphaBar[k - 1] ?? 1;
    const [a, s] = [Math.sqrt(ab), Math.sqrt(1 - ab)];
    const drawn = normals(seed.value, STREAM_X_T, k, COUNT).map((e) => a * x0.value + s * e);
    return (jumpOf = { key, moments: momentsOf(drawn), histogram: histogram(drawn, reach) });
  }

  const clouds = plot(
    frame,
    { title: 'The 20,000 draws now: many small steps (bars), one jump (line)' },
    (P) => {
      if (!walk) return {};
      const k = Math.min(time.value, walk.moments.length - 1);
      const { reach } = walk;
      const width = (2 * reach) / BINS;
      const at = (i: number): number => -reach + i * width;
      const ab = walk.alphaBar[k - 1] ?? 1;
      const density = (x: number): number =>
        Math.exp(-((x - Math.sqrt(ab) * x0.value) ** 2) / (2 * (1 - ab))) / Math.sqrt(2 * Math.PI * (1 - ab));
      const fine = Array.from({ length: 200 }, (_, i) => -reach + (2 * reach * i) / 199);
      const bars = [...walk.histograms[k]!].map((y, i) => ({ x1: at(i), x2: at(i + 1), y }));
      const line = [...jump(k).histogram].map((y, i) => ({ x: at(i) + width / 2, y }));
      const top = Math.max(...bars.map((b) => b.y), k > 0 ? density(Math.sqrt(ab) * x0.value) : 0);
      return {
        x: { label: 'value of the pixel xₜ →', domain: [-reach, reach] },
        y: { label: '↑ density', domain: [0, Math.min(top * 1.08, 6)], ticks: 4, clamp: true },
        marks: [
          P.rectY(bars, {
            x1: 'x1',
            x2: 'x2',
            y: 'y',
            fill: 'var(--v-q)',
            fillOpacity: 0.35,
            inset: 0.5,
            className: 'sym-walk',
          }),
          P.line(line, { x: 'x', y: 'y', stroke: 'var(--v-xt)', strokeWidth: 1.5, curve: 'step', className: 'sym-jump' }), // prettier-ignore
          k > 0 ? P.line(fine.map((x) => ({ x, y: density(x) })), { x: 'x', y: 'y', stroke: 'var(--v-ink)', strokeDasharray: '4 3', className: 'sym-ab' }) : null, // prettier-ignore
          P.ruleY([0], { stroke: 'var(--v-edge)' }),
        ],
      };
    },
  );

  const stairs = plot(
    frame,
    { title: 'The variance after every step, measured, and where it has to land: 1 − ᾱ' },
    (P) => {
      if (!walk) return {};
      const { n, alphaBar, moments } = walk;
      const measured = moments.map(({ variance }, k) => ({ k, v: variance }));
      const theory = [0, ...alphaBar.map((ab) => 1 - ab)].map((v, k) => ({ k, v, e: 4 * errorOfVariance(v, COUNT) })); // prettier-ignore
      const k = Math.min(time.value, moments.length - 1);
      const top = Math.max(1.12, ...(same.value ? measured.map((m) => m.v) : []));
      return {
        x: { label: 'step t →', domain: [0, n] },
        y: { label: '↑ variance', domain: [0, top], ticks: 5 },
        marks: [
          P.areaY(theory, { x: 'k', y1: (d: { v: number; e: number }) => d.v - d.e, y2: (d: { v: number; e: number }) => d.v + d.e, fill: 'var(--v-ink)', fillOpacity: 0.12 }), // prettier-ignore
          P.line(theory, {
            x: 'k',
            y: 'v',
            stroke: 'var(--v-ink)',
            strokeDasharray: '4 3',
            className: 'sym-ab',
          }),
          n <= 20
            ? P.line(measured, { x: 'k', y: 'v', stroke: 'var(--v-q)', strokeWidth: 2, curve: 'step-after', className: 'sym-var' }) // prettier-ignore
            : P.line(measured, {
                x: 'k',
                y: 'v',
                stroke: 'var(--v-q)',
                strokeWidth: 2,
                className: 'sym-var',
              }),
          P.dot([measured[k]!], { x: 'k', y: 'v', r: 5, fill: 'var(--v-q)', stroke: 'var(--v-card)', className: 'sym-walk' }), // prettier-ignore
          P.ruleY([0], { stroke: 'var(--v-edge)' }),
        ],
      };
    },
  );

  const redraw = soon(frame, () => {
    if (!walk || walk.moments.length === 0) return;
    clouds.draw();
    stairs.draw();
    const k = Math.min(time.value, walk.moments.length - 1);
    const ab = walk.alphaBar[k - 1] ?? 1;
    const beta = k > 0 ? betaAt(walk.alphaBar, k) : 0;
    const { mean, variance } = walk.moments[k]!;
    const before = walk.moments[k - 1]?.variance ?? 0;
    const one = jump(k).moments;
    const error = errorOfVariance(1 - ab, COUNT);
    const off = k > 0 ? (variance - (1 - ab)) / error : 0;
    frame.symbol('walk', `variance ${show(variance)}`);
    frame.symbol('jump', `variance ${show(one.variance)}`);
    frame.symbol('beta', show(beta));
    frame.symbol('ab', show(ab));
    frame.symbol('var', show(variance));
    frame.symbol('prev', show(before));
    frame.fact('walk', 'Variance after many small steps', show(variance, 5));
    frame.fact('jump', 'after one jump', show(one.variance, 5));
    frame.fact('wanted', '1 − ᾱ', show(1 - ab, 5));
    frame.fact('off', 'apart, in standard errors', k > 0 ? show(off, 2) : '0');
    frame.fact('means', 'means: steps, jump, √ᾱ x₀', [mean, one.mean, Math.sqrt(ab) * x0.value].map((v) => v.toFixed(3).replace('-', '−')).join(', ')); // prettier-ignore
    const verdict =
      Math.abs(off) < 4
        ? `the two clouds are the same up to chance (${show(Math.abs(off), 2)} standard errors apart)`
        : `the small steps miss: their variance is ${show(variance / (1 - ab), 3)} times too large`;
    frame.say(
      `After ${k} of ${walk.n} steps a pixel that was ${x0.value.toFixed(2)} is spread around ${mean.toFixed(2)} with variance ` +
        `${show(variance)}; one jump gives ${show(one.variance)}, and 1 − ᾱ is ${show(1 - ab)}: ${verdict}.`.replace(/-/g, '−'), // prettier-ignore
    );
  });
  again();
}

export const view: View = {
  name: 'one-jump',
  title: 'One jump equals many small steps',
  question: 'Why can we jump straight to any noise level?',
  answer:
    'Independent Gaussian noises add by their variances, and a scaled Gaussian stays one. So t small steps end in a single Gaussian, with variance 1 − ᾱ_t, and one draw reaches it. Adding standard deviations would be right only if every step used the same noise again, and that cloud flies apart.',
  asks: false,
  mount: (host, context) =>
    mountFrame(
      host,
      context,
      view,
      {
        text: [
          'Every small step shrinks a pixel a little and adds a little fresh noise. Here 20,000 copies of one pixel take the steps, one after the other; beside them another 20,000 jump at once. Move t and watch both clouds: they cannot be told apart.',
        ],
        formula: [
          String.raw`\sym{walk}{q(x_t\mid x_{t-1})}=\N\bigl(\sqrt{1-\sym{beta}{\beta_t}}\,x_{t-1},\ \sym{beta}{\beta_t} I\bigr)`,
          String.raw`\sym{jump}{q(x_t\mid x_0)}=\N\bigl(\sqrt{\sym{ab}{\ab_t}}\,x_0,\ (1-\sym{ab}{\ab_t}) I\bigr)`,
          String.raw`\sym{var}{v_t}=(1-\sym{beta}{\beta_t})\,\sym{prev}{v_{t-1}}+\sym{beta}{\beta_t}\ \longrightarrow\ 1-\sym{ab}{\ab_t}`,
        ],
        symbols: {
          walk: { tex: 'q(x_t\\mid x_{t-1})', what: 'small steps: the bars', colour: 'q' },
          jump: { tex: 'q(x_t\\mid x_0)', what: 'one jump: the line', colour: 'xt' },
          beta: { tex: '\\beta_t', what: 'noise added by this step' },
          ab: { tex: '\\ab_t', what: 'what is left of the pixel’s variance; dashed' },
          var: { tex: 'v_t', what: 'variance now: the stairs', colour: 'q' },
          prev: { tex: 'v_{t-1}', what: 'variance one step before' },
        },
        presets: [
          { label: 'Ten big steps', params: { steps: '10', t: '10' } },
          { label: 'All 1,000 steps', params: { steps: '1000', t: '500' } },
          { label: 'The common mistake', params: { same: '1', t: '20' } },
        ],
      },
      build,
    ),
};

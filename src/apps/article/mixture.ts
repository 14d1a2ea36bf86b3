/**
 * A mixture of Gaussians in the plane, where density, score and denoiser are known at every t, through the same
 * makeSteps as the networks: what a sampler does, apart from what a network gets wrong.
 */

import { parseSchedulerConfig } from '../../schedule/config.ts';
import { makeSteps } from '../../schedule/make_steps.ts';
import type { RunOptions } from '../../schedule/run_options.ts';
import type { SchedulerName } from '../../schedule/samplers.ts';
import { normals, STREAM_X_T, STREAM_Z } from '../../schedule/noise.ts';
import type { Step } from '../../schedule/step.ts';
import { affineStep, aOf, type State } from './affine.ts';
import type { View } from './view.ts';
import { h } from '../../ui/dom.ts';
import { reducedMotion } from '../../ui/motion.ts';
import { nextFrame } from '../../session/pace.ts';
import { button, choice, seedControl, slider } from './controls.ts';
import { latest, soon } from './work.ts';
import { mountFrame, type Frame } from './frame.ts';
import { show } from './text.ts';
import { plot } from './plot.ts';

export const COUNT = 4000;
export const config = parseSchedulerConfig({ clip_sample: false }, 'the mixture');

export interface Part {
  readonly weight: number;
  readonly mean: readonly [number, number];
  readonly sd: number;
}
export const PARTS: readonly Part[] = [
  { weight: 0.5, mean: [-0.9, -0.5], sd: 0.2 },
  { weight: 0.3, mean: [0.8, -0.7], sd: 0.15 },
  { weight: 0.2, mean: [0.2, 1], sd: 0.25 },
];

/** log density of each part, weighted, at the level (a, s). */
function logs(parts: readonly Part[], a: number, s: number, x: number, y: number): number[] {
  return parts.map(({ weight, mean, sd }) => {
    const variance = (a * sd) ** 2 + s * s;
    const square = (x - a * mean[0]) ** 2 + (y - a * mean[1]) ** 2;
    return Math.log(weight / (2 * Math.PI * variance)) - square / (2 * variance);
  });
}

export function density(parts: readonly Part[], a: number, s: number, x: number, y: number): number {
  return logs(parts, a, s, x, y).reduce((sum, l) => sum + Math.exp(l), 0);
}

/** E[x_0 | x_t]: what a perfect network would know. */
export function denoise(
  parts: readonly Part[],
  a: number,
  s: number,
  x: number,
  y: number,
): [number, number] {
  const all = logs(parts, a, s, x, y);
  const top = Math.max(...all);
  let [total, u, v] = [0, 0, 0];
  parts.forEach(({ mean, sd }, k) => {
    const p = Math.exp(all[k]! - top);
    const pull = (a * sd * sd) / ((a * sd) ** 2 + s * s);
    total += p;
    u += p * (mean[0] + pull * (x - a * mean[0]));
    v += p * (mean[1] + pull * (y - a * mean[1]));
  });
  return [u / total, v / total];
}

/** grad log p_t = (a E[x_0 | x_t] - x) / s^2 = -eps / s (Tweedie). */
export function score(parts: readonly Part[], a: number, s: number, x: number, y: number): [number, number] {
  const [u, v] = denoise(parts, a, s, x, y);
  return [(a * u - x) / (s * s), (a * v - y) / (s * s)];
}

/** The exact epsilon of points (x0, y0, x1, y1, ...) at a step. */
export const exactNetwork =
  (parts: readonly Part[]) =>
  (x: Float64Array, step: Step): Float64Array => {
    const a = aOf(step);
    const s = Math.sqrt(Math.max(1 - a * a, 0));
    const out = new Float64Array(x.length);
    if (s === 0) return out; // at the clean end there is no noise to see
    for (let i = 0; i < x.length; i += 2) {
      const [u, v] = denoise(parts, a, s, x[i]!, x[i + 1]!);
      out[i] = (x[i]! - a * u) / s;
      out[i + 1] = (x[i + 1]! - a * v) / s;
    }
    return out;
  };

/** Every state of a run of `count` points, x_T first. Yields after each step. */
export function* runPoints(
  parts: readonly Part[],
  run: RunOptions,
  seed: number,
  count: number,
): Generator<{ readonly x: Float64Array; readonly steps: readonly Step[] }, void, void> {
  const steps = makeSteps(config, run);
  const network = exactNetwork(parts);
  let state: State = { x: Float64Array.from(normals(seed, STREAM_X_T, 0, 2 * count)), h: [] };
  yield { x: state.x, steps };
  for (const step of steps) {
    const z = step.sigma > 0 ? normals(seed, STREAM_Z, step.index, 2 * count) : null;
    state = affineStep(step, state, network, z);
    yield { x: state.x, steps };
  }
}

/** Share of the points that belong to each part: to the one with the largest posterior at (a, s). */
export function shares(parts: readonly Part[], x: Float64Array, a = 1, s = 0): number[] {
  const counts = parts.map(() => 0);
  for (let i = 0; i < x.length; i += 2) {
    const all = logs(parts, a, s, x[i]!, x[i + 1]!);
    counts[all.indexOf(Math.max(...all))]!++;
  }
  return counts.map((c) => c / (x.length / 2));
}

const REACH = 2.6;
const SIDE = 440;
const PATHS = 4;
const SAMPLERS = {
  ddim: { text: 'ODE: DDIM', run: { scheduler: 'ddim' } },
  heun: { text: 'ODE: Heun', run: { scheduler: 'heun' } },
  'dpmpp-2m': { text: 'ODE: DPM++ 2M', run: { scheduler: 'dpmpp-2m' } },
  ddpm: { text: 'SDE: DDPM', run: { scheduler: 'ddpm' } },
  ancestral: { text: 'SDE: Euler ancestral', run: { scheduler: 'euler-ancestral' } },
} as const satisfies Record<string, { text: string; run: { scheduler: SchedulerName } }>;

function build(frame: Frame): void {
  let track: Float64Array[] = [];
  let steps: readonly Step[] = [];
  let playing = 0;
  frame.after(() => cancelAnimationFrame(playing));

  const sampler = choice(
    frame,
    {
      name: 'sampler',
      label: 'Sampler',
      values: Object.entries(SAMPLERS).map(([k, { text }]) => [k, text] as [keyof typeof SAMPLERS, string]),
      value: 'ddpm',
    },
    () => again(),
  );
  const many = slider(frame, { name: 'steps', label: 'Steps', min: 2, max: 200, value: 100 }, () => again());
  const seed = seedControl(frame, 1, () => run());
  const at = slider(
    frame,
    {
      name: 'at',
      label: 'Evaluation',
      min: 0,
      max: 100,
      value: 92,
      format: (k) => where(k),
    },
    () => redraw(),
  );
  const play = button(frame, 'Play', () => {
    cancelAnimationFrame(playing);
    if (reducedMotion()) {
      at.value = Number(at.input.max); // no motion by itself: to the end at once
      redraw();
      return;
    }
    at.value = 0;
    let last = 0;
    const tick = (now: number): void => {
      if (now - last > 40) {
        last = now;
        at.value = Math.min(at.value + Math.max(1, Math.round(Number(at.input.max) / 100)), Number(at.input.max)); // prettier-ignore
        redraw();
      }
      if (at.value < Number(at.input.max)) playing = requestAnimationFrame(tick);
    };
    playing = requestAnimationFrame(tick);
  });
  const where = (k: number): string =>
    `${k} of ${at.input.max}${k < steps.length ? `, t = ${Math.round(steps[k]!.t)}` : ''}`;
  /** The level of the state after k evaluations; inside a step of several evaluations that of the next look. */
  const levelAt = (k: number): { a: number; s: number } =>
    k >= steps.length ? { a: 1, s: 0 } : { a: aOf(steps[k]!), s: Math.sqrt(1 - aOf(steps[k]!) ** 2) };

  const layer = (sym: string, label: string): HTMLCanvasElement =>
    h('canvas', { width: SIDE, height: SIDE, class: 'dv-layer', 'data-sym': sym, role: 'img', 'aria-label': label }); // prettier-ignore
  const layers = {
    density: layer('density', 'Density p_t'),
    score: layer('score', 'Score field'),
    paths: layer('sigma', 'Paths of four points'),
    points: layer('x', 'Points'),
  };
  frame.stage.append(
    h(
      'figure',
      {},
      h('figcaption', {}, 'The exact density at this noise level (shade), its score (arrows), 4,000 sampled points, four paths'), // prettier-ignore
      h('div', { class: 'dv-layers' }, ...Object.values(layers)),
    ),
  );

  const options = (): RunOptions => ({ ...SAMPLERS[sampler.value].run, steps: many.value });
  const again = (): void => {
    at.rescale(makeSteps(config, options()).length);
    run();
  };
  const run = latest(frame, async (signal) => {
    cancelAnimationFrame(playing);
    const states: Float64Array[] = [];
    let since = performance.now();
    for (const { x, steps: list } of runPoints(PARTS, options(), seed.value, COUNT)) {
      states.push(x);
      if (performance.now() - since > 24) {
        frame.progress(`Evaluation ${states.length - 1} of ${list.length}`, states.length / list.length);
        await nextFrame();
        if (signal.aborted) return;
        since = performance.now();
      }
      steps = list;
    }
    track = states;
    at.format(where); // the timesteps are known now
    redraw();
  });

  const pixel = (v: number): number => ((v + REACH) / (2 * REACH)) * SIDE;
  const coordinate = (p: number): number => (p / SIDE) * 2 * REACH - REACH;

  function drawDensity(a: number, s: number): void {
    const context = layers.density.getContext('2d')!;
    const n = 110;
    const small = h('canvas', { width: n, height: n });
    const image = small.getContext('2d')!.createImageData(n, n);
    const values = new Float64Array(n * n);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++)
        values[i * n + j] = density(PARTS, a, s, coordinate(((j + 0.5) * SIDE) / n), -coordinate(((i + 0.5) * SIDE) / n)); // prettier-ignore
    const top = Math.max(...values);
    const [r, g, b] = rgb('--v-q');
    values.forEach((v, i) => image.data.set([r, g, b, 190 * Math.sqrt(v / top)], i * 4));
    small.getContext('2d')!.putImageData(image, 0, 0);
    context.clearRect(0, 0, SIDE, SIDE);
    context.drawImage(small, 0, 0, SIDE, SIDE);
  }
  const rgb = (name: string): [number, number, number] => {
    const probe = layers.points;
    probe.style.color = `var(${name})`;
    const c = h('canvas', { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true })!;
    c.fillStyle = getComputedStyle(probe).color;
    c.fillRect(0, 0, 1, 1);
    const [r, g, b] = c.getImageData(0, 0, 1, 1).data;
    return [r!, g!, b!];
  };
  const css = (name: string): string => `rgb(${rgb(name).join(' ')})`;

  function drawScore(a: number, s: number): void {
    const context = layers.score.getContext('2d')!;
    context.clearRect(0, 0, SIDE, SIDE);
    if (s < 0.02) return; // the clean density has no field to follow: its score is as steep as its widths are small
    context.strokeStyle = css('--v-eps');
    context.lineWidth = 1.3;
    const n = 15;
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        const [x, y] = [coordinate(((i + 0.5) * SIDE) / n), coordinate(((j + 0.5) * SIDE) / n)];
        const [u, v] = score(PARTS, a, s, x, y);
        const size = Math.hypot(u, v);
        const length = (0.42 * SIDE * Math.tanh(size * 0.5)) / n; // long arrows bend to the cell's size
        const [px, py] = [pixel(x), SIDE - pixel(y)];
        const [dx, dy] = [(u / size) * length, (-v / size) * length];
        context.beginPath();
        context.moveTo(px - dx, py - dy);
        context.lineTo(px + dx, py + dy);
        context.lineTo(px + dx - 0.45 * (dx - dy), py + dy - 0.45 * (dy + dx));
        context.moveTo(px + dx, py + dy);
        context.lineTo(px + dx - 0.45 * (dx + dy), py + dy - 0.45 * (dy - dx));
        context.stroke();
      }
  }

  function drawPoints(k: number): void {
    const context = layers.points.getContext('2d')!;
    context.clearRect(0, 0, SIDE, SIDE);
    context.fillStyle = css('--v-xt');
    const x = track[k]!;
    for (let i = 0; i < x.length; i += 2) context.fillRect(pixel(x[i]!) - 0.7, SIDE - pixel(x[i + 1]!) - 0.7, 1.4, 1.4); // prettier-ignore
    const paths = layers.paths.getContext('2d')!;
    paths.clearRect(0, 0, SIDE, SIDE);
    paths.strokeStyle = css('--v-p');
    paths.fillStyle = css('--v-p');
    paths.lineWidth = 1.1;
    for (let p = 0; p < 2 * PATHS; p += 2) {
      paths.beginPath();
      for (let j = 0; j <= k; j++) {
        const [px, py] = [pixel(track[j]![p]!), SIDE - pixel(track[j]![p + 1]!)];
        if (j) paths.lineTo(px, py);
        else paths.moveTo(px, py);
      }
      paths.stroke();
      paths.beginPath();
      paths.arc(pixel(x[p]!), SIDE - pixel(x[p + 1]!), 3, 0, 7);
      paths.fill();
    }
  }

  const marginal = plot(
    frame,
    { title: 'Seen from below: how the points spread over x, against the exact density' },
    (P) => {
      if (track.length === 0) return {};
      const { a, s } = levelAt(at.value);
      const x = track[at.value]!;
      const bins = 60;
      const counts = new Float64Array(bins);
      for (let i = 0; i < x.length; i += 2) {
        const bin = Math.floor(((x[i]! + REACH) / (2 * REACH)) * bins);
        if (bin >= 0 && bin < bins) counts[bin]! += bins / (2 * REACH) / (x.length / 2);
      }
      const bars = [...counts].map((y, i) => ({
        x1: -REACH + (i * 2 * REACH) / bins,
        x2: -REACH + ((i + 1) * 2 * REACH) / bins,
        y,
      }));
      const line = Array.from({ length: 240 }, (_, i) => {
        const u = -REACH + (2 * REACH * i) / 239;
        const y = PARTS.reduce((sum, { weight, mean, sd }) => {
          const v = (a * sd) ** 2 + s * s;
          return sum + (weight * Math.exp(-((u - a * mean[0]) ** 2) / (2 * v))) / Math.sqrt(2 * Math.PI * v);
        }, 0);
        return { u, y };
      });
      return {
        x: { label: 'x →', domain: [-REACH, REACH] },
        y: { label: '↑ density', ticks: 4 },
        marks: [
          P.rectY(bars, { x1: 'x1', x2: 'x2', y: 'y', fill: 'var(--v-xt)', fillOpacity: 0.4, inset: 0.5, className: 'sym-x' }), // prettier-ignore
          P.line(line, { x: 'u', y: 'y', stroke: 'var(--v-q)', strokeWidth: 2, className: 'sym-density' }),
          P.ruleY([0], { stroke: 'var(--v-edge)' }),
        ],
      };
    },
  );

  const redraw = soon(frame, () => {
    const k = at.value;
    if (!track[k]) return;
    const { a, s } = levelAt(k);
    drawDensity(a, s);
    drawScore(a, s);
    drawPoints(k);
    marginal.draw();
    const found = shares(PARTS, track.at(-1)!);
    found.forEach(
      (share, i) =>
      frame.fact(`weight-${i}`, `${['left', 'right', 'top'][i]} hill holds (should be ${PARTS[i]!.weight * 100} %)`, `${(share * 100).toFixed(1)} %`), // prettier-ignore
    );
    const worst = Math.max(...found.map((share, i) => Math.abs(share - PARTS[i]!.weight)));
    frame.fact('evaluations', 'evaluations', String(steps.length));
    const sigma = steps[Math.min(k, steps.length - 1)]!.sigma;
    const [u, v] = [track[k]![0]!, track[k]![1]!];
    const pair = (p: number, q: number): string => `(${show(p, 3)}, ${show(q, 3)})`;
    frame.symbol('x', pair(u, v));
    frame.symbol('score', s > 0 ? pair(...score(PARTS, a, s, u, v)) : '—');
    frame.symbol('x0', s > 0 ? pair(...denoise(PARTS, a, s, u, v)) : pair(u, v));
    frame.symbol('density', show(density(PARTS, a, s, u, v), 3));
    frame.symbol('a', show(a));
    frame.symbol('s', show(s));
    frame.symbol('sigma', sigma === 0 ? '0' : show(sigma, 3));
    play.textContent = k === 0 || k === track.length - 1 ? 'Play' : 'Play from the start';
    frame.say(
      `After ${k} of ${steps.length} evaluations (√ᾱ = ${show(a, 3)}) 4,000 points lie where the exact density is ${k === 0 ? 'still one round cloud' : a < 0.9 ? 'splitting into three hills' : 'three hills'}. ` +
        `The four paths are ${steps.some((st) => st.sigma > 0) ? 'jagged: each step adds noise (an SDE)' : 'smooth: no noise is added (an ODE)'}. ` +
        `At the end the hills hold ${found.map((f) => `${(f * 100).toFixed(1)} %`).join(', ')} of the points; 50, 30 and 20 % would be exact (worst ${(worst * 100).toFixed(1)} points off).`,
    );
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw, { signal: frame.signal });
  run();
}

export const view: View = {
  name: 'mixture',
  title: 'A toy with the exact answer',
  question: 'What would sampling do with a perfect network?',
  answer:
    'It would draw from the data’s own density. The score points uphill at every noise level; following it with fresh noise (SDE) or without (ODE) moves one round cloud into the three hills, with the right share in each. What is left wrong is the solver’s, from too few steps; everything else that goes wrong in practice is the network’s.',
  asks: false,
  mount: (host, context) =>
    mountFrame(
      host,
      context,
      view,
      {
        text: [
          'Here the data are points in the plane: three hills, with a half, three tenths and a fifth of all points. Of these the noisy density, its slope (the score) and the best guess of the clean point are known exactly, so no network is needed. The points are moved by the very scheduler code that moves the pictures elsewhere on this page.',
        ],
        formula: [
          String.raw`\nabla\log \sym{density}{p_t(x_t)}=\sym{score}{\frac{\sqrt{\ab_t}\,\sym{x0}{\E[x_0\mid x_t]}-x_t}{1-\ab_t}}=-\frac{\hat\varepsilon}{\sym{s}{\sqrt{1-\ab_t}}}`,
          String.raw`\sym{x}{x_{t-1}}=\sqrt{\ab_{t-1}}\,\sym{x0}{\hat x_0}+\sqrt{1-\ab_{t-1}-\sym{sigma}{\sigma_t}^2}\,\hat\varepsilon+\sym{sigma}{\sigma_t}\,z`,
        ],
        symbols: {
          density: { tex: 'p_t', what: 'exact density at the first point; the shade', colour: 'q' },
          score: { tex: '\\nabla\\log p_t', what: 'uphill; the arrows', colour: 'eps' },
          x0: { tex: '\\E[x_0\\mid x_t]', what: 'best guess of the clean point', colour: 'x0' },
          x: { tex: 'x_t', what: 'the first of the points', colour: 'xt' },
          a: { tex: '\\sqrt{\\ab_t}', what: 'scale of the data' },
          s: { tex: '\\sqrt{1-\\ab_t}', what: 'scale of the noise' },
          sigma: { tex: '\\sigma_t', what: 'fresh noise of this step: 0 is the ODE; the paths', colour: 'p' },
        },
        presets: [
          { label: 'ODE, 100 steps', params: { sampler: 'ddim' } },
          { label: 'The hills appear', params: { at: '60' } },
          { label: 'Five steps are too few', params: { sampler: 'ddim', steps: '5' } },
          { label: 'DPM++ in ten', params: { sampler: 'dpmpp-2m', steps: '10' } },
        ],
      },
      build,
    ),
};

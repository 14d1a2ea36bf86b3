/**
 * What q and p are: the posterior of the forward process, which knows x_0, beside the model's step, which does not; their
 * KL, and its sum as the variational bound of this very picture (DDPM eq. 5 to 7 and 13).
 */

import { qSample } from '../../session/latents.ts';
import type { SchedulerConfig } from '../../schedule/config.ts';
import { makeSteps } from '../../schedule/make_steps.ts';
import { noiseLevels } from '../../schedule/noise_levels.ts';
import { normals } from '../../schedule/noise.ts';
import type { Step } from '../../schedule/step.ts';
import type { View, ViewLease } from './view.ts';
import { h } from '../../ui/dom.ts';
import { nextFrame } from '../../session/pace.ts';
import { button, choice, classControl, seedControl, slider } from './controls.ts';
import { latest, soon } from './work.ts';
import { mountFrame, type Frame } from './frame.ts';
import { rich, show } from './text.ts';
import { tensorCanvas } from './picture.ts';
import { plot } from './plot.ts';
import { evaluate, imageOf, modelPicker, peak, sizeOf } from './runs.ts';

/** KL(N(m1, v1) || N(m2, v2)) in nats. */
export const klGaussian = (m1: number, v1: number, m2: number, v2: number): number =>
  0.5 * (Math.log(v2 / v1) + (v1 + (m1 - m2) ** 2) / v2 - 1);

/** Closed form, summed over all pixels. */
export const klTotal = (mq: Float32Array, vq: number, mp: Float32Array, vp: number): number =>
  mq.reduce((sum, m, i) => sum + klGaussian(m, vq, mp[i]!, vp), 0);

/** log q - log p, all pixels, of draw k of q. */
export function logRatio(
  mq: Float32Array,
  vq: number,
  mp: Float32Array,
  vp: number,
  seed: number,
  k: number,
): number {
  // prettier-ignore
  const s = Math.sqrt(vq);
  const z = normals(seed, 7, k, mq.length);
  let log = 0.5 * mq.length * Math.log(vp / vq);
  for (let i = 0; i < mq.length; i++) {
    const noise = s * z[i]!;
    log += (mq[i]! + noise - mp[i]!) ** 2 / (2 * vp) - noise ** 2 / (2 * vq);
  }
  return log;
}

/** Of numbers: their mean, and its standard error. */
export function meanOfDraws(numbers: readonly number[]): { readonly mean: number; readonly error: number } {
  const mean = numbers.reduce((a, b) => a + b, 0) / numbers.length;
  const square = numbers.reduce((sum, v) => sum + (v - mean) ** 2, 0) / Math.max(numbers.length - 1, 1);
  return { mean, error: Math.sqrt(square / numbers.length) };
}

/** n timesteps from T - 1 to 0, closer together towards the clean end, where the bound is paid. */
export const denserTimesteps = (T: number, n: number): number[] => {
  const list = Array.from({ length: n }, (_, i) => Math.round((T - 1) * ((n - 1 - i) / (n - 1)) ** 2));
  return [...new Set(list)];
};

/** Variance of the forward posterior (beta-tilde) and of the model's step, from the step's two levels. */
export function variancesOf(config: SchedulerConfig, step: Step): { small: number; large: number } {
  const level = noiseLevels(config);
  const [at, to] = [level(step.t), level(step.tPrev)];
  const beta = 1 - (at.a / to.a) ** 2;
  return { small: (to.s ** 2 / at.s ** 2) * beta, large: beta };
}

/** Probability of N(0, 1) above x >= 0; relative error below 1.2e-7 (Numerical Recipes, erfcc). */
function above(x: number): number {
  if (x === Infinity) return 0;
  const z = x / Math.SQRT2;
  const t = 1 / (1 + 0.5 * z);
  const series = [1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277]; // prettier-ignore
  const sum = series.reduceRight((total, c) => c + t * total, 0);
  return 0.5 * t * Math.exp(-z * z - 1.26551223 + t * sum);
}

/** Probability of N(0, 1) between two numbers, precise in the tails. */
export const between = (low: number, high: number): number =>
  low >= 0
    ? above(low) - above(high)
    : high <= 0
      ? above(-high) - above(-low)
      : 1 - above(high) - above(-low);

/** -log p(x_0 | x_1) of 8-bit numbers (DDPM eq. 13), in nats; each pixel at most 27.6 (p at least 1e-12). */
export function decoderTerm(x0: Float32Array, mean: Float32Array, sd: number): number {
  return x0.reduce((sum, x, i) => {
    const high = x > 0.999 ? Infinity : (x + 1 / 255 - mean[i]!) / sd;
    const low = x < -0.999 ? -Infinity : (x - 1 / 255 - mean[i]!) / sd;
    return sum - Math.log(Math.max(between(low, high), 1e-12));
  }, 0);
}

/** KL(q(x_T | x_0) || N(0, I)). */
export const priorTerm = (x0: Float32Array, a: number, s: number): number =>
  x0.reduce((sum, x) => sum + klGaussian(a * x, s * s, 0, 1), 0);

/** Means of q and of p at one step, from x_t, x_0 and x0Hat. */
export const meanOf = (
  step: Step,
  x: Float32Array<ArrayBuffer>,
  x0: Float32Array,
): Float32Array<ArrayBuffer> => x.map((v, i) => step.next.x! * v + step.next.x0Hat! * x0[i]!);

interface Draw {
  readonly x: Float32Array<ArrayBuffer>[];
  readonly x0Hat: Float32Array<ArrayBuffer>[];
  /** L_T, the KLs from the noisiest step on, L_0. */
  readonly terms: number[];
}

const MOST_DRAWS = 40_000;

function build(frame: Frame): void {
  let lease: ViewLease | null = null;
  let steps: Step[] = [];
  let draws: Draw[] = [];

  const own = modelPicker(frame, { width: 32, height: 32, channels: 1 }, () => run());
  const digit = classControl(frame, 'any', () => run(), true);
  const many = slider(frame, { name: 'steps', label: 'Steps of the process', min: 6, max: 60, step: 2, value: 16 }, (n) => (at.rescale(n - 1), run())); // prettier-ignore
  const kind = choice(frame, { name: 'variance', label: 'Variance of p', values: [['small', 'β̃: that of q'], ['large', 'β']], value: 'small' }, () => (measure(), redraw())); // prettier-ignore
  const at = slider(frame, { name: 'at', label: 'Step', min: 1, max: 15, value: 8, format: (k) => `${k}, t = ${steps[k - 1]?.t ?? '…'}` }, () => redraw()); // prettier-ignore
  const column = slider(frame, { name: 'x', label: 'Pixel: column', min: 0, max: 31, value: 17 }, () =>
    redraw(),
  );
  const row = slider(frame, { name: 'y', label: 'Pixel: row', min: 0, max: 31, value: 17 }, () => redraw());
  const seed = seedControl(frame, 1, () => run());
  const more = button(frame, 'Two more draws', () => add(), true);

  const strip = h('div', { class: 'dv-strip', style: '--cell: 6.2rem' });
  const pictures = {
    x0: tensorCanvas(strip, { label: 'x_0', sym: 'x0', colour: 'x0' }),
    xt: tensorCanvas(strip, { label: 'x_t', sym: 'xt', colour: 'xt' }),
    q: tensorCanvas(strip, { label: 'mean of q', sym: 'q', colour: 'q' }),
    p: tensorCanvas(strip, { label: 'mean of p', sym: 'p', colour: 'p' }),
    kl: tensorCanvas(strip, { label: 'KL per pixel', sym: 'kl', colour: 'update', palette: 'signed' }),
  };
  frame.stage.append(h('figure', { class: 'dv-wide' }, h('figcaption', {}, ...rich('One step, one draw of x_t: click a pixel')), strip)); // prettier-ignore
  for (const { canvas } of Object.values(pictures)) {
    canvas.style.cursor = 'crosshair';
    canvas.addEventListener('click', (event) => {
      const box = canvas.getBoundingClientRect();
      column.value = Math.floor(((event.clientX - box.left) / box.width) * canvas.width);
      row.value = Math.floor(((event.clientY - box.top) / box.height) * canvas.height);
      redraw();
      frame.changed();
    });
  }

  const vp = (step: Step): number => variancesOf(lease!.model.schedulerConfig, step)[kind.value];
  /** The terms of every draw, in nats, for the variance of now. */
  function measure(): void {
    if (!lease) return;
    const config = lease.model.schedulerConfig;
    const level = noiseLevels(config);
    const x0 = own.picture.data;
    const first = level(steps[0]!.t);
    for (const draw of draws) {
      const kls = steps.slice(0, -1).map((step, i) => klTotal(meanOf(step, draw.x[i]!, x0), variancesOf(config, step).small, meanOf(step, draw.x[i]!, draw.x0Hat[i]!), vp(step))); // prettier-ignore
      const end = decoderTerm(x0, draw.x0Hat.at(-1)!, level(0).s);
      draw.terms.splice(0, Infinity, priorTerm(x0, first.a, first.s), ...kls, end);
    }
  }

  /** One draw of x_t at every step, and what the model makes of each: one batch. */
  async function drawOnce(): Promise<void> {
    const config = lease!.model.schedulerConfig;
    const k = draws.length;
    const x = steps.map((step, i) => qSample(config, own.picture.data, step.t, { seed: seed.value * 4096 + k * 64 + i })); // prettier-ignore
    const said = await evaluate(lease!, x, steps.map((s) => s.t), steps.map(() => digit.value)); // prettier-ignore
    const x0Hat = x.map((one, i) => {
      const { x0Hat, clip } = steps[i]!;
      const bound = typeof clip === 'number' ? clip : Infinity;
      return one.map((v, j) =>
        Math.min(Math.max(x0Hat.x * v + x0Hat.modelOutput * said[i]!.m[j]!, -bound), bound),
      );
    });
    draws.push({ x, x0Hat, terms: [] });
    measure();
    redraw();
  }
  async function several(signal: AbortSignal): Promise<void> {
    for (let k = 0; k < 2 && !signal.aborted; k++) {
      frame.progress(`Draw ${draws.length + 1}: ${steps.length} evaluations`, k / 2);
      await drawOnce();
    }
  }
  const run = latest(frame, async (signal) => {
    lease ??= await frame.lease();
    const shape = sizeOf(lease);
    if (own.picture.width !== shape.width || own.picture.channels !== shape.channels) return own.resize(shape.width, shape.height, shape.channels); // prettier-ignore
    const config = lease.model.schedulerConfig;
    steps = makeSteps(config, { scheduler: 'ddpm', variance: 'fixed_small', timesteps: denserTimesteps(config.T, many.value) }); // prettier-ignore
    draws = [];
    at.max(steps.length - 1);
    column.max(shape.width - 1);
    row.max(shape.height - 1);
    await several(signal);
  });
  const add = latest(frame, (signal) => several(signal));

  const average = (of: (d: Draw) => number) => meanOfDraws(draws.map(of));
  const total = (d: Draw): number => d.terms.reduce((a, b) => a + b, 0);

  const gaussians = plot(frame, { title: 'The pixel’s next value: q knows x₀, p guesses' }, (P) => {
    const now = chosen();
    if (!now) return {};
    const { mq, mp, vq, v } = now;
    const sd = Math.sqrt(Math.max(vq, v));
    const [low, high] = [Math.min(mq, mp) - 3.5 * sd, Math.max(mq, mp) + 3.5 * sd];
    const curve = (m: number, variance: number) =>
      Array.from({ length: 160 }, (_, i) => {
        const x = low + ((high - low) * i) / 159;
        return { x, y: Math.exp(-((x - m) ** 2) / (2 * variance)) / Math.sqrt(2 * Math.PI * variance) };
      });
    const [q, p] = [curve(mq, vq), curve(mp, v)];
    return {
      x: { label: 'value of the pixel in xₜ₋₁ →' },
      y: { label: '↑ density', ticks: 4 },
      marks: [
        P.areaY(q, { x: 'x', y: 'y', fill: 'var(--v-q)', fillOpacity: 0.15, className: 'sym-q' }),
        P.line(q, { x: 'x', y: 'y', stroke: 'var(--v-q)', strokeWidth: 2, className: 'sym-q' }),
        P.line(p, { x: 'x', y: 'y', stroke: 'var(--v-p)', strokeWidth: 2, strokeDasharray: '7 3', className: 'sym-p' }), // prettier-ignore
        P.ruleY([0], { stroke: 'var(--v-edge)' }),
      ],
    };
  });
  const bars = plot(
    frame,
    { title: 'The bound of this picture, step by step, in nats: every draw a dot' },
    (P) => {
      if (draws.length === 0) return {};
      const names = ['L_T', ...steps.slice(0, -1).map((s) => String(s.t)), 'L_0'];
      const means = names.map((name, i) => ({ name, y: Math.max(average((d) => d.terms[i]!).mean, 1e-3) }));
      const dots = draws.flatMap((d) => names.map((name, i) => ({ name, y: Math.max(d.terms[i]!, 1e-3) })));
      return {
        x: { label: 'noisy → clean (by t)', domain: names, tickRotate: -55, ticks: names.length > 24 ? names.filter((_, i) => i % 5 === 0) : undefined }, // prettier-ignore
        y: { label: '↑ nats', type: 'log', ticks: 5, tickFormat: (v: number) => `${v}` },
        marginBottom: 56,
        marks: [
          P.ruleX(means, { x: 'name', y1: 1e-3, y2: 'y', stroke: 'var(--v-update)', strokeOpacity: 0.5, strokeWidth: 5, className: 'sym-kl' }), // prettier-ignore
          P.dot(dots, { x: 'name', y: 'y', r: 2, fill: 'var(--v-xt)', className: 'sym-draws' }),
          P.ruleX([names[at.value]!], { stroke: 'var(--v-accent)', strokeDasharray: '2 3' }),
        ],
      };
    },
  );

  /** Both Gaussians of the chosen pixel, in the newest draw. */
  function chosen() {
    const draw = draws.at(-1);
    const i = Math.min(at.value, steps.length - 1) - 1;
    const step = steps[i];
    if (!lease || !draw || !step) return null;
    const q = meanOf(step, draw.x[i]!, own.picture.data);
    const p = meanOf(step, draw.x[i]!, draw.x0Hat[i]!);
    const vq = variancesOf(lease.model.schedulerConfig, step).small;
    const v = vp(step);
    const pixel = Math.min(row.value, own.picture.height - 1) * own.picture.width + Math.min(column.value, own.picture.width - 1); // prettier-ignore
    return { step, i, draw, q, p, vq, v, pixel, mq: q[pixel]!, mp: p[pixel]! };
  }

  let latestDraws = 0;
  /** The same KL as the mean of log q - log p over draws of q, until it is known within 0.3 percent. */
  async function byDraws(
    q: Float32Array,
    vq: number,
    p: Float32Array,
    v: number,
    closed: number,
  ): Promise<void> {
    const own = ++latestDraws;
    const logs: number[] = [];
    const show1 = (): void => {
      const { mean, error } = meanOfDraws(logs);
      frame.fact('drawn', `by ${logs.length.toLocaleString('en')} draws of q`, `${show(mean, 5)} ± ${show(error, 2)}`); // prettier-ignore
    };
    while (logs.length < MOST_DRAWS) {
      for (let since = performance.now(); performance.now() - since < 12 && logs.length < MOST_DRAWS;)
        logs.push(logRatio(q, vq, p, v, seed.value, logs.length));
      if (logs.length >= 200 && meanOfDraws(logs).error < 0.003 * closed) break;
      if (logs.length > 60) show1();
      await nextFrame();
      if (own !== latestDraws || frame.signal.aborted) return;
    }
    show1();
    frame.root.dataset['drawn'] = String(logs.length);
  }

  const redraw = soon(frame, () => {
    delete frame.root.dataset['drawn'];
    const now = chosen();
    if (!now || !lease) return;
    const { step, i, draw, q, p, vq, v, mq, mp, pixel } = now;
    const { height, width } = own.picture;
    pictures.x0.draw(own.picture);
    const top = (d: Float32Array): number => Math.max(1, peak(d) / 1.5);
    pictures.xt.draw(imageOf(lease, draw.x[i]!), top(draw.x[i]!));
    pictures.q.draw(imageOf(lease, q), top(q));
    pictures.p.draw(imageOf(lease, p), top(p));
    const kls = new Float32Array(width * height); // of a pixel: the sum over its colours
    q.forEach((m, j) => (kls[j % kls.length]! += klGaussian(m, vq, p[j]!, v)));
    pictures.kl.draw({ data: kls, channels: 1, width, height }, peak(kls));
    pictures.x0.caption(`x_0: your picture; pixel ${column.value}, ${row.value}${own.picture.channels === 3 ? ', its red' : ''}`); // prettier-ignore
    pictures.xt.caption(`x_t, t = ${step.t}`);
    pictures.q.caption('mean of q: told x_0');
    pictures.p.caption('mean of p: guessing x_0');
    pictures.kl.caption(`KL of each pixel, up to ${show(peak(kls), 2)}`);
    gaussians.draw();
    bars.draw();
    const own1 = klGaussian(mq, vq, mp, v);
    const closed = klTotal(q, vq, p, v);
    const bound = average(total);
    const bits = bound.mean / Math.LN2 / own.picture.data.length;
    frame.symbol('q', `N(${show(mq, 3)}, ${show(vq, 3)})`);
    frame.symbol('p', `N(${show(mp, 3)}, ${show(v, 3)})`);
    frame.symbol('kl', `${show(own1, 3)} nats`);
    frame.symbol('x0', show(own.picture.data[pixel]!, 3));
    frame.symbol('xt', show(draw.x[i]![pixel]!, 3));
    frame.symbol('draws', `${draws.length} draws`);
    frame.symbol('LT', `${show(draw.terms[0]!, 3)} nats`);
    frame.symbol('L0', `${show(average((d) => d.terms.at(-1)!).mean, 3)} nats`);
    frame.fact('closed', 'KL of this step, all pixels, closed form', show(closed, 5));
    void byDraws(q, vq, p, v, closed);
    frame.fact('bound', `bound of your picture, mean of ${draws.length} draws`, `${show(bound.mean, 4)} ± ${show(bound.error, 2)} nats`); // prettier-ignore
    frame.fact('bits', 'bits per number', show(bits, 3));
    more.disabled = false;
    frame.say(
      `At t = ${step.t}, told the true picture, q puts this pixel next at ${show(mq, 3)} ± ${show(Math.sqrt(vq), 2)}; the model, which guesses the picture, at ${show(mp, 3)} ± ${show(Math.sqrt(v), 2)}: ${show(own1, 2)} nats apart. Over all pixels this step costs ${show(closed, 3)} nats; all steps together ${show(bound.mean, 3)} ± ${show(bound.error, 2)}, or ${show(bits, 3)} bits a number, of the ${steps.length}-step process. An average over ${draws.length} draws of x_t.`,
    );
  });
}

export const view: View = {
  name: 'q-and-p',
  title: 'What q and p are',
  question: 'What are q and p, and what does the KL compare?',
  answer:
    'q is the true step back, which may look at the picture; p is the model’s, which may not. Both are Gaussians, with (nearly) the same variance, so their KL is a squared distance of means: the better the guess of x₀, the smaller. Added up over all steps, and averaged over draws of x_t, it bounds how surprised the model is by the picture. Most of it is paid in the last, nearly clean steps.',
  asks: true,
  mount: (host, context) =>
    mountFrame(
      host,
      context,
      view,
      {
        text: [
          'Your picture is noised to every level, and each noisy version is taken one step back twice: by q, which is told the picture, and by p, which asks the network. Choose a step and click a pixel to see both as Gaussians.',
          'The expectation in the formula is an average over draws of the noise. Each draw is a dot; take more and see it settle.',
        ],
        formula: [
          String.raw`-\log p_\theta(x_0)\le\sym{draws}{\E_q}\Bigl[\sym{LT}{L_T}+\sum_{t}\sym{kl}{\mathrm{KL}_t}+\sym{L0}{L_0}\Bigr]`,
          String.raw`\sym{kl}{\mathrm{KL}_t}=\mathrm{KL}\bigl(\sym{q}{q(x_{t-1}\mid x_t,x_0)}\,\|\,\sym{p}{p_\theta(x_{t-1}\mid x_t)}\bigr)`,
        ],
        symbols: {
          q: { tex: 'q(x_{t-1}\\mid x_t,x_0)', what: 'told x₀', colour: 'q' },
          p: { tex: 'p_\\theta(x_{t-1}\\mid x_t)', what: 'guessing x₀', colour: 'p' },
          kl: { tex: '\\mathrm{KL}_t', what: 'of this pixel', colour: 'update' },
          draws: { tex: '\\E_q', what: 'average over', colour: 'xt' },
          LT: { tex: 'L_T', what: 'is x_T pure noise?' },
          L0: { tex: 'L_0', what: 'the last step, to 8-bit numbers, σ² = β₁' },
          x0: { tex: 'x_0', what: 'this pixel of yours', colour: 'x0' },
          xt: { tex: 'x_t', what: 'this pixel in noise', colour: 'xt' },
        },
        presets: [
          { label: 'Early', params: { at: '1' } },
          { label: 'Late', params: { at: '14' } },
          { label: 'The wrong variance', params: { variance: 'large' } },
          { label: 'A picture that it drew itself', params: { picture: 'model-1' } },
          { label: 'No digit at all', params: { picture: 'star' } },
        ],
      },
      build,
    ),
};

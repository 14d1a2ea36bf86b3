/** One evaluation, five pictures: x_t, x0Hat, epsHat, the posterior mean and the update; the average of 64 futures. */

import { qSample } from '../../session/latents.ts';
import type { SchedulerConfig } from '../../schedule/config.ts';
import { makeSteps } from '../../schedule/make_steps.ts';
import { noiseLevels } from '../../schedule/noise_levels.ts';
import { epsHatOf, x0HatOf, type PredictionType } from '../../schedule/prediction.ts';
import type { View, ViewLease } from './view.ts';
import { h } from '../../ui/dom.ts';
import { button, classControl, later, register, seedControl, slider, toggle } from './controls.ts';
import { latest, soon } from './work.ts';
import { mountFrame, type Frame } from './frame.ts';
import { show } from './text.ts';
import { tensorCanvas, type TensorCanvas } from './picture.ts';
import { plot, power, powers } from './plot.ts';
import {
  distance,
  evaluate,
  extent,
  imageOf,
  labelsFor,
  modelPicker,
  peak,
  size,
  sizeOf,
  trace,
} from './runs.ts';

/** How much an error of 1 in the network's output errs x0Hat and epsHat, at a level: |dx0Hat/dm|, |depsHat/dm|. */
export function amplification(type: PredictionType, alphaBar: number): { x0Hat: number; epsHat: number } {
  return {
    x0Hat: Math.abs(x0HatOf(type, alphaBar).modelOutput),
    epsHat: Math.abs(epsHatOf(type, alphaBar).modelOutput),
  };
}

export interface Lens {
  readonly x0Hat: Float32Array<ArrayBuffer>;
  readonly epsHat: Float32Array<ArrayBuffer>;
  readonly mean: Float32Array<ArrayBuffer>;
  readonly update: Float32Array<ArrayBuffer>;
  /** Share of the pixels whose x0Hat lies outside of [-1, 1] before it is clipped. */
  readonly outside: number;
}

/** What one output m of the network means at t, by the numbers of DDPM's own step t -> t - 1. */
export function lensesAt(
  config: SchedulerConfig,
  t: number,
  x: Float32Array<ArrayBuffer>,
  m: Float32Array<ArrayBuffer>,
  clip: boolean,
): Lens {
  const step = makeSteps(config, { scheduler: 'ddpm', variance: 'fixed_small', clip: clip ? 1 : null, timesteps: t > 0 ? [t, t - 1] : [0] })[0]!; // prettier-ignore
  let outside = 0;
  const x0Hat = x.map((v, i) => {
    const x0 = step.x0Hat.x * v + step.x0Hat.modelOutput * m[i]!;
    if (Math.abs(x0) > 1) outside++;
    return clip ? Math.min(Math.max(x0, -1), 1) : x0;
  });
  const { a, s } = noiseLevels(config)(t);
  const mean = x.map((v, i) => step.next.x! * v + step.next.x0Hat! * x0Hat[i]!);
  return {
    x0Hat,
    epsHat: x.map((v, i) => (v - a * x0Hat[i]!) / s),
    mean,
    update: mean.map((v, i) => v - x[i]!),
    outside: outside / x.length,
  };
}

const FUTURES = 64;
const TYPES = { epsilon: 'ε', sample: 'x₀', v_prediction: 'v' } as const;

function build(frame: Frame): void {
  let lease: ViewLease | null = null;
  let now: { x: Float32Array<ArrayBuffer>; m: Float32Array<ArrayBuffer>; t: number } | null = null;
  let futures: { mean: Float32Array<ArrayBuffer>; count: number } | null = null;

  const own = modelPicker(frame, { width: 32, height: 32, channels: 1 }, () => run());
  const digit = classControl(frame, 'any', () => run(), true);
  const time = slider(frame, { name: 't', label: 'Timestep t', min: 0, max: 999, value: 700 }, () => run());
  const clip = toggle(frame, { name: 'clip', label: 'Clip x̂₀ to [−1, 1], also in the futures', value: true }, () => run()); // prettier-ignore
  const seed = seedControl(frame, 1, () => run(), 'Seed of the noise');
  const steps = slider(frame, { name: 'steps', label: 'Steps of each future', min: 2, max: 50, value: 6 }, () => {}); // prettier-ignore
  const go = button(frame, `Average ${FUTURES} futures from here`, () => future(), true);
  /** The address asks for them, and there was nothing yet to go on from. */
  let wanted = false;
  later(frame, () =>
    register(frame, 'futures', '0', {
      get value() {
        return wanted || futures ? '1' : '0';
      },
      set(to) {
        wanted = to === '1';
        if (wanted) run();
      },
    }),
  );

  const strip = h('div', { class: 'dv-strip', style: '--cell: 6.2rem' });
  const lens = {
    x: tensorCanvas(strip, { label: 'x_t', sym: 'x', colour: 'xt' }),
    x0Hat: tensorCanvas(strip, { label: 'x̂₀', sym: 'x0', colour: 'x0' }),
    epsHat: tensorCanvas(strip, { label: 'ε̂', sym: 'eps', colour: 'eps', palette: 'signed' }),
    mean: tensorCanvas(strip, { label: 'μ', sym: 'mean', colour: 'q' }),
    update: tensorCanvas(strip, { label: 'μ − x_t', sym: 'update', colour: 'update', palette: 'signed' }),
    futures: tensorCanvas(strip, { label: 'average of futures', sym: 'futures', colour: 'x0' }),
  };
  frame.stage.append(h('figure', { class: 'dv-wide' }, h('figcaption', {}, 'One look of the network at your noisy picture, seen five ways; and the futures'), strip)); // prettier-ignore
  const errors = plot(
    frame,
    { title: 'An error of 1 in what the network predicts is so large an error in x̂₀', wide: true },
    (P) => {
      if (!lease) return {};
      const config = lease.model.schedulerConfig;
      const level = noiseLevels(config);
      const kinds = Object.keys(TYPES) as PredictionType[];
      const ts = Array.from({ length: 200 }, (_, i) => Math.round((i * (config.T - 1)) / 199));
      const lines = kinds.map((kind) =>
        ts.map((t) => ({ t, y: amplification(kind, level(t).a ** 2).x0Hat })),
      );
      const colours = ['eps', 'x0', 'update'] as const;
      const dashes = ['', '7 3', '2 3'] as const;
      // Where each name has room: the curves of x0 and v meet at the noisy end, those of epsilon and v at the clean one.
      const names = [
        { t: 0.94 * config.T, y: 100, dy: 0, anchor: 'end' },
        { ...lines[1]![4]!, dy: -9, anchor: 'start' },
        { ...lines[2]![130]!, dy: 16, anchor: 'middle' },
      ] as const;
      return {
        height: 230,
        x: { label: 'timestep t →', domain: [0, config.T] },
        y: {
          label: '↑ times',
          type: 'log',
          domain: [0.01, 3e4],
          ticks: powers(0.01, 3e4),
          tickFormat: power,
        },
        marks: [
          P.ruleX([time.value], { stroke: 'var(--v-line)' }),
          ...lines.flatMap((line, i) => {
            const [colour, dash, own] = [
              `var(--v-${colours[i]})`,
              dashes[i],
              kinds[i] === config.predictionType,
            ];
            return [
              P.line(line, { x: 't', y: 'y', stroke: colour, strokeWidth: own ? 3 : 1.5, strokeDasharray: dash || undefined, clip: true, className: ['sym-eps', 'sym-x0', 'sym-v'][i]! }), // prettier-ignore
              P.text([names[i]!], { x: 't', y: 'y', dy: names[i]!.dy, text: [`predicts ${TYPES[kinds[i]!]}${own ? ' (this model)' : ''}`], textAnchor: names[i]!.anchor, fill: colour, stroke: 'var(--v-card)', strokeWidth: 4 }), // prettier-ignore
            ];
          }),
        ],
      };
    },
  );

  const run = latest(frame, async (signal) => {
    lease ??= await frame.lease();
    const shape = sizeOf(lease);
    const { T } = lease.model.schedulerConfig;
    if (own.picture.width !== shape.width || own.picture.channels !== shape.channels) return own.resize(shape.width, shape.height, shape.channels); // prettier-ignore
    time.max(T - 1);
    const t = time.value;
    const x = qSample(lease.model.schedulerConfig, own.picture.data, t, { seed: seed.value });
    frame.progress('One evaluation …');
    const [said] = await evaluate(lease, [x], [t], [digit.value]);
    if (signal.aborted) return;
    now = { x, m: said!.m, t };
    futures = null;
    redraw();
    if (wanted) future();
    else frame.changed();
  });

  /** The reverse process from x_t to the end, 64 times with fresh noise. */
  const future = latest(frame, async (signal) => {
    if (!lease || !now) return;
    const { x, t } = now;
    const { length } = sizeOf(lease);
    const n = Math.min(steps.value, t + 1);
    const timesteps = [
      ...new Set(Array.from({ length: n }, (_, i) => Math.round(t - (i * t) / Math.max(n, 1)))),
    ];
    const batch = 16;
    const [label, bound] = [digit.value, clip.value ? 1 : null];
    const sum = new Float32Array(length);
    futures = null;
    go.disabled = true;
    try {
      for (let done = 0; done < FUTURES; done += batch) {
        const from = new Float32Array(batch * length);
        for (let k = 0; k < batch; k++) from.set(x, k * length);
        const end = await trace(
          lease,
          { scheduler: 'ddim', eta: 1, timesteps, xT: from, seed: 1000 + seed.value + done, clip: bound, ...labelsFor(lease, label, batch) }, // prettier-ignore
          signal,
          (_, __, share) => frame.progress(`Futures ${done + 1} to ${done + batch} of ${FUTURES}`, (done + batch * share) / FUTURES), // prettier-ignore
        );
        if (now.x !== x) return; // another state has come meanwhile
        end.at(-1)!.x.forEach((v, i) => (sum[i % length]! += v));
        futures = { mean: sum.map((v) => v / (done + batch)), count: done + batch };
        wanted = false;
        redraw();
      }
      frame.changed();
    } finally {
      go.disabled = false;
    }
  });

  const redraw = soon(frame, () => {
    if (!lease || !now) return;
    const { x, m, t } = now;
    const seen = lensesAt(lease.model.schedulerConfig, t, x, m, clip.value);
    const draw = (c: TensorCanvas, data: Float32Array<ArrayBuffer>, reach = 1) => c.draw(imageOf(lease!, data), reach); // prettier-ignore
    draw(lens.x, x, Math.max(1, peak(x) / 1.5));
    draw(lens.x0Hat, seen.x0Hat);
    draw(lens.epsHat, seen.epsHat, 3);
    draw(lens.mean, seen.mean, Math.max(1, peak(seen.mean) / 1.5));
    draw(lens.update, seen.update, peak(seen.update));
    lens.x.caption('x_t: your picture in noise');
    lens.x0Hat.caption('x̂₀: the guess of the picture');
    lens.epsHat.caption('ε̂: the guess of the noise');
    lens.mean.caption('μ: where the step goes');
    lens.update.caption(`μ − x_t: the step, up to ±${show(peak(seen.update), 2)}`);
    const { width, height } = sizeOf(lease);
    if (futures) draw(lens.futures, futures.mean);
    else lens.futures.draw({ data: new Float32Array(width * height), channels: 1, width, height });
    lens.futures.caption(futures ? `average of ${futures.count} futures` : 'average of 64 futures: press the button'); // prettier-ignore
    errors.draw();
    const { a, s } = noiseLevels(lease.model.schedulerConfig)(t);
    const factor = amplification('epsilon', a * a).x0Hat;
    frame.symbol('x', `t = ${t}`);
    frame.symbol('a', show(a));
    frame.symbol('s', show(s));
    frame.symbol(
      'x0',
      extent(seen.x0Hat)
        .map((v) => show(v, 3))
        .join(' to '),
    );
    frame.symbol('eps', `rms ${show(size(seen.epsHat), 3)}`);
    frame.symbol('mean', `rms ${show(size(seen.mean), 3)}`);
    frame.symbol('update', `rms ${show(size(seen.update), 3)}`);
    frame.symbol('futures', futures ? `${futures.count} runs` : '—');
    frame.fact('factor', 'an error in ε̂ errs x̂₀ by a factor of', show(factor, 4));
    frame.fact('outside', 'pixels of x̂₀ outside [−1, 1] before clipping', `${(seen.outside * 100).toFixed(1)} %`); // prettier-ignore
    if (futures) {
      frame.fact('futures', 'x̂₀ against the average of the futures, root mean square', show(distance(futures.mean, seen.x0Hat), 3)); // prettier-ignore
      frame.fact('single', 'x̂₀ against your picture', show(distance(own.picture.data, seen.x0Hat), 3));
    }
    frame.say(
      `At t = ${t} one evaluation gives all of these: x̂₀ ${t > 600 ? 'is a blur, the average of all pictures that fit the noise' : t > 250 ? 'shows the shape, its edges soft' : 'is nearly your picture'}; ε̂ is what is left. An error in ε̂ is ${show(factor, 3)} times as large in x̂₀; ${(seen.outside * 100).toFixed(0)} % of its pixels lie outside of [−1, 1]${clip.value ? ' and are clipped' : ' and stay there'}.` +
        (futures ? ` The average of ${futures.count} finished runs from this x_t is ${show(distance(futures.mean, seen.x0Hat), 2)} away from x̂₀ (root mean square).` : ''), // prettier-ignore
    );
  });
}

export const view: View = {
  name: 'lenses',
  title: 'Why predict the noise; what x̂₀ is',
  question: 'Why predict the noise, and what is x̂₀?',
  answer:
    'Noise, picture and step are one answer in three clothes: each follows from the others and x_t. Noise is a target of one size at every level, and late, where details are decided, an error in it hardly touches x̂₀; the price is that early, where little of the picture is left, the error is blown up, which is why x̂₀ is clipped. And x̂₀ is no sample: it is the average of all pictures that x_t may still become, so it is blurred early and sharp late.',
  asks: true,
  mount: (host, context) =>
    mountFrame(
      host,
      context,
      view,
      {
        text: [
          'Your picture is noised to t, and the network looks at it once, without being told what it is. Everything below follows from that one output. Then let 64 runs go on from here, each with its own noise, and lay their ends over each other: their average looks like x̂₀.',
        ],
        formula: [
          String.raw`\sym{x0}{\hat x_0}=\frac{\sym{x}{x_t}-\sym{s}{\sqrt{1-\ab_t}}\,\sym{eps}{\hat\varepsilon}}{\sym{a}{\sqrt{\ab_t}}}\;\approx\;\sym{futures}{\E[x_0\mid x_t]}`,
          String.raw`\sym{mean}{\mu}=\frac{\sqrt{\ab_{t-1}}\,\beta_t}{1-\ab_t}\,\sym{x0}{\hat x_0}+\frac{\sqrt{\alpha_t}\,(1-\ab_{t-1})}{1-\ab_t}\,\sym{x}{x_t}`,
        ],
        symbols: {
          x: { tex: 'x_t', what: 'your picture in noise', colour: 'xt' },
          x0: { tex: '\\hat x_0', what: 'guess of the picture', colour: 'x0' },
          eps: { tex: '\\hat\\varepsilon', what: 'guess of the noise', colour: 'eps' },
          mean: { tex: '\\mu', what: 'mean of the next state', colour: 'q' },
          update: { tex: '\\mu-x_t', what: 'the step', colour: 'update' },
          futures: { tex: '\\E[x_0\\mid x_t]', what: 'the average of the futures', colour: 'x0' },
          a: { tex: '\\sqrt{\\ab_t}', what: 'what is left of the picture' },
          s: { tex: '\\sqrt{1-\\ab_t}', what: 'how much noise there is' },
        },
        presets: [
          { label: 'Early: nearly noise', params: { t: '950' } },
          { label: 'Late: nearly clean', params: { t: '150' } },
          { label: 'x̂₀ is their average', params: { t: '800', futures: '1' } },
          { label: 'Why clip', params: { t: '990', clip: '0' } },
          { label: 'A picture that it drew itself', params: { picture: 'model-1', t: '500' } },
        ],
      },
      build,
    ),
};

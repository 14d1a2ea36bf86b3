/** Why z is added: one x_T, the same network; z off, on, scaled; eta from 0 to 1; eight draws of z. */

import { makeSteps } from '../../schedule/make_steps.ts';
import type { SchedulerConfig } from '../../schedule/config.ts';
import { normals, STREAM_X_T, STREAM_Z } from '../../schedule/noise.ts';
import type { View, ViewLease } from './view.ts';
import { h } from '../../ui/dom.ts';
import { classControl, seedControl, slider } from './controls.ts';
import { latest, soon } from './work.ts';
import { mountFrame, type Frame } from './frame.ts';
import { rich, show } from './text.ts';
import { tensorCanvas } from './picture.ts';
import { plot } from './plot.ts';
import { distance, imageOf, labelsFor, maxDifference, roughness, sizeOf, trace, type TraceState } from './runs.ts'; // prettier-ignore

/**
 * Largest difference between the numbers of DDIM's steps with eta = 1 and of DDPM's with sigma^2 = beta-tilde
 * (fixed_small), over a list of timesteps; relative to 1.
 */
export function etaOneAgainstDdpm(config: SchedulerConfig, steps: number): number {
  const ddim = makeSteps(config, { scheduler: 'ddim', eta: 1, steps });
  const ddpm = makeSteps(config, { scheduler: 'ddpm', variance: 'fixed_small', steps });
  return Math.max(
    ...ddim.map((step, i) => {
      const other = ddpm[i]!;
      const numbers = (s: typeof step): number[] => {
        // Over x_t and x0Hat: epsHat = (x_t - a x0Hat) / s where the step names the network's output itself.
        const m = s.next.modelOutput ?? 0;
        return [
          (s.next.x ?? 0) - (m * s.x0Hat.x) / s.x0Hat.modelOutput,
          (s.next.x0Hat ?? 0) + m / s.x0Hat.modelOutput,
          s.sigma,
        ];
      };
      return maxDifference(numbers(step), numbers(other));
    }),
  );
}

/** z of every step for a batch: image n has the noise of seeds[n], times scales[n]. */
export function scaledNoise(
  seeds: readonly number[],
  scales: readonly number[],
  steps: number,
  length: number,
): Float32Array<ArrayBuffer>[] {
  return Array.from({ length: steps }, (_, i) => {
    const out = new Float32Array(seeds.length * length);
    seeds.forEach((seed, n) => {
      const scale = scales[n]!;
      if (scale !== 0)
        out.set(
          normals(seed, STREAM_Z, i, length).map((z) => scale * z),
          n * length,
        );
    });
    return out;
  });
}

/** Standard deviation over pictures of a batch, averaged over the pixels. */
export function diversity(batch: Float32Array, count: number): number {
  const size = batch.length / count;
  let sum = 0;
  for (let i = 0; i < size; i++) {
    let [mean, square] = [0, 0];
    for (let n = 0; n < count; n++) mean += batch[n * size + i]! / count;
    for (let n = 0; n < count; n++) square += (batch[n * size + i]! - mean) ** 2 / (count - 1);
    sum += Math.sqrt(square);
  }
  return sum / size;
}

const SEEDS = 8;

function build(frame: Frame): void {
  let lease: ViewLease | null = null;
  let main: readonly TraceState[] = [];
  let ddim: readonly TraceState[] = [];
  let eight: readonly TraceState[] = [];
  let again: number | null = null;

  const digit = classControl(frame, '5', () => run());
  const steps = slider(frame, { name: 'steps', label: 'Steps', min: 5, max: 200, step: 5, value: 20 }, (n) => (at.rescale(n), run())); // prettier-ignore
  const scale = slider(
    frame,
    {
      name: 'scale',
      label: 'The third run: z ×',
      min: 0,
      max: 2,
      step: 0.1,
      value: 1.4,
      format: (v) => v.toFixed(1),
    },
    () => run(),
  );
  const eta = slider(
    frame,
    { name: 'eta', label: 'The fourth run: DDIM with η', min: 0, max: 1, step: 0.05, value: 0, format: (v) => v.toFixed(2) }, // prettier-ignore
    () => runDdim(),
  );
  const seed = seedControl(frame, 7, () => run(), 'Seed of x_T and z');
  const at = slider(
    frame,
    { name: 'at', label: 'After step', min: 0, max: 20, value: 20, format: (k) => `${k} of ${at.input.max}` },
    () => redraw(),
  );

  const strip = h('div', { class: 'dv-strip', style: '--cell: 8rem' });
  const names = ['off', 'on', 'scaled', 'eta'] as const;
  const runs = names.map((name) =>
    tensorCanvas(strip, { label: name, sym: name === 'eta' ? 'eta' : 'z', colour: 'p' }),
  );
  const many = h('div', { class: 'dv-strip', style: '--cell: 4.4rem' });
  const eights = Array.from({ length: SEEDS }, (_, n) => tensorCanvas(many, { label: `z of seed ${n}`, sym: 'seeds', colour: 'eps' })); // prettier-ignore
  frame.stage.append(
    h('figure', { class: 'dv-wide' }, h('figcaption', {}, ...rich('Four runs from one x_T')), strip),
    h('figure', { class: 'dv-wide' }, h('figcaption', {}, ...rich('The same x_T, eight different draws of z (DDPM, z × 1)')), many), // prettier-ignore
  );
  const curve = plot(frame, { title: 'The noise that each step adds, σ_t', wide: true }, (P) => {
    const list = main.flatMap(({ step }) => (step ? [{ k: step.index + 1, y: step.sigma }] : []));
    const other = ddim.flatMap(({ step }) => (step ? [{ k: step.index + 1, y: step.sigma }] : []));
    const lines = [
      { name: 'off', points: list.map(({ k }) => ({ k, y: 0 })), colour: 'var(--v-xt)', dash: '2 3' },
      { name: 'on', points: list, colour: 'var(--v-q)', dash: '' },
      { name: 'scaled', points: list.map(({ k, y }) => ({ k, y: y * scale.value })), colour: 'var(--v-update)', dash: '7 3' }, // prettier-ignore
      { name: 'eta', points: other, colour: 'var(--v-p)', dash: '1 3' },
    ];
    return {
      height: 190,
      x: { label: 'step →', domain: [0, Number(at.input.max)] },
      y: { label: '↑ σ', ticks: 4, domain: [0, Math.max(0.1, ...lines.flatMap((l) => l.points.map((p) => p.y)))] }, // prettier-ignore
      marks: [
        P.ruleY([0], { stroke: 'var(--v-edge)' }),
        P.ruleX([at.value], { stroke: 'var(--v-line)' }),
        ...lines.map(({ points, colour, dash }) => P.line(points, { x: 'k', y: 'y', stroke: colour, strokeWidth: 2, strokeDasharray: dash || undefined, className: 'sym-sigma' })), // prettier-ignore
        // Each at a place of its own: where η is 0 or 1 its line lies on another.
        ...lines.map(({ name, points, colour }, i) => P.text(points.slice(Math.floor((points.length * (i + 0.3)) / 4)).slice(0, 1), { x: 'k', y: 'y', text: [{ off: 'z off', on: 'z × 1', scaled: `z × ${scale.value}`, eta: `η = ${eta.value}` }[name]!], dy: -9, fill: colour, stroke: 'var(--v-card)', strokeWidth: 4 })), // prettier-ignore
      ],
    };
  });

  const base = () => ({ steps: steps.value, seed: seed.value, guidance: 1, spacing: 'leading' as const });
  const noiseOf = (length: number, seeds: readonly number[], scales: readonly number[]) =>
    scaledNoise(seeds, scales, steps.value, length);
  const from = (length: number, count: number): Float32Array<ArrayBuffer> => {
    const one = normals(seed.value, STREAM_X_T, 0, length);
    const out = new Float32Array(count * length);
    for (let n = 0; n < count; n++) out.set(one, n * length);
    return out;
  };
  /** A run of a batch from the one x_T. */
  const go = (
    signal: AbortSignal,
    what: string,
    count: number,
    z: Float32Array<ArrayBuffer>[],
    options: object,
    on: (states: readonly TraceState[]) => void,
  ) =>
    trace(
      lease!,
      { ...base(), ...labelsFor(lease!, digit.value, count), xT: from(sizeOf(lease!).length, count), z, ...options }, // prettier-ignore
      signal,
      (states, n, done) => {
        frame.progress(`${what}, ${n} steps`, done);
        on(states);
        redraw();
      },
    );

  async function etaRun(signal: AbortSignal): Promise<void> {
    const { length } = sizeOf(lease!);
    ddim = [];
    ddim = await go(signal, 'DDIM', 1, noiseOf(length, [seed.value], [1]), { scheduler: 'ddim', eta: eta.value }, (s) => (ddim = s)); // prettier-ignore
  }
  const run = latest(frame, async (signal) => {
    lease = await frame.lease();
    if (signal.aborted) return;
    const { length } = sizeOf(lease);
    main = ddim = eight = [];
    again = null;
    const ddpm = { scheduler: 'ddpm', variance: 'fixed_small' } as const;
    const three = noiseOf(length, [seed.value, seed.value, seed.value], [0, 1, scale.value]);
    main = await go(signal, 'Three runs of DDPM', 3, three, ddpm, (s) => (main = s));
    await etaRun(signal);
    const twice = await go(signal, 'z off, once more', 1, noiseOf(length, [0], [0]), ddpm, () => {});
    again = maxDifference(twice.at(-1)!.x, main.at(-1)!.x.slice(0, length));
    const seeds = Array.from({ length: SEEDS }, (_, n) => seed.value + 1 + n);
    eight = await go(signal, 'Eight draws of z', SEEDS, noiseOf(length, seeds, seeds.map(() => 1)), ddpm, (s) => (eight = s)); // prettier-ignore
    redraw();
  });
  const runDdim = latest(frame, async (signal) => {
    if (!lease || main.length === 0) return;
    await etaRun(signal);
    redraw();
  });

  const redraw = soon(frame, () => {
    if (!lease || main.length === 0) return;
    const k = at.value;
    const pick = (list: readonly TraceState[]) => list[Math.min(k, list.length - 1)];
    const state = pick(main)!;
    const captions = ['z off: the mean path', 'z × 1: DDPM', `z × ${scale.value.toFixed(1)}`];
    captions.forEach((text, n) => {
      runs[n]!.draw(imageOf(lease!, state.x, n));
      runs[n]!.caption(text);
    });
    const other = pick(ddim);
    if (other) runs[3]!.draw(imageOf(lease, other.x));
    runs[3]!.caption(`DDIM, η = ${eta.value.toFixed(2)}`);
    const batch = pick(eight);
    if (batch) eights.forEach((c, n) => c.draw(imageOf(lease!, batch.x, n)));
    eights.forEach((c, n) => c.caption(`seed ${seed.value + 1 + n}`));
    curve.draw();
    const sigma = state.step?.sigma ?? 0;
    frame.symbol('sigma', state.step ? show(sigma, 3) : '—');
    frame.symbol('z', k === 0 ? '—' : `seed ${seed.value}`);
    frame.symbol('eta', eta.value.toFixed(2));
    frame.symbol('seeds', batch ? `${seed.value + 1} to ${seed.value + SEEDS}` : '—');
    const done = main.length === steps.value + 1;
    const last = main.at(-1)!;
    const { length } = sizeOf(lease);
    const off = last.x.slice(0, length);
    const on = last.x.slice(length, 2 * length);
    const ddimDone = ddim.length === steps.value + 1;
    if (done) frame.fact('change', 'z off against z on, root mean square', show(distance(off, on), 3));
    const rough = [0, 1, 2].map((n) => show(roughness(imageOf(lease!, last.x, n)), 3));
    if (done) frame.fact('rough', `roughness: z off, z × 1, z × ${scale.value.toFixed(1)}`, rough.join(', '));
    frame.fact('twice', 'z off, run twice: largest difference', again === null ? '…' : again === 0 ? '0' : show(again, 2)); // prettier-ignore
    frame.fact('diversity', 'spread of the eight', eight.length === steps.value + 1 ? show(diversity(eight.at(-1)!.x, SEEDS), 3) : '…'); // prettier-ignore
    frame.fact('eta-ddpm', `DDIM, η = ${eta.value.toFixed(2)}, against DDPM: largest difference`, done && ddimDone ? show(maxDifference(ddim.at(-1)!.x, on), 2) : '…'); // prettier-ignore
    const config = lease.model.schedulerConfig;
    frame.fact('steps-ddpm', `the steps’ numbers, η = 1 against DDPM, all ${config.T} timesteps`, show(etaOneAgainstDdpm(config, config.T), 2)); // prettier-ignore
    frame.say(
      done
        ? `From one x_T, after step ${k} of ${steps.value}: without z the run ends in one fixed picture${again === 0 ? ', the same to the bit when run again' : ''}. With z it ends in another picture (root mean square ${show(distance(off, on), 2)} away), with z times ${scale.value.toFixed(1)} in a third. Neighbouring pixels differ by ${rough[0]}, ${rough[1]} and ${rough[2]}. ` +
            (eight.length > steps.value ? `Eight draws of z give eight pictures from the same x_T, ${show(diversity(eight.at(-1)!.x, SEEDS), 2)} apart per pixel.` : '') // prettier-ignore
        : `Step ${main.length - 1} of ${steps.value} of the first three runs.`,
    );
  });
  run();
}

export const view: View = {
  name: 'noise',
  title: 'Why add z when sampling',
  question: 'Why add noise again while removing it?',
  answer:
    'A step of DDPM draws from a distribution, and the network only gives its mean. Leave z out and the run walks along averages: from one start always to the same picture, however often it is run. With z of the right size every run is a draw of its own; with too much of it the picture comes out ragged and specked. DDIM needs no z because its step is another one, made to end at the right noise level without; η slides between the two. The last step adds none: nobody is left to remove it.',
  asks: true,
  mount: (host, context) =>
    mountFrame(
      host,
      context,
      view,
      {
        text: [
          'Four runs start from the same noise and ask the same network. The first leaves z out, the second is DDPM as written, the third has its z scaled, the fourth is DDIM with the η that you choose. Below, only z differs.',
        ],
        formula: [
          String.raw`x_{t-1}=\mu_\theta(x_t,t)+\sym{sigma}{\sigma_t}\,\sym{z}{z},\qquad \sym{z}{z}\sim\N(0,I)`,
          String.raw`\sym{sigma}{\sigma_t}=\sym{eta}{\eta}\,\sqrt{\tfrac{1-\ab_{t-1}}{1-\ab_t}}\sqrt{1-\tfrac{\ab_t}{\ab_{t-1}}}\qquad(\sym{eta}{\eta}=1:\ \text{DDPM},\ \tilde\beta_t)`,
        ],
        symbols: {
          sigma: { tex: '\\sigma_t', what: 'of this step; the curves', colour: 'q' },
          z: { tex: 'z', what: 'fresh noise; three runs differ in it only', colour: 'p' },
          eta: { tex: '\\eta', what: 'of the fourth run', colour: 'p' },
          seeds: { tex: 'z_1\\ldots z_8', what: 'the eight below', colour: 'eps' },
        },
        presets: [
          { label: 'Twice too much z', params: { scale: '2' } },
          { label: 'η = 1 is DDPM', params: { eta: '1' } },
          { label: 'Half way down', params: { at: '10' } },
        ],
      },
      build,
    ),
};

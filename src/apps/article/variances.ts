/** beta-tilde, beta, and a learned variance between them: the curves, and what each does to a run (Improved DDPM 3.1). */

import { parseSchedulerConfig, type SchedulerConfig } from '../../schedule/config.ts';
import { makeSteps } from '../../schedule/make_steps.ts';
import type { View, ViewLease } from './view.ts';
import { h } from '../../ui/dom.ts';
import { choice, classControl, seedControl, slider } from './controls.ts';
import { latest, soon } from './work.ts';
import { mountFrame, type Frame } from './frame.ts';
import { show } from './text.ts';
import { tensorCanvas } from './picture.ts';
import { plot, power, powers } from './plot.ts';
import { distance, evaluate, extent, imageOf, labelsFor, roughness, sizeOf, trace, type TraceState } from './runs.ts'; // prettier-ignore

export interface Variances {
  readonly t: number;
  /** beta-tilde: the variance of q(x_{t-1} | x_t, x_0); 0 in the last step. */
  readonly small: number;
  /** beta, of the possibly longer step. */
  readonly large: number;
}

/** Of every step of DDPM's run of n steps: sigma^2 as the two fixed variances have it, by makeSteps. */
export function variancesOf(config: SchedulerConfig, steps: number): Variances[] {
  const run = (variance: 'fixed_small' | 'fixed_large') => makeSteps(config, { scheduler: 'ddpm', variance, steps }); // prettier-ignore
  const large = run('fixed_large');
  return run('fixed_small').map(({ t, sigma }, i) => ({ t, small: sigma ** 2, large: large[i]!.sigma ** 2 }));
}

/** exp(v' log beta + (1 - v') log beta-tilde), v' = (v + 1) / 2 (Nichol & Dhariwal 2021, eq. 15). */
export const between = ({ small, large }: Variances, v: number): number =>
  Math.exp(((v + 1) / 2) * Math.log(large) + ((1 - v) / 2) * Math.log(small));

const SEEDS = 4;
const KINDS = ['small', 'large', 'learned'] as const;
type Kind = (typeof KINDS)[number];
const NAMES: Readonly<Record<Kind, string>> = { small: 'β̃', large: 'β', learned: 'the learned variance' };

function build(frame: Frame): void {
  let lease: ViewLease | null = null;
  let config: SchedulerConfig = parseSchedulerConfig({ beta_schedule: 'squaredcos_cap_v2' }, 'cosine');
  const runs: Record<Kind, readonly TraceState[]> = { small: [], large: [], learned: [] };
  /** Where the model has learned a variance: its v at every state of the first seed's run with it. */
  let says: readonly Float32Array<ArrayBuffer>[] = [];

  const steps = slider(frame, { name: 'steps', label: 'Steps of the run', min: 4, max: 250, value: 10 }, (n) => (at.rescale(n), run())); // prettier-ignore
  const which = choice(frame, { name: 'curves', label: 'Curves of', values: [['run', 'this run'], ['all', 'all timesteps']], value: 'run' }, () => redraw()); // prettier-ignore
  const v = slider(frame, { name: 'v', label: 'A say v of your own', min: -1, max: 1, step: 0.05, value: 0, format: (x) => x.toFixed(2) }, () => redraw()); // prettier-ignore
  const at = slider(frame, { name: 'at', label: 'After step', min: 1, max: 10, value: 9, format: (k) => `${k} of ${at.input.max}` }, () => redraw()); // prettier-ignore
  const digit = classControl(frame, '8', () => run());
  const seed = seedControl(frame, 2, () => run());

  const table = (): Variances[] => variancesOf(config, which.value === 'all' ? config.T : steps.value);
  const curves = plot(frame, { title: 'The two variances and one between them' }, (P) => {
    const rows = table().filter((r) => r.small > 1e-12);
    const line = (f: (r: Variances) => number, colour: string, dash: string, key: string) =>
      P.line(rows.map((r) => ({ t: r.t, y: f(r) })), { x: 't', y: 'y', stroke: colour, strokeWidth: 2, strokeDasharray: dash || undefined, className: `sym-${key}` }); // prettier-ignore
    return {
      x: { label: 'timestep t →' },
      y: { label: '↑ variance', type: 'log', ticks: powers(Math.min(...rows.map((r) => r.small)), 1), tickFormat: power }, // prettier-ignore
      marks: [
        line((r) => r.large, 'var(--v-q)', '', 'large'),
        line((r) => r.small, 'var(--v-p)', '7 3', 'small'),
        line((r) => between(r, v.value), 'var(--v-update)', '2 3', 'v'),
        P.ruleX([now().t], { stroke: 'var(--v-line)' }),
      ],
    };
  });
  const ratio = plot(frame, { title: 'β̃ as a share of β: they part at the clean end' }, (P) => {
    const rows = table().filter((r) => r.small > 1e-12);
    return {
      x: { label: 't + 1 →', type: 'log', domain: [1, config.T], ticks: [1, 10, 100, 1000], tickFormat: (x: number) => String(x) }, // prettier-ignore
      y: { label: '↑ β̃ / β', domain: [0, 1], ticks: 5 },
      marks: [
        P.ruleY([1], { stroke: 'var(--v-line)' }),
        P.line(rows.map((r) => ({ t: r.t + 1, y: r.small / r.large })), { x: 't', y: 'y', stroke: 'var(--v-p)', strokeWidth: 2, className: 'sym-small' }), // prettier-ignore
        P.ruleX([now().t + 1], { stroke: 'var(--v-line)' }),
      ],
    };
  });
  const rows = KINDS.map((kind) => {
    const strip = h('div', { class: 'dv-strip', style: '--cell: 4.4rem' });
    const [sym, colour] = ({ small: ['small', 'p'], large: ['large', 'q'], learned: ['v', 'update'] } as const)[kind]; // prettier-ignore
    const title = { small: 'Runs with β̃, the smaller', large: 'The same runs with β, the larger', learned: `The same runs with ${NAMES.learned}` }[kind]; // prettier-ignore
    const figure = h('figure', { hidden: kind === 'learned' }, h('figcaption', {}, title), strip);
    frame.stage.append(figure);
    return { kind, figure, canvases: Array.from({ length: SEEDS }, (_, n) => tensorCanvas(strip, { label: `seed ${n}`, sym, colour })) }; // prettier-ignore
  });
  const mapPlace = h('div', { class: 'dv-strip', style: '--cell: 7rem', hidden: true });
  const mapNote = h('figcaption', {});
  const mapState = tensorCanvas(mapPlace, { label: 'x_t' });
  const mapCanvas = tensorCanvas(mapPlace, { label: 'v of every pixel', sym: 'v', colour: 'update', palette: 'signed' }); // prettier-ignore
  frame.stage.append(h('figure', {}, mapNote, mapPlace));
  const mean = (x: Float32Array): number => x.reduce((sum, u) => sum + u, 0) / x.length;
  const learned = plot(
    frame,
    { title: 'What the network says: v at every step of its run, mean over the pixels' },
    (P) => {
      const points = says.map((map, i) => ({ t: runs.learned[i]!.t, y: mean(map) }));
      return {
        height: 190,
        x: { label: 'timestep t →', labelArrow: 'none', domain: [config.T, 0] },
        y: { label: '↑ v: −1 is β̃, 1 is β', domain: [-1.2, 1.2], ticks: 5, clamp: true },
        marks: [
          P.ruleY([-1, 1], { stroke: 'var(--v-line)' }),
          P.ruleX([now().t], { stroke: 'var(--v-line)' }),
          P.line(points, { x: 't', y: 'y', stroke: 'var(--v-update)', strokeWidth: 2, marker: 'dot', className: 'sym-v' }), // prettier-ignore
        ],
      };
    },
  );
  learned.element.hidden = true;

  /** The two variances of the step that leads to the state shown. */
  const now = (): Variances => {
    const rows = variancesOf(config, steps.value);
    return rows[Math.min(at.value, rows.length) - 1]!;
  };

  const run = latest(frame, async (signal) => {
    lease = await frame.lease();
    const { learnsVariance } = lease.model;
    config = lease.model.schedulerConfig;
    for (const kind of KINDS) runs[kind] = [];
    says = [];
    for (const { kind, figure } of rows) {
      figure.hidden = kind === 'learned' && !learnsVariance;
      if (figure.hidden) continue;
      const variance = kind !== 'learned' ? (`fixed_${kind}` as const) : config.variance === 'learned' ? 'learned' : 'learned_range'; // prettier-ignore
      runs[kind] = await trace(
        lease,
        { scheduler: 'ddpm', variance, steps: steps.value, seed: seed.value, ...labelsFor(lease, digit.value, SEEDS) }, // prettier-ignore
        signal,
        (list, n, done) => {
          frame.progress(`Four runs with ${NAMES[kind]}, ${n} steps`, done);
          runs[kind] = list;
          redraw();
        },
      );
    }
    if (learnsVariance) {
      const states = runs.learned.slice(0, -1);
      const { length } = sizeOf(lease);
      const said = await evaluate(lease, states.map(({ x }) => x.slice(0, length)), states.map(({ t }) => t), states.map(() => digit.value), (done) => frame.progress('What the network says of the variance', done)); // prettier-ignore
      if (signal.aborted) return;
      says = said.map((out) => out.v!);
    }
    redraw();
  });

  const redraw = soon(frame, () => {
    curves.draw();
    ratio.draw();
    const n = now();
    frame.symbol('small', n.small <= 1e-12 ? '0 (the last step)' : show(n.small));
    frame.symbol('large', n.large === 0 ? '0 (the last step)' : show(n.large));
    frame.symbol('v', n.small > 1e-12 ? show(between(n, v.value)) : '0');
    const full = variancesOf(config, config.T);
    const at1 = full.find((r) => r.t === 1)!;
    const at100 = full.find((r) => r.t === Math.min(100, config.T - 1))!;
    frame.fact('ratio-1', 'β̃ / β at t = 1', show(at1.small / at1.large, 4));
    frame.fact('ratio-100', `at t = ${at100.t}`, show(at100.small / at100.large, 4));
    frame.fact('between', `σ² for v = ${v.value.toFixed(2)} at t = ${n.t}`, n.small > 1e-12 ? show(between(n, v.value), 5) : '0'); // prettier-ignore
    frame.fact('bounds', 'between β̃ and β', `${show(n.small, 5)} and ${show(n.large, 5)}`);
    const map = says[at.value - 1];
    mapPlace.hidden = !map;
    learned.element.hidden = says.length === 0;
    if (lease) {
      mapNote.textContent = lease.model.learnsVariance
        ? 'The first seed before this step, and v of every pixel: blue towards β̃, orange towards β'
        : `${lease.source.title}: this model has not learned a variance, so there is no v of its own to show. The dotted curve says what each v would mean.`;
      if (map) {
        mapState.draw(imageOf(lease, runs.learned[at.value - 1]!.x));
        mapState.caption(`x_t, t = ${runs.learned[at.value - 1]!.t}`);
        mapCanvas.draw(imageOf(lease, map));
        const [low, high] = extent(map);
        mapCanvas.caption(`v from ${show(low, 2)} to ${show(high, 2)}`);
        learned.draw();
        frame.fact('v-mean', 'the network’s v at this step, mean', show(mean(map), 3));
        frame.fact('v-sigma', 'and its σ²', n.small > 1e-12 ? show(between(n, mean(map)), 3) : '0: the last step adds none'); // prettier-ignore
      }
      for (const { kind, canvases } of rows) {
        const state = runs[kind][Math.min(at.value, runs[kind].length - 1)];
        canvases.forEach((c, k) => {
          if (state) c.draw(imageOf(lease!, state.x, k));
          c.caption(`seed ${seed.value + k}`);
        });
      }
    }
    const [a, b] = [runs.small.at(-1), runs.large.at(-1)];
    const done = a && b && runs.large.length === steps.value + 1;
    const rough = (state: TraceState): number =>
      Array.from({ length: SEEDS }, (_, k) => roughness(imageOf(lease!, state.x, k))).reduce((p, q) => p + q, 0) / SEEDS; // prettier-ignore
    if (done) {
      frame.fact(
        'apart',
        'the first two rows at the end, root mean square apart',
        show(distance(a.x, b.x), 3),
      );
      const c = runs.learned.length === steps.value + 1 ? runs.learned.at(-1) : undefined;
      const all = [a, b, ...(c ? [c] : [])].map((state) => show(rough(state), 3));
      frame.fact('rough', `roughness at the end: β̃, β${c ? ', learned' : ''}`, all.join(', '));
    }
    frame.say(
      `Over all ${config.T} timesteps β̃ is ${show(at1.small / at1.large, 2)} of β at t = 1 and ${show(at100.small / at100.large, 3)} at t = ${at100.t}. In a run of ${steps.value} steps, the step at t = ${n.t} ${n.large === 0 ? 'is the last and adds no noise at all' : `has ${show(n.small, 2)} and ${show(n.large, 2)}`}.` +
        (done
          ? ` The rows end ${show(distance(a.x, b.x), 2)} apart (root mean square); neighbouring pixels differ by ${show(rough(a), 2)} with β̃ and ${show(rough(b), 2)} with β.`
          : '') + // prettier-ignore
        (map ? ` The network, asked for this step, says v = ${show(mean(map), 2)} on average.` : ''),
    );
  });
  run();
  redraw();
}

export const view: View = {
  name: 'variances',
  title: 'β̃, β and a learned variance',
  question: 'Which variance should a step have: β̃, β, or a learned one?',
  answer:
    'With a thousand steps it hardly matters: β̃ is right if the picture is known exactly, β if it is pure noise, and the two agree but for the last few steps. With few, long steps they part, and β adds too much noise. A network can learn where between the two each pixel belongs; that pays in likelihood, and in runs of few steps.',
  asks: true,
  mount: (host, context) =>
    mountFrame(
      host,
      context,
      view,
      {
        text: [
          'Both variances can be derived, for the two extreme kinds of data; real data lie between. The curves show them; the pictures show four seeds run with each, everything else the same. Take few steps, and they part ways.',
        ],
        formula: [
          String.raw`\sym{small}{\tilde\beta_t}=\frac{1-\ab_{t-1}}{1-\ab_t}\,\sym{large}{\beta_t}`,
          String.raw`\sym{v}{\sigma_t^2}=\exp\Bigl(\tfrac{1+v}{2}\log\sym{large}{\beta_t}+\tfrac{1-v}{2}\log\sym{small}{\tilde\beta_t}\Bigr)`,
        ],
        symbols: {
          small: { tex: '\\tilde\\beta_t', what: 'the posterior’s; dashed', colour: 'p' },
          large: { tex: '\\beta_t', what: 'the forward step’s', colour: 'q' },
          v: { tex: '\\sigma_t^2', what: 'for your v; dotted', colour: 'update' },
        },
        presets: [
          { label: 'Few steps', params: { steps: '6', at: '5' } },
          { label: 'Half way', params: { at: '5' } },
          { label: 'All timesteps: they agree', params: { curves: 'all' } },
          { label: '50 steps', params: { steps: '50', at: '49' } },
        ],
      },
      build,
    ),
};

/** Which solver for few steps: all samplers from one x_T, on budgets of evaluations, against a fine solution. */

import type { SampleOptions } from '../session/sample_options.ts';
import { parseSchedulerConfig, type SchedulerConfig } from '../scheduler/config.ts';
import { makeSteps, type RunOptions, type SchedulerName } from '../scheduler/index.ts';
import { normals, STREAM_X_T } from '../scheduler/noise.ts';
import { affineStep, aOf } from './affine.ts';
import type { View, ViewLease } from './index.ts';
import { h } from '../ui/dom.ts';
import {
  button,
  choice,
  classControl,
  latest,
  mountFrame,
  seedControl,
  show,
  soon,
  type Frame,
} from './kit.ts';
import { tensorCanvas, type Picture } from './picture.ts';
import { plot, power, powers } from './plot.ts';
import { distance, imageOf, labelsFor, sizeOf, trace } from './runs.ts';

export const BUDGETS = [5, 10, 20, 50] as const;

interface Solver {
  readonly name: SchedulerName;
  readonly text: string;
  /** Family, by which it is coloured and dashed. */
  readonly colour: string;
  readonly dash: string;
  /** Evaluations of a run of n steps. */
  readonly cost: (n: number) => number;
  /** It adds noise, so it draws another picture: no error to speak of. */
  readonly noisy?: boolean;
  readonly least?: number;
}
const one = (n: number): number => n;
export const SOLVERS: readonly Solver[] = [
  { name: 'ddim', text: 'DDIM', colour: 'xt', dash: '', cost: one },
  { name: 'euler', text: 'Euler', colour: 'xt', dash: '2 3', cost: one },
  { name: 'heun', text: 'Heun', colour: 'q', dash: '', cost: (n) => 2 * n - 1 },
  { name: 'edm', text: 'EDM (Heun, Karras σ)', colour: 'q', dash: '2 3', cost: (n) => 2 * n - 1 },
  { name: 'dpmpp-2m', text: 'DPM-Solver++ 2M', colour: 'p', dash: '', cost: one },
  { name: 'dpmpp-2s', text: 'DPM-Solver++ 2S', colour: 'p', dash: '2 3', cost: one },
  { name: 'dpmpp-3m', text: 'DPM-Solver++ 3M', colour: 'p', dash: '7 3', cost: one },
  { name: 'unipc', text: 'UniPC', colour: 'update', dash: '', cost: one },
  { name: 'pndm', text: 'PNDM', colour: 'update', dash: '2 3', cost: (n) => n + 9, least: 4 },
  { name: 'ode', text: 'Runge–Kutta 4', colour: 'eps', dash: '', cost: (n) => 4 * n - 3 },
  { name: 'ddpm', text: 'DDPM', colour: 'xt', dash: '', cost: one, noisy: true },
  { name: 'euler-ancestral', text: 'Euler ancestral', colour: 'xt', dash: '', cost: one, noisy: true },
  { name: 'dpmpp-sde', text: 'DPM-Solver++ SDE', colour: 'xt', dash: '', cost: one, noisy: true },
];
const EXACT = SOLVERS.filter((s) => !s.noisy);

/** The most steps that the budget pays for; null where it pays for none. `evaluations` counts the list of steps itself. */
export function fit(
  config: SchedulerConfig,
  solver: Solver,
  budget: number,
): { readonly run: RunOptions; readonly evaluations: number } | null {
  let n = 0;
  while (solver.cost(n + 1) <= budget) n++;
  if (n < (solver.least ?? 1)) return null;
  const run = runOf(config, solver.name, n);
  return { run, evaluations: makeSteps(config, run).length };
}

/**
 * All start from one level. Near the very top of a cosine schedule alphaBar is 1e-9, and x0Hat is all error: there a large
 * step is a throw of dice, so the runs begin a little lower, where a = sqrt(alphaBar) is 0.03 or more.
 */
export function topOf(config: SchedulerConfig): number | undefined {
  const top = Math.floor(0.98 * config.T);
  return top < config.T - 1 && top >= 1 ? top : undefined;
}
const runOf = (config: SchedulerConfig, scheduler: SchedulerName, steps: number): RunOptions => {
  const top = topOf(config);
  return { scheduler, steps, spacing: 'trailing', ...(top === undefined ? {} : { top }) };
};

/**
 * The fine solution: Runge-Kutta of order 4 with 997 evaluations; on a software adapter UniPC with 100, which ends within
 * 0.002 (root mean square) of it for `digits`. Differences below that are not resolved there.
 */
export const reference = (config: SchedulerConfig, software: boolean): RunOptions =>
  software ? runOf(config, 'unipc', Math.min(100, config.T)) : runOf(config, 'ode', Math.min(250, config.T));

// ---- the exact answer of a Gaussian ------------------------------------------------------------------------------

const SD = 0.3;
export const GAUSSIAN_STEPS = [3, 5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160] as const;

/**
 * x_0 ~ N(0, 0.3^2): the ODE has a closed form, x_t / x_T = width(t) / width(T). Relative error at the last level before
 * the clean image; levels spaced evenly in log sigma, the lecture's linear schedule.
 */
export function gaussianError(
  scheduler: SchedulerName,
  steps: number,
): { readonly evaluations: number; readonly error: number } {
  const config = parseSchedulerConfig({ clip_sample: false }, 'the lecture');
  const list = makeSteps(config, { scheduler, steps, spacing: 'linspace', sigmas: 'exponential' });
  const width = (a: number): number => Math.sqrt((a * SD) ** 2 + 1 - a * a);
  let state: { x: Float64Array; h: readonly Float64Array[] } = { x: Float64Array.of(1), h: [] };
  for (const step of list.slice(0, -1))
    state = affineStep(
      step,
      state,
      (x, { x0Hat }) => {
        const a = 1 / x0Hat.x;
        return x.map((v) => (v * Math.sqrt(1 - a * a)) / width(a) ** 2); // the exact epsilon
      },
      null,
    );
  const wanted = width(aOf(list.at(-1)!)) / width(aOf(list[0]!));
  return { evaluations: list.length, error: Math.abs(state.x[0]! / wanted - 1) };
}

/** The order seen between 40 and 80 steps: how many times half as long a step halves the error. */
export const orderOf = (scheduler: SchedulerName): number =>
  Math.log2(gaussianError(scheduler, 40).error / gaussianError(scheduler, 80).error);

/** Those whose levels can be spaced in sigma; DDIM is Euler there. */
const SPACED = EXACT.filter(({ name }) => name !== 'ddim' && name !== 'pndm' && name !== 'edm');

interface Result {
  readonly evaluations: number;
  readonly picture: Picture;
  readonly error: number;
}

function build(frame: Frame): void {
  let lease: ViewLease | null = null;
  let fine: { readonly picture: Picture; readonly evaluations: number } | null = null;
  const results = new Map<string, Result>();
  const key = (name: string, budget: number): string => `${name} ${budget}`;

  const digit = classControl(frame, '3', () => start());
  const upto = choice(
    frame,
    { name: 'upto', label: 'Evaluations, up to', values: BUDGETS.map((b) => [String(b), String(b)] as const), value: '50' }, // prettier-ignore
    () => start(),
  );
  const seed = seedControl(frame, 5, () => start());
  const stop = button(frame, 'Stop', () => halt());

  const curve = plot(frame, { title: 'Error against evaluations, of this picture' }, (P) => {
    const points = EXACT.flatMap((s) =>
      BUDGETS.flatMap((b) => {
        const r = results.get(key(s.name, b));
        return r ? [{ ...r, ...s }] : [];
      }),
    );
    const errors = points.map((p) => p.error).filter((e) => e > 0);
    return {
      x: { label: 'evaluations of the network →', type: 'log', domain: [4, 60], ticks: [5, 10, 20, 50], tickFormat: 'd' }, // prettier-ignore
      y: { label: '↑ root mean square to the reference', type: 'log', domain: [Math.min(1e-2, ...errors) / 1.3, Math.max(1, ...errors)], clamp: true, ticks: powers(Math.min(1e-2, ...errors) / 1.3, 1), tickFormat: power }, // prettier-ignore
      marks: EXACT.map(({ name, colour, dash }) => {
        const own = points.filter((p) => p.name === name);
        return [
          P.line(own, { x: 'evaluations', y: 'error', stroke: `var(--v-${colour})`, strokeWidth: 2, strokeDasharray: dash || undefined, className: `sym-${name}` }), // prettier-ignore
          P.dot(own, { x: 'evaluations', y: 'error', r: 3, fill: `var(--v-${colour})`, className: `sym-${name}` }), // prettier-ignore
        ];
      }).flat(),
    };
  });
  const gaussian = SPACED.map((s) => ({
    ...s,
    points: GAUSSIAN_STEPS.map((n) => gaussianError(s.name, n)).filter((p) => p.evaluations <= 160),
  }));
  plot(frame, { title: 'The same code where the exact answer is known: one Gaussian' }, (P) => ({
    x: { label: 'evaluations →', type: 'log', domain: [3, 160], ticks: [5, 10, 20, 50, 100], tickFormat: 'd' }, // prettier-ignore
    y: {
      label: '↑ relative error',
      type: 'log',
      domain: [1e-7, 1],
      clamp: true,
      ticks: powers(1e-7, 1),
      tickFormat: power,
    },
    marks: gaussian.map(
      ({ name, colour, dash, points }) =>
      P.line(points, { x: 'evaluations', y: 'error', stroke: `var(--v-${colour})`, strokeWidth: 2, strokeDasharray: dash || undefined, className: `sym-${name}` }), // prettier-ignore
    ),
  }));

  const target = tensorCanvas(h('div'), { label: 'the reference', colour: 'x0' });
  target.figure.classList.add('dv-target');
  const rows = SOLVERS.map((solver) => {
    const { name, text, colour, dash } = solver;
    const line = dash ? `repeating-linear-gradient(90deg, var(--v-${colour}) 0 5px, transparent 5px 8px)` : `var(--v-${colour})`; // prettier-ignore
    const cells = h('div', { class: 'dv-four' });
    const row = h(
      'figure',
      { class: 'dv-solver', 'data-sym': name, style: `--own: var(--v-${colour})` },
      h(
        'figcaption',
        {},
        solver.noisy ? null : h('span', { class: 'dv-key', style: `background: ${line}` }),
        text,
        solver.noisy ? ': adds noise, draws another picture' : null,
      ),
      cells,
    );
    const canvases = BUDGETS.map((b) => tensorCanvas(cells, { label: `${text}, ${b} evaluations` }));
    return { solver, row, canvases };
  });
  const first = h(
    'figure',
    { class: 'dv-solver' },
    h('figcaption', {}, 'The reference: the ODE, solved finely'),
    h('div', { class: 'dv-four' }, target.figure),
  );
  const grid = h('div', { class: 'dv-grid dv-wide' }, first, ...rows.map((r) => r.row));
  frame.stage.append(grid);

  let halted: AbortController | null = null;
  const halt = (): void => halted?.abort();
  const start = latest(frame, async (outer) => {
    halted = new AbortController();
    const signal = AbortSignal.any([outer, halted.signal]);
    stop.disabled = false;
    try {
      await work(signal);
    } catch (error) {
      if (!halted.signal.aborted) throw error;
    } finally {
      stop.disabled = true;
    }
  });
  async function work(signal: AbortSignal): Promise<void> {
    lease = await frame.lease();
    if (signal.aborted) return;
    const { schedulerConfig: config } = lease.model;
    fine = null;
    results.clear();
    redraw();
    const xT = normals(seed.value, STREAM_X_T, 0, sizeOf(lease).length);
    const go = async (what: string, run: RunOptions) => {
      const options: SampleOptions = { ...run, ...labelsFor(lease!, digit.value), seed: seed.value, xT };
      const states = await trace(lease!, options, signal, (s, n) =>
        frame.progress(`${what}: evaluation ${s.length - 1} of ${n}`, (s.length - 1) / n),
      );
      return { picture: imageOf(lease!, states.at(-1)!.x), evaluations: states.length - 1 };
    };
    fine = await go('The reference', reference(config, lease.gpu.isSoftware));
    redraw();
    for (const budget of BUDGETS.filter((b) => b <= Number(upto.value)))
      for (const solver of SOLVERS) {
        const fitted = fit(config, solver, budget);
        if (!fitted) continue;
        const got = await go(`${solver.text}, up to ${budget}`, fitted.run);
        results.set(key(solver.name, budget), { ...got, error: distance(got.picture.data, fine.picture.data) }); // prettier-ignore
        redraw();
      }
  }

  const redraw = soon(frame, () => {
    curve.draw();
    if (fine) {
      target.draw(fine.picture);
      target.caption(`${fine.evaluations}`);
    }
    for (const { solver, canvases } of rows)
      BUDGETS.forEach((b, i) => {
        const canvas = canvases[i]!;
        const r = results.get(key(solver.name, b));
        const cannot = lease && !fit(lease.model.schedulerConfig, solver, b);
        canvas.figure.toggleAttribute('data-empty', !r);
        if (r) canvas.draw(r.picture);
        canvas.caption(
          r ? (solver.noisy ? `${r.evaluations}` : `${r.evaluations}: ${show(r.error, 2)}`) : cannot ? `needs ${solver.cost(solver.least ?? 1)}` : `${b} …`, // prettier-ignore
        );
      });
    for (const { name } of EXACT) {
      const best = BUDGETS.flatMap((b) => results.get(key(name, b)) ?? []).at(-1);
      frame.symbol(name, best ? `${show(best.error, 2)} after ${best.evaluations}` : '…');
    }
    const lines = BUDGETS.flatMap((b) => {
      const own = EXACT.flatMap((s) => {
        const r = results.get(key(s.name, b));
        return r ? [{ text: s.text, ...r }] : [];
      });
      if (own.length < 2) return [];
      own.sort((p, q) => p.error - q.error);
      return [`at ${b} evaluations ${own[0]!.text} is nearest (${show(own[0]!.error, 2)}) and ${own.at(-1)!.text} farthest (${show(own.at(-1)!.error, 2)})`]; // prettier-ignore
    });
    if (fine) frame.fact('reference', 'the reference took', lease?.gpu.isSoftware ? `${fine.evaluations} evaluations of UniPC, right to 0.002 (a GPU takes 997 of Runge–Kutta; this adapter is software)` : `${fine.evaluations} evaluations of Runge–Kutta 4`); // prettier-ignore
    SPACED.forEach(({ name, text }) => frame.fact(`order-${name}`, `order of ${text}, measured`, show(orders.get(name)!, 3))); // prettier-ignore
    frame.say(
      lines.length
        ? `Distance to the finely solved picture, root mean square over pixels from −1 to 1: ${lines.join('; ')}.`
        : fine
          ? 'The reference is there; the samplers follow, cheapest budget first.'
          : 'The reference is computed first.',
    );
  });
  const orders = new Map(SPACED.map(({ name }) => [name, orderOf(name)]));
  start();
}

export const view: View = {
  name: 'solvers',
  title: 'Few steps, which solver',
  question: 'Few steps: which solver?',
  answer:
    'Sampling without added noise solves a differential equation, and with more steps the solvers near one and the same picture. Count evaluations of the network, not steps. With ten to twenty of them UniPC comes nearest: like DPM-Solver++ it uses again what it has already asked. Where the steps lie matters as much: the same Heun is far off with even timesteps, and among the best with Karras’ (EDM). A high order alone is not enough: Runge–Kutta asks four times a step, and with so few evaluations its steps are too long to work at all.',
  asks: true,
  mount: (host, context) =>
    mountFrame(
      host,
      context,
      view,
      {
        text: [
          'Every sampler starts from the same x_T and may ask the network the same number of times. Under each picture stands how often it really asked, and how far it is from the picture that a very fine solution ends in. Those that add noise draw another picture each time, so they have no such distance.',
        ],
        formula: [
          String.raw`\frac{d(x/a)}{d\sigma}=\frac{x/a-\hat x_0(x,t)}{\sigma},\qquad \sigma=\frac{\sqrt{1-\ab_t}}{\sqrt{\ab_t}}`,
          String.raw`\text{error}\propto(\text{length of a step})^{\text{order}}`,
        ],
        symbols: Object.fromEntries(
          EXACT.map(({ name, text, colour }) => [name, { tex: `\\text{${text}}`, what: '', colour: colour as 'q' }]), // prettier-ignore
        ),
        presets: [
          { label: 'Only 10', params: { upto: '10' } },
          { label: 'An 8', params: { class: '8', seed: '7' } },
          { label: 'A 5', params: { class: '5', seed: '4' } },
        ],
      },
      build,
    ),
};

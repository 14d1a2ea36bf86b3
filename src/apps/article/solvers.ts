/** Which solver for few steps: all samplers from one x_T, on budgets of evaluations, against a fine solution. */

import type { SampleOptions } from '../../session/sample_options.ts';
import { parseSchedulerConfig, type SchedulerConfig } from '../../schedule/config.ts';
import { makeSteps } from '../../schedule/make_steps.ts';
import type { RunOptions } from '../../schedule/run_options.ts';
import { SAMPLERS, SCHEDULERS, type SchedulerName } from '../../schedule/samplers.ts';
import type { Sampler } from '../../schedule/context.ts';
import { normals, STREAM_X_T } from '../../schedule/noise.ts';
import { affineStep, aOf } from './affine.ts';
import type { View, ViewLease } from './view.ts';
import { h } from '../../ui/dom.ts';
import { button, choice, classControl, seedControl } from './controls.ts';
import { latest, soon } from './work.ts';
import { mountFrame, type Frame } from './frame.ts';
import { show } from './text.ts';
import { tensorCanvas, type Picture } from './picture.ts';
import { plot, power, powers } from './plot.ts';
import { distance, imageOf, labelsFor, sizeOf, trace } from './runs.ts';

export const BUDGETS = [5, 10, 20, 50] as const;

interface Solver extends Pick<
  Sampler,
  'title' | 'stochastic' | 'evaluations' | 'minSteps' | 'takesTimesteps'
> {
  readonly name: SchedulerName;
  readonly colour: string;
  readonly dash: string;
}
/** Colour and dash of a curve: one colour for each family. A sampler without an entry is grey and dotted. */
const STYLES: Readonly<Record<string, readonly [colour: string, dash: string]>> = {
  ddim: ['xt', ''],
  euler: ['xt', '2 3'],
  heun: ['q', ''],
  edm: ['q', '2 3'],
  'dpmpp-2m': ['p', ''],
  'dpmpp-2s': ['p', '2 3'],
  'dpmpp-3m': ['p', '7 3'],
  unipc: ['update', ''],
  pndm: ['update', '2 3'],
  ode: ['eps', ''],
};
/** All samplers, the deterministic ones first. Those that add noise draw another picture, so they have no error. */
export const SOLVERS: readonly Solver[] = SCHEDULERS.map((name) => {
  const [colour, dash] = STYLES[name] ?? ['xt', '1 4'];
  return { ...SAMPLERS[name], name, colour, dash };
}).sort((a, b) => Number(a.stochastic) - Number(b.stochastic));
const EXACT = SOLVERS.filter((s) => !s.stochastic);

/** The most steps that the budget pays for; null where it pays for none. `evaluations` counts the list of steps itself. */
export function fit(
  config: SchedulerConfig,
  solver: Solver,
  budget: number,
): { readonly run: RunOptions; readonly evaluations: number } | null {
  let n = 0;
  while (solver.evaluations(n + 1) <= budget) n++;
  if (n < (solver.minSteps ?? 1)) return null;
  const run = runOf(config, solver.name, n);
  return { run, evaluations: makeSteps(config, run).length };
}

/**
 * Returns the first timestep of all runs. At the noisy end of a cosine schedule alphaBar is 1e-9, so x0Hat is dominated by
 * errors. The runs start a little lower, at a = sqrt(alphaBar) of 0.03 or more.
 */
export function maxTimestepOf(config: SchedulerConfig): number | undefined {
  const maxTimestep = Math.floor(0.98 * config.T);
  return maxTimestep < config.T - 1 && maxTimestep >= 1 ? maxTimestep : undefined;
}
const runOf = (config: SchedulerConfig, scheduler: SchedulerName, steps: number): RunOptions => {
  const maxTimestep = maxTimestepOf(config);
  return { scheduler, steps, spacing: 'trailing', ...(maxTimestep === undefined ? {} : { maxTimestep }) };
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

/** Solvers with levels spaced by sigma. EDM equals Heun at equal levels. */
const SPACED = EXACT.filter(({ name, takesTimesteps }) => !takesTimesteps && name !== 'edm');

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
    const { name, title, colour, dash } = solver;
    const line = dash ? `repeating-linear-gradient(90deg, var(--v-${colour}) 0 5px, transparent 5px 8px)` : `var(--v-${colour})`; // prettier-ignore
    const cells = h('div', { class: 'dv-four' });
    const row = h(
      'figure',
      { class: 'dv-solver', 'data-sym': name, style: `--own: var(--v-${colour})` },
      h(
        'figcaption',
        {},
        solver.stochastic ? null : h('span', { class: 'dv-key', style: `background: ${line}` }),
        title,
        solver.stochastic ? ': adds noise, draws another picture' : null,
      ),
      cells,
    );
    const canvases = BUDGETS.map((b) => tensorCanvas(cells, { label: `${title}, ${b} evaluations` }));
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
    const own = (halted = new AbortController());
    outer.addEventListener('abort', () => own.abort());
    stop.disabled = false;
    try {
      await work(own.signal);
    } catch (error) {
      if (!own.signal.aborted) throw error;
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
        const got = await go(`${solver.title}, up to ${budget}`, fitted.run);
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
          r ? (solver.stochastic ? `${r.evaluations}` : `${r.evaluations}: ${show(r.error, 2)}`) : cannot ? `needs ${solver.evaluations(solver.minSteps ?? 1)}` : `${b} …`, // prettier-ignore
        );
      });
    for (const { name } of EXACT) {
      const best = BUDGETS.flatMap((b) => results.get(key(name, b)) ?? []).at(-1);
      frame.symbol(name, best ? `${show(best.error, 2)} after ${best.evaluations}` : '…');
    }
    const lines = BUDGETS.flatMap((b) => {
      const own = EXACT.flatMap((s) => {
        const r = results.get(key(s.name, b));
        return r ? [{ title: s.title, ...r }] : [];
      });
      if (own.length < 2) return [];
      own.sort((p, q) => p.error - q.error);
      return [`at ${b} evaluations ${own[0]!.title} is nearest (${show(own[0]!.error, 2)}) and ${own.at(-1)!.title} farthest (${show(own.at(-1)!.error, 2)})`]; // prettier-ignore
    });
    if (fine) frame.fact('reference', 'the reference took', lease?.gpu.isSoftware ? `${fine.evaluations} evaluations of UniPC, right to 0.002 (a GPU takes 997 of Runge–Kutta; this adapter is software)` : `${fine.evaluations} evaluations of Runge–Kutta 4`); // prettier-ignore
    SPACED.forEach(({ name, title }) => frame.fact(`order-${name}`, `order of ${title}, measured`, show(orders.get(name)!, 3))); // prettier-ignore
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
          EXACT.map(({ name, title, colour }) => [name, { tex: `\\text{${title}}`, what: '', colour: colour as 'q' }]), // prettier-ignore
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

/** Classifier-free guidance: one seed, w from 0 to 8, and what it multiplies, eps_class - eps_null, as a picture. */

import { DiffusionError } from '../../core/errors.ts';
import type { SampleOptions } from '../../session/sample_options.ts';
import { normals, STREAM_X_T } from '../../schedule/noise.ts';
import type { Step } from '../../schedule/step.ts';
import { affineStep } from './affine.ts';
import type { View, ViewLease } from './view.ts';
import { h } from '../../ui/dom.ts';
import { choice, classControl, seedControl, slider } from './controls.ts';
import { latest, soon } from './work.ts';
import { mountFrame, type Frame } from './frame.ts';
import { show } from './text.ts';
import { tensorCanvas } from './picture.ts';
import { plot, power, powers } from './plot.ts';
import { clipFor, epsOf, evaluate, imageOf, labelsFor, maxDifference, peak, size, sizeOf, trace, type TraceState } from './runs.ts'; // prettier-ignore

/** The strip: from no class at all to far too much of it. */
const STRENGTHS = [0, 1, 2, 4, 8] as const;

/**
 * eps_null + w (eps_class - eps_null) (Ho & Salimans 2022, in the counting of diffusers: 1 is the class alone). The same of
 * any other prediction: they follow from eps and x_t by one linear map.
 */
export const guided = (
  ofNull: Float32Array,
  ofClass: Float32Array,
  w: number,
): { readonly diff: Float32Array<ArrayBuffer>; readonly eps: Float32Array<ArrayBuffer> } => {
  const diff = Float32Array.from(ofClass, (c, i) => c - ofNull[i]!);
  return { diff, eps: diff.map((d, i) => ofNull[i]! + w * d) };
};

/** The state after a step that saw this output of the network. For steps that remember nothing. */
export const stepped = (step: Step, x: Float32Array, m: Float32Array): Float64Array =>
  affineStep(step, { x: Float64Array.from(x), h: [] }, () => Float64Array.from(m), null).x;

/**
 * How far the class moves the predicted picture in a step: x0Hat = (x_t - s eps) / a, so by s / a times as much as it
 * moves epsilon (before clipping).
 */
export const moves = (step: Step, { ofNull, ofClass }: Outputs): number =>
  Math.abs(step.x0Hat.modelOutput) * size(guided(ofNull, ofClass, 1).diff);

/** The run of strength w; 0 asks for no class, 1 for the class alone: one evaluation a step each, else two. */
export const runOptions = (
  lease: ViewLease,
  digit: number,
  w: number,
  steps: number,
  seed: number,
): SampleOptions => ({
  ...labelsFor(lease, w === 0 ? null : digit),
  guidance: w === 0 ? 1 : w,
  steps,
  seed,
  scheduler: 'ddim',
  eta: 0,
  clip: clipFor(lease),
  spacing: 'leading',
  xT: normals(seed, STREAM_X_T, 0, sizeOf(lease).length),
});

/** Of each step of a run: what the network says with the class and without, in its own terms (m). */
interface Outputs {
  readonly ofNull: Float32Array<ArrayBuffer>;
  readonly ofClass: Float32Array<ArrayBuffer>;
}

function build(frame: Frame): void {
  let lease: ViewLease | null = null;
  let run: readonly TraceState[] = [];
  let outputs: Outputs[] = [];
  const finals = new Map<string, Float32Array<ArrayBuffer>>();
  const key = (w: number): string => [digit.value, steps.value, seed.value, w].join();

  const digit = classControl(frame, '8', () => start());
  const w = slider(
    frame,
    {
      name: 'w',
      label: 'Guidance w',
      min: 0,
      max: 8,
      step: 0.5,
      value: 4,
      format: (v) => v.toFixed(1),
    },
    () => start(),
  );
  const steps = choice(
    frame,
    { name: 'steps', label: 'Steps', values: [['12', '12'], ['25', '25'], ['50', '50']], value: '12' }, // prettier-ignore
    (n) => {
      at.rescale(Number(n));
      start();
    },
  );
  const seed = seedControl(frame, 7, () => start());
  const at = slider(
    frame,
    {
      name: 'at',
      label: 'Look at step',
      min: 1,
      max: 12,
      value: 4,
      format: (k) => `${k} of ${at.input.max}`,
    },
    () => redraw(),
  );

  const strip = h('div', { class: 'dv-strip', style: '--cell: 6rem' });
  const ends = STRENGTHS.map((v) => tensorCanvas(strip, { label: `w = ${v}`, sym: 'w', colour: 'p' }));
  const inside = h('div', { class: 'dv-strip', style: '--cell: 6.2rem' });
  const shown = {
    x: tensorCanvas(inside, { label: 'x_t', sym: 'x', colour: 'xt' }),
    ofNull: tensorCanvas(inside, { label: 'ε_null', sym: 'null', colour: 'q', palette: 'picture' }),
    ofClass: tensorCanvas(inside, { label: 'ε_class', sym: 'class', colour: 'eps', palette: 'picture' }),
    diff: tensorCanvas(inside, { label: 'ε_class − ε_null', sym: 'diff', colour: 'update', palette: 'signed' }), // prettier-ignore
    eps: tensorCanvas(inside, { label: 'ε', sym: 'eps', colour: 'p' }),
    x0: tensorCanvas(inside, { label: 'x̂₀', sym: 'x0', colour: 'x0' }),
  };
  const insideTitle = h('figcaption', {}, 'One step of the run');
  frame.stage.append(
    h('figure', { class: 'dv-wide' }, insideTitle, inside),
    h('figure', { class: 'dv-wide' }, h('figcaption', {}, 'The same seed, ended at five strengths'), strip),
  );
  const curve = plot(
    frame,
    { title: 'How much the class changes what is predicted, w = 1: the noise ε, and with it the picture x̂₀', wide: true }, // prettier-ignore
    (P) => {
      const points = outputs.flatMap((o, i) => {
        const { x, t } = run[i]!;
        const [ofNull, ofClass] = [inNoise(t, x, o.ofNull), inNoise(t, x, o.ofClass)];
        return [{ t, eps: size(guided(ofNull, ofClass, 1).diff), x0: moves(run[i + 1]!.step!, o) }];
      });
      const T = lease?.model.schedulerConfig.T ?? 1000;
      const here = points[at.value - 1];
      const lines = [
        { y: 'eps', colour: 'var(--v-update)', className: 'sym-diff', text: 'ε' },
        { y: 'x0', colour: 'var(--v-x0)', className: 'sym-x0', text: 'x̂₀' },
      ];
      return {
        height: 220,
        x: { label: 'timestep t →', labelArrow: 'none', domain: [T, 0] },
        y: {
          label: '↑ root mean square',
          type: 'log',
          ticks: powers(1e-4, 1),
          domain: [1e-4, 1],
          clamp: true,
          tickFormat: power,
        },
        marks: [
          P.ruleY([1e-4], { stroke: 'var(--v-edge)' }),
          ...lines.flatMap(({ y, colour, className, text }) => [
            P.line(points, { x: 't', y, stroke: colour, strokeWidth: 2, marker: 'dot', className }),
            here ? P.dot([here], { x: 't', y, r: 6, fill: colour, stroke: 'var(--v-card)', className }) : null, // prettier-ignore
            P.text(points.slice(0, 1), { x: 't', y, text: [text], dx: -8, textAnchor: 'end', fill: colour, className }), // prettier-ignore
          ]),
        ],
      };
    },
  );

  /** What the network said, as noise. */
  const inNoise = (t: number, x: Float32Array<ArrayBuffer>, m: Float32Array<ArrayBuffer>) =>
    epsOf(lease!.model.schedulerConfig, t, x, m);

  const start = latest(frame, async (signal) => {
    lease = await frame.lease();
    if (signal.aborted) return;
    const { model } = lease;
    if (model.config.numClassEmbeds === null || model.config.nullClass === null)
      throw new DiffusionError(
        'bad-option',
        `${lease.source.title} ${model.config.numClassEmbeds === null ? 'knows no classes' : 'was never trained without its class'}, so there is no guidance to show.`,
        'Choose another model for this view.',
      );
    const n = Number(steps.value);
    const go = async (v: number, on: (states: readonly TraceState[]) => void): Promise<TraceState[]> => {
      const options = runOptions(lease!, digit.value!, v, n, seed.value);
      return trace(lease!, options, signal, (states) => {
        frame.progress(`w = ${v}: step ${states.length - 1} of ${n}`, (states.length - 1) / n);
        on(states);
      });
    };
    run = [];
    outputs = [];
    run = await go(w.value, (states) => {
      run = states;
      redraw();
    });
    finals.set(key(w.value), run.at(-1)!.x);
    // Both predictions at every state of the run, some states at a time.
    const CHUNK = 4;
    for (let i = 0; i < n; i += CHUNK) {
      const part = run.slice(i, Math.min(i + CHUNK, n));
      frame.progress(`What the network says with the class and without: ${i} of ${n}`, i / n);
      const states = part.map(({ x }) => x);
      const ts = part.map(({ t }) => t);
      const classes = [...part.map(() => digit.value), ...part.map(() => null)];
      const out = await evaluate(lease, [...states, ...states], [...ts, ...ts], classes);
      if (signal.aborted) return;
      part.forEach((_, j) => outputs.push({ ofClass: out[j]!.m, ofNull: out[part.length + j]!.m }));
      redraw();
    }
    for (const v of STRENGTHS) {
      if (finals.has(key(v))) continue;
      finals.set(key(v), (await go(v, () => {})).at(-1)!.x);
      if (signal.aborted) return;
      redraw();
    }
    redraw();
  });

  const redraw = soon(frame, () => {
    if (!lease || run.length === 0) return;
    const n = Number(steps.value);
    const k = Math.min(at.value, n);
    const picture = (data: Float32Array<ArrayBuffer>) => imageOf(lease!, data);
    STRENGTHS.forEach((v, i) => {
      const end = finals.get(key(v));
      if (end) ends[i]!.draw(picture(end));
      ends[i]!.caption(end ? `w = ${v}` : `w = ${v} …`);
    });
    const before = run[k - 1];
    const after = run[k];
    insideTitle.textContent = `Step ${k} of the run with w = ${w.value.toFixed(1)}${before ? `, at timestep ${before.t}` : ''}`;
    if (before) shown.x.draw(picture(before.x), 1.5);
    if (after?.x0Hat) shown.x0.draw(picture(after.x0Hat));
    shown.x.caption('x_t');
    shown.x0.caption('x̂₀, from the guided ε');
    curve.draw();
    frame.symbol('w', w.value.toFixed(1));
    const own = outputs[k - 1];
    if (!own || !before || !after?.step) {
      frame.say(`Step ${run.length - 1} of ${n} of the run with guidance ${w.value.toFixed(1)}.`);
      return;
    }
    const ofNull = inNoise(before.t, before.x, own.ofNull);
    const ofClass = inNoise(before.t, before.x, own.ofClass);
    const { diff, eps } = guided(ofNull, ofClass, w.value);
    shown.ofNull.draw(picture(ofNull), 2);
    shown.ofClass.draw(picture(ofClass), 2);
    const reach = peak(diff);
    shown.diff.draw(picture(diff), reach);
    shown.diff.caption(`ε_class − ε_null, full colour at ±${show(reach, 2)}`);
    shown.eps.draw(picture(eps), 2);
    shown.eps.caption('ε, guided');
    const changes = outputs.map((o, i) => moves(run[i + 1]!.step!, o));
    const most = changes.indexOf(Math.max(...changes));
    const again = maxDifference(
      stepped(after.step, before.x, guided(own.ofNull, own.ofClass, w.value).eps),
      after.x,
    );
    frame.symbol('null', `size ${show(size(ofNull), 3)}`);
    frame.symbol('class', `size ${show(size(ofClass), 3)}`);
    frame.symbol('diff', `size ${show(size(diff), 3)}`);
    frame.symbol('x0', `moved by ${show(changes[k - 1]!, 2)}`);
    frame.symbol('eps', `size ${show(size(eps), 3)}`);
    frame.fact('diff', 'size of ε_class − ε_null', show(size(diff), 3));
    frame.fact('eps', 'size of the guided ε', show(size(eps), 3));
    frame.fact('again', 'the step taken again from these pictures: largest difference', show(again, 2));
    frame.fact('moved', 'the class moves x̂₀ by', show(changes[k - 1]!, 3));
    if (outputs.length === n) frame.fact('most', 'and most at timestep', String(run[most]!.t));
    frame.say(
      `${digit.text[0]!.toUpperCase()}${digit.text.slice(1)} from seed ${seed.value} with guidance ${w.value.toFixed(1)}, at step ${k} of ${n} (t = ${before.t}): ` +
        `knowing the class changes the predicted noise by ${show(size(diff), 2)} (root mean square; the noise itself is ${show(size(ofNull), 2)}) and the predicted picture by ${show(changes[k - 1]!, 2)}, and guidance multiplies the difference by ${w.value.toFixed(1)}. ` + // prettier-ignore
        (w.value === 0
          ? 'At w = 0 the class is not heard at all.'
          : w.value === 1
            ? 'At w = 1 nothing is exaggerated.'
            : 'Where the difference is blue the class asks for a brighter pixel, where it is orange for a darker one.'), // prettier-ignore
    );
  });
  start();
}

export const view: View = {
  name: 'guidance',
  title: 'Guidance',
  question: 'What does guidance add to a step?',
  answer:
    'A direction: the difference between what the network predicts when told the class and when not. It is a small picture of the strokes that would make the state more of its class, and guidance walks along it w times as far. At w = 0 the class is not heard, at 1 it is followed, beyond it is exaggerated: what the seed alone would have drawn gives way to the class. It moves the predicted picture most in the first, noisy steps.',
  asks: true,
  mount: (host, context) =>
    mountFrame(
      host,
      context,
      view,
      {
        text: [
          'In each step the network is asked twice, with the class and without. Where both say the same, the class does not matter; where they differ, you see what the class is about. The same seed is drawn at every strength.',
        ],
        formula: [
          String.raw`\sym{eps}{\varepsilon}=\sym{null}{\varepsilon_{\text{null}}}+\sym{w}{w}\,\bigl(\sym{diff}{\sym{class}{\varepsilon_{\text{class}}}-\sym{null}{\varepsilon_{\text{null}}}}\bigr)`,
          String.raw`\sym{x0}{\hat x_0}=\bigl(x_t-\sqrt{1-\ab_t}\,\sym{eps}{\varepsilon}\bigr)/\sqrt{\ab_t}`,
        ],
        symbols: {
          eps: { tex: '\\varepsilon', what: 'what the step is made with', colour: 'p' },
          null: { tex: '\\varepsilon_{\\text{null}}', what: 'without the class', colour: 'q' },
          class: { tex: '\\varepsilon_{\\text{class}}', what: 'with the class', colour: 'eps' },
          diff: { tex: '\\varepsilon_{\\text{class}}-\\varepsilon_{\\text{null}}', what: 'what the class is about', colour: 'update' }, // prettier-ignore
          w: { tex: 'w', what: 'how far to walk along it' },
          x0: { tex: '\\hat x_0', what: 'the picture that the guided ε means', colour: 'x0' },
        },
        presets: [
          { label: 'Not heard: w = 0', params: { w: '0' } },
          { label: 'Followed: w = 1', params: { w: '1' } },
          { label: 'Exaggerated: w = 8', params: { w: '8' } },
          { label: 'Where the class is decided', params: { w: '4', at: '2' } },
        ],
      },
      build,
    ),
};

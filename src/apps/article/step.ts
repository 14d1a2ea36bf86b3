/** Inside a step: the formula with this step's numbers, as they are in the uniform that the shader reads; and in Python. */

import { packStep, unpackStep } from '../../engine/kernels/update.ts';
import { normals, STREAM_Z } from '../../schedule/noise.ts';
import type { View, ViewLease } from './view.ts';
import { h } from '../../ui/dom.ts';
import { button, choice, classControl, seedControl, slider } from './controls.ts';
import { latest, soon } from './work.ts';
import { mountFrame, type Frame } from './frame.ts';
import { show } from './text.ts';
import { tensorCanvas, type TensorCanvas } from './picture.ts';
import { pythonOf } from './python.ts';
import { clipFor, evaluate, extent, imageOf, labelsFor, maxDifference, peak, PREDICTS, sizeOf, trace, type TraceState } from './runs.ts'; // prettier-ignore

export const STEP_SAMPLERS = {
  ddim: { text: 'DDIM', run: { scheduler: 'ddim', eta: 0 } },
  'ddim-1': { text: 'DDIM, η = 1', run: { scheduler: 'ddim', eta: 1 } },
  ddpm: { text: 'DDPM', run: { scheduler: 'ddpm', variance: 'fixed_small' } },
} as const;
export type StepSampler = keyof typeof STEP_SAMPLERS;

/** The weights of the first line, by what the model predicts (schedule/prediction.ts). */
const LABELS = {
  epsilon: { 'x0-x': 'a₁ = 1 / √ᾱ', 'x0-m': 'a₂ = −√(1 − ᾱ) / √ᾱ' },
  sample: { 'x0-x': 'a₁ = 0', 'x0-m': 'a₂ = 1' },
  v_prediction: { 'x0-x': 'a₁ = √ᾱ', 'x0-m': 'a₂ = −√(1 − ᾱ)' },
} as const;

function build(frame: Frame): void {
  let lease: ViewLease | null = null;
  let states: readonly TraceState[] = [];
  /** What the network said at each state. */
  let outputs: readonly Float32Array<ArrayBuffer>[] = [];
  let code = '';

  const sampler = choice(frame, { name: 'sampler', label: 'Sampler', values: Object.entries(STEP_SAMPLERS).map(([k, v]) => [k, v.text] as [StepSampler, string]), value: 'ddpm' }, () => run()); // prettier-ignore
  const digit = classControl(frame, '2', () => run());
  const steps = slider(frame, { name: 'steps', label: 'Steps', min: 2, max: 50, value: 10 }, (n) => (at.rescale(n), run())); // prettier-ignore
  const seed = seedControl(frame, 3, () => run());
  const at = slider(frame, { name: 'at', label: 'Look inside step', min: 1, max: 10, value: 6, format: (k) => `${k} of ${at.input.max}` }, () => redraw()); // prettier-ignore
  const copy = button(frame, 'Copy as Python', () => {
    void navigator.clipboard
      .writeText(code)
      .then(() => (copy.textContent = 'Copied'))
      .catch(() => (copy.textContent = 'Select it below'))
      .finally(() => setTimeout(() => (copy.textContent = 'Copy as Python'), 1500));
  });

  const strip = h('div', { class: 'dv-strip', style: '--cell: 6.2rem' });
  const pictures = {
    x: tensorCanvas(strip, { label: 'x_t', sym: 'x', colour: 'xt' }),
    m: tensorCanvas(strip, { label: 'what the network says', sym: 'm', colour: 'eps', palette: 'signed' }),
    x0: tensorCanvas(strip, { label: 'x̂₀', sym: 'x0', colour: 'x0' }),
    z: tensorCanvas(strip, { label: 'z', sym: 'z', colour: 'update', palette: 'signed' }),
    next: tensorCanvas(strip, { label: 'x_{t−1}', sym: 'next', colour: 'xt' }),
  };
  const text = h('pre', { tabindex: 0, 'aria-label': 'The step in Python' });
  frame.stage.append(
    h('figure', { class: 'dv-wide' }, h('figcaption', {}, 'The tensors of this step'), strip),
    h('details', { class: 'dv-wide' }, h('summary', {}, 'The step in Python, with its tensors, for diffusers'), text), // prettier-ignore
  );

  const run = latest(frame, async (signal) => {
    lease = await frame.lease();
    states = [];
    outputs = [];
    const options = { ...STEP_SAMPLERS[sampler.value].run, clip: clipFor(lease), steps: steps.value, seed: seed.value, ...labelsFor(lease, digit.value) }; // prettier-ignore
    states = await trace(lease, options, signal, (list, n) => {
      frame.progress(`Step ${list.length - 1} of ${n}`, (list.length - 1) / n);
      states = list;
      redraw();
    });
    const looks = states.slice(0, -1);
    const said = await evaluate(lease, looks.map(({ x }) => x), looks.map(({ t }) => t), looks.map(() => digit.value), (done) => frame.progress('What the network said, once more', done)); // prettier-ignore
    if (signal.aborted) return;
    outputs = said.map(({ m }) => m);
    redraw();
  });

  const redraw = soon(frame, () => {
    const [before, after] = [states[at.value - 1], states[at.value]];
    if (!lease || !before || !after?.step) return;
    const { step } = after;
    const { length } = sizeOf(lease);
    const n = unpackStep(packStep(step, 1, 0));
    const z = step.sigma > 0 ? normals(seed.value, STREAM_Z, step.index, length) : new Float32Array(length);
    const m = outputs[at.value - 1];
    const { predictionType } = lease.model.schedulerConfig;
    const draw = (c: TensorCanvas, data: Float32Array<ArrayBuffer>, reach = 1) => c.draw(imageOf(lease!, data), reach); // prettier-ignore
    const top = (v: Float32Array): number => Math.max(1, peak(v) / 1.5);
    draw(pictures.x, before.x, top(before.x));
    if (m) draw(pictures.m, m, peak(m));
    draw(pictures.x0, after.x0Hat!);
    draw(pictures.z, z, 3);
    draw(pictures.next, after.x, top(after.x));
    pictures.x.caption(`x_t, t = ${step.t}`);
    pictures.m.caption(`what the network says: ${PREDICTS[predictionType]}`);
    pictures.z.caption(step.sigma > 0 ? `z, seed ${seed.value}, step ${step.index}` : 'z: not used here');
    pictures.next.caption(step.tPrev < 0 ? 'x_{t−1}: the picture' : `x_{t−1}, t = ${step.tPrev}`);
    const numbers = { 'x0-x': n.x0_x, 'x0-m': n.x0_m, 'c-x': n.x, 'c-x0': n.x0Hat, sigma: n.sigma };
    const labels: Readonly<Record<string, string>> = { ...LABELS[predictionType], 'c-x': 'b₁', 'c-x0': 'b₂', sigma: 'σ' }; // prettier-ignore
    for (const [key, value] of Object.entries(numbers)) {
      frame.symbol(key, show(value, 6));
      frame.fact(key, labels[key]!, show(value, 8));
    }
    const range = (v: Float32Array): string => extent(v).map((u) => show(u, 3)).join(' to '); // prettier-ignore
    frame.symbol('x', range(before.x));
    frame.symbol('m', m ? range(m) : '…');
    frame.symbol('x0', range(after.x0Hat!));
    frame.symbol('z', step.sigma > 0 ? range(z) : '0');
    frame.symbol('next', range(after.x));
    if (!m) return;
    // Both lines by hand, in f64, from what is seen: what the shader made of them.
    const x0ByHand = before.x.map((v, i) => Math.min(Math.max(n.x0_x * v + n.x0_m * m[i]!, -n.clip), n.clip));
    const byHand = before.x.map((v, i) => n.x * v + n.x0Hat * x0ByHand[i]! + n.sigma * z[i]!);
    const off = maxDifference(byHand, after.x);
    frame.fact('clipped', 'numbers of x̂₀ that were clipped', `${((100 * x0ByHand.filter((v) => Math.abs(v) === n.clip).length) / length).toFixed(0)} %`); // prettier-ignore
    frame.fact('by-hand', 'both lines by hand, from the pictures shown, against the shader: largest difference', show(off, 2)); // prettier-ignore
    code = pythonOf(sampler.value, { ...lease.model.schedulerConfig, clip: n.clip }, steps.value, at.value - 1, { x: before.x, m, z, next: after.x, shape: imageOf(lease, after.x) }); // prettier-ignore
    text.textContent = code;
    frame.say(
      `Step ${at.value} of ${steps.value} goes from t = ${step.t} to ${step.tPrev < 0 ? 'the clean picture' : `t = ${step.tPrev}`}: ${show(n.x, 3)} parts of x_t, ${show(n.x0Hat, 3)} parts of x̂₀${n.sigma > 0 ? ` and ${show(n.sigma, 3)} parts of fresh noise` : ', and no fresh noise'}. Done by hand from the pictures shown, the same comes out within ${show(off, 1)}.`,
    );
  });
  run();
}

export const view: View = {
  name: 'inside',
  title: 'Inside a step',
  question: 'What exactly does one step compute?',
  answer:
    'Two weighted sums. The network’s output and x_t give the guess x̂₀, which is clipped; x_t, x̂₀ and, for a sampler that draws, fresh noise give x_{t−1}. The weights depend on t only and are known before the run begins; all the intelligence is in one tensor, the network’s output.',
  asks: true,
  mount: (host, context) =>
    mountFrame(
      host,
      context,
      view,
      {
        text: [
          'A run is stopped at the step that you choose. The numbers below are read from the very bytes that the shader gets, the pictures are its tensors; point at a symbol to find its picture. The Python does this step again, with diffusers.',
        ],
        formula: [
          String.raw`\sym{x0}{\hat x_0}=\operatorname{clip}\bigl(\sym{x0-x}{a_1}\,\sym{x}{x_t}+\sym{x0-m}{a_2}\,\sym{m}{m_\theta(x_t,t)}\bigr)`,
          String.raw`\sym{next}{x_{t-1}}=\sym{c-x}{b_1}\,\sym{x}{x_t}+\sym{c-x0}{b_2}\,\sym{x0}{\hat x_0}+\sym{sigma}{\sigma}\,\sym{z}{z}`,
        ],
        symbols: {
          x: { tex: 'x_t', what: 'the state before', colour: 'xt' },
          m: { tex: 'm_\\theta', what: 'what the network says', colour: 'eps' },
          x0: { tex: '\\hat x_0', what: 'guess of the picture', colour: 'x0' },
          z: { tex: 'z', what: 'fresh noise', colour: 'update' },
          next: { tex: 'x_{t-1}', what: 'the state after', colour: 'xt' },
          'x0-x': { tex: 'a_1', what: 'takes of x_t' },
          'x0-m': { tex: 'a_2', what: 'takes of the output' },
          'c-x': { tex: 'b_1', what: 'keeps of x_t' },
          'c-x0': { tex: 'b_2', what: 'takes of x̂₀' },
          sigma: { tex: '\\sigma', what: 'scale of the noise' },
        },
        presets: [
          { label: 'The first step', params: { at: '1' } },
          { label: 'The last step', params: { at: '10' } },
          { label: 'DDIM’s', params: { sampler: 'ddim' } },
        ],
      },
      build,
    ),
};

/** Linear, cosine and sigmoid schedules on one picture and one noise, at the same t or at the same signal-to-noise ratio. */

import { parseSchedulerConfig } from '../../schedule/config.ts';
import { normals, STREAM_X_T } from '../../schedule/noise.ts';
import { makeSchedule } from '../../schedule/schedule.ts';
import type { View } from './view.ts';
import { h } from '../../ui/dom.ts';
import { mountFrame, type Frame } from './frame.ts';
import { seedControl, slider, toggle } from './controls.ts';
import { show } from './text.ts';
import { soon } from './work.ts';
import { tensorCanvas } from './picture.ts';
import { plot } from './plot.ts';
import { modelPicker } from './runs.ts';

const T = 1000;
export const SCHEDULES = {
  linear: { text: 'linear', source: 'Ho et al. 2020', json: {}, colour: 'q', dash: '' },
  cosine: { text: 'cosine', source: 'Nichol & Dhariwal 2021', json: { beta_schedule: 'squaredcos_cap_v2' }, colour: 'p', dash: '7 3' }, // prettier-ignore
  sigmoid: { text: 'sigmoid', source: 'Xu et al. 2022', json: { beta_schedule: 'sigmoid' }, colour: 'update', dash: '2 3' }, // prettier-ignore
} as const;
export type ScheduleName = keyof typeof SCHEDULES;
const NAMES = Object.keys(SCHEDULES) as ScheduleName[];

export const tableOf = (name: ScheduleName): Float64Array =>
  makeSchedule(parseSchedulerConfig(SCHEDULES[name].json, name)).alphaBar;

/** The timestep whose alphaBar is nearest, in log SNR, to the one wanted. */
export function timestepFor(table: Float64Array, alphaBar: number): number {
  const snr = (ab: number): number => Math.log(ab / (1 - ab));
  let [best, gap] = [0, Infinity];
  table.forEach((ab, t) => {
    const own = Math.abs(snr(ab) - snr(alphaBar));
    if (own < gap) [best, gap] = [t, own];
  });
  return best;
}

/** Where each schedule stands: at t, or with the lock where its SNR is that of cosine's at t. */
export function standing(
  tables: Readonly<Record<ScheduleName, Float64Array>>,
  t: number,
  locked: boolean,
): Record<ScheduleName, number> {
  const wanted = tables.cosine[t]!;
  return Object.fromEntries(
    NAMES.map((name) => [name, locked && name !== 'cosine' ? timestepFor(tables[name], wanted) : t]),
  ) as Record<ScheduleName, number>;
}

function build(frame: Frame): void {
  const tables = Object.fromEntries(NAMES.map((n) => [n, tableOf(n)])) as Record<ScheduleName, Float64Array>;
  const own = modelPicker(frame, { width: 64, height: 64, channels: 3 }, () => redraw());
  const time = slider(frame, { name: 't', label: 'Timestep t', min: 0, max: T - 1, value: 300 }, () => redraw()); // prettier-ignore
  const lock = toggle(
    frame,
    { name: 'lock', label: 'Lock the signal-to-noise ratio (each finds its own t)' },
    () => redraw(),
  );
  const seed = seedControl(frame, 1, () => redraw(), 'Seed of the noise');

  const strip = h('div', { class: 'dv-strip', style: '--cell: 6.2rem' });
  frame.stage.append(strip);
  const canvases = Object.fromEntries(
    NAMES.map((name) => [
      name,
      tensorCanvas(strip, { label: name, sym: name, colour: SCHEDULES[name].colour }),
    ]),
  ) as Record<ScheduleName, ReturnType<typeof tensorCanvas>>;

  const curve = (name: ScheduleName, f: (ab: number) => number) =>
    [...tables[name]].flatMap((ab, t) => (t % 4 === 0 || t === T - 1 ? [{ t, y: f(ab) }] : []));
  const curves = (title: string, label: string, f: (ab: number) => number, y: object) =>
    plot(frame, { title }, (P) => {
      const at = standing(tables, time.value, lock.value);
      return {
        x: { label: 'timestep t →', domain: [0, T] },
        y: { label, ticks: 5, ...y },
        marks: [
          P.ruleY([0], { stroke: 'var(--v-line)' }),
          ...NAMES.flatMap((name) => [
            P.line(curve(name, f), { x: 't', y: 'y', stroke: `var(--v-${SCHEDULES[name].colour})`, strokeWidth: 2, strokeDasharray: SCHEDULES[name].dash || undefined, clip: true, className: `sym-${name}` }), // prettier-ignore
            P.dot([{ t: at[name], y: f(tables[name][at[name]]!) }], { x: 't', y: 'y', r: 5, fill: `var(--v-${SCHEDULES[name].colour})`, stroke: 'var(--v-card)', clip: false, className: `sym-${name}` }), // prettier-ignore
          ]),
        ],
      };
    });
  const bars = curves('What is left of the picture: ᾱ', '↑ ᾱ', (ab) => ab, { domain: [0, 1] });
  const snr = curves(
    'Signal-to-noise ratio, as log₁₀ ᾱ / (1 − ᾱ)',
    '↑ log₁₀ SNR',
    (ab) => Math.log10(ab / (1 - ab)),
    { domain: [-5, 4.5] },
  );

  const redraw = soon(frame, () => {
    const { data, ...shape } = own.picture;
    const eps = normals(seed.value, STREAM_X_T, 0, data.length);
    const at = standing(tables, time.value, lock.value);
    for (const name of NAMES) {
      const ab = tables[name][at[name]]!;
      const [a, s] = [Math.sqrt(ab), Math.sqrt(1 - ab)];
      canvases[name].draw({ data: data.map((x, i) => a * x + s * eps[i]!), ...shape });
      canvases[name].caption(`${SCHEDULES[name].text}, t = ${at[name]}: ᾱ = ${show(ab, 3)}`);
      frame.symbol(name, `${show(ab, 4)} at t = ${at[name]}`);
      frame.fact(name, `${SCHEDULES[name].text}: t, ᾱ, SNR`, `${at[name]}, ${show(ab, 4)}, ${show(ab / (1 - ab), 3)}`); // prettier-ignore
    }
    frame.symbol('eps', `seed ${seed.value}`);
    bars.draw();
    snr.draw();
    const level = (name: ScheduleName): string => `${name} ${show(tables[name][at[name]]!, 3)}`;
    frame.say(
      lock.value
        ? `The three pictures are destroyed equally (ᾱ ${NAMES.map(level).join(', ')}), and look the same; the schedules get there at t = ${NAMES.map((n) => `${at[n]} (${n})`).join(', ')}.`
        : `At t = ${time.value} of 1,000 what is left of the picture's variance is ${NAMES.map(level).join(', ')}: the larger, the clearer your picture is seen through the noise.`,
    );
  });
}

export const view: View = {
  name: 'schedules',
  title: 'Schedules',
  question: 'What does the noise schedule change?',
  answer:
    'Only when a noise level is visited, never what it looks like: at an equal signal-to-noise ratio all schedules give the same picture. The linear one has destroyed small pictures half way and spends the rest of its steps on nearly pure noise; cosine spreads the destruction evenly over t.',
  asks: false,
  mount: (host, context) =>
    mountFrame(
      host,
      context,
      view,
      {
        text: [
          'One picture, one draw of noise, three schedules. Move t and see how fast each of them gives your picture up; then lock the signal-to-noise ratio, and see that they only disagree about the name of the place, not about the place.',
        ],
        formula: [
          String.raw`x_t=\sqrt{\ab_t}\,\sym{x0}{x_0}+\sqrt{1-\ab_t}\,\sym{eps}{\varepsilon}\qquad \mathrm{SNR}_t=\frac{\ab_t}{1-\ab_t}`,
          String.raw`\sym{linear}{\ab_t^{\,\text{linear}}}\qquad\sym{cosine}{\ab_t^{\,\text{cosine}}}\qquad\sym{sigmoid}{\ab_t^{\,\text{sigmoid}}}`,
        ],
        symbols: {
          linear: { tex: '\\ab_t^{\\text{linear}}', what: 'β from 0.0001 to 0.02', colour: 'q' },
          cosine: { tex: '\\ab_t^{\\text{cosine}}', what: 'a squared cosine', colour: 'p' },
          sigmoid: { tex: '\\ab_t^{\\text{sigmoid}}', what: 'β along a sigmoid', colour: 'update' },
          eps: { tex: '\\varepsilon', what: 'the noise, the same in all three', colour: 'eps' },
        },
        presets: [
          { label: 'Half way: t = 500', params: { t: '500' } },
          { label: 'Half destroyed: ᾱ = 0.5', params: { t: '496', lock: '1' } },
          { label: 'Nearly gone: ᾱ = 0.01', params: { t: '935', lock: '1' } },
        ],
      },
      build,
    ),
};

/** What <diffusion-sampler> consists of in its shadow tree, and how it follows from the element's state. */

import { megabytes } from '../../core/format.ts';
import { grid } from '../../core/pixels.ts';
import type { DiffusionError } from '../../core/errors.ts';
import { normals, STREAM_X_T } from '../../schedule/noise.ts';
import type { Player } from '../../session/player.ts';
import type { StateView } from '../../session/state_view.ts';
import { paintPixels } from '../../ui/canvas.ts';
import { h } from '../../ui/dom.ts';
import type { ModelSource } from '../../loading/source.ts';

export const VIEW_TEXTS: Readonly<Record<StateView, string>> = {
  x_t: 'xₜ: picture',
  x0: 'x̂₀: guess',
  eps: 'ε̂: noise',
  update: 'Δx: change',
};
export const isStateView = (view: string): view is StateView => Object.hasOwn(VIEW_TEXTS, view);

export type SamplerStatus = 'poster' | 'loading' | 'ready' | 'running' | 'paused' | 'done' | 'failed';

const ICONS = {
  play: 'M7 4v16l13-8z',
  pause: 'M6 4h4v16H6zM14 4h4v16h-4z',
  stop: 'M5 5h14v14H5z',
  step: 'M6 4v16l10-8zM17 4h3v16h-3z',
  back: 'M18 4v16L8 12zM4 4h3v16H4z',
  save: 'M11 3h2v9h4l-5 6-5-6h4zM4 19h16v2H4z',
};

function icon(name: keyof typeof ICONS): SVGSVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

function iconButton(part: string, name: keyof typeof ICONS, label: string, css = ''): HTMLButtonElement {
  const attributes = { type: 'button', part: `button ${part}`, title: label, 'aria-label': label };
  return h('button', css ? { ...attributes, class: css } : attributes, icon(name));
}

function setIcon(button: HTMLButtonElement, name: 'play' | 'pause'): void {
  const label = name === 'play' ? 'Play' : 'Pause';
  if (button.title === label) return;
  button.replaceChildren(icon(name));
  button.title = label;
  button.setAttribute('aria-label', label);
}

export type Ui = ReturnType<typeof build>;

/** The nodes; reason for its length: a list of them. */
export function build() {
  const noise = h('canvas', { class: 'noise', width: 32, height: 32, 'aria-hidden': 'true' });
  const posterSlot = h('slot', { name: 'poster' }, noise);
  const poster = h('div', { class: 'poster', part: 'poster' }, posterSlot);
  const canvas = h('canvas', { part: 'canvas', role: 'img' });
  const run = h('button', { type: 'button', class: 'run', part: 'run' }, 'Run on my GPU');
  const title = h('p', { class: 'title', part: 'title', hidden: true });
  const over = h('div', { class: 'over' }, run, title);
  const bar = h('progress', { part: 'progress-bar', 'aria-label': 'Download of the model' });
  const bytes = h('span', { part: 'progress-text' });
  const cancel = h('button', { type: 'button', part: 'cancel' }, 'Cancel');
  const waiting = h('div', { class: 'waiting', part: 'progress' }, h('slot', { name: 'progress' }, bar, bytes), cancel); // prettier-ignore
  const message = h('p', { part: 'error-message' });
  const retry = h('button', { type: 'button', part: 'retry' }, 'Try again');
  const fault = h('div', { class: 'over fault', part: 'error' }, h('slot', { name: 'error' }, message), retry); // prettier-ignore
  const toggle = iconButton('toggle', 'play', 'Play', 'corner');
  const frame = h('div', { class: 'frame', part: 'frame' }, canvas, poster, over, waiting, fault, toggle);

  const play = iconButton('play', 'play', 'Play');
  const back = iconButton('step-back', 'back', 'One step back');
  const step = iconButton('step', 'step', 'One step on');
  const stop = iconButton('stop', 'stop', 'Stop');
  const save = iconButton('save', 'save', 'Save the picture');
  const timeline = h('input', { type: 'range', part: 'timeline', min: 0, step: 1, 'aria-label': 'Step' });
  const status = h('output', { part: 'status', 'aria-live': 'off' });
  const view = h(
    'select',
    { part: 'view', 'aria-label': 'What is shown' },
    ...Object.entries(VIEW_TEXTS).map(([value, text]) => h('option', { value }, text)),
  );
  const bar2 = [play, back, step, stop, timeline, save, status, view];
  const controls = h('div', { class: 'controls', part: 'controls', role: 'group', 'aria-label': 'Run' }, ...bar2); // prettier-ignore
  const host = h('div', { class: 'lecture', part: 'view-host', hidden: true });
  return { frame, canvas, poster, posterSlot, noise, over, run, title, waiting, bar, bytes, cancel, fault, message, retry, toggle, controls, play, back, step, stop, save, timeline, status, view, host }; // prettier-ignore
}

/** What is seen of the element's state, but for the picture. */
export interface Shown {
  readonly status: SamplerStatus;
  /** Null while there is no state to show. */
  readonly player: Player | null;
  /** The settings have changed since the run, so it cannot go on. */
  readonly stale: boolean;
  readonly error: DiffusionError | null;
  readonly disabled: boolean;
  /** A view of the lecture fills the element. */
  readonly lecture: boolean;
  readonly controls: boolean;
  readonly count: number;
  readonly view: string;
  /** The picture in words. */
  readonly alternative: string;
}

/** Errors that trying again does not mend. */
const FINAL = ['no-webgpu-api', 'no-secure-context', 'unsupported-model'];

export function render(ui: Ui, shown: Shown): void {
  const { status, player, lecture, error, disabled, controls } = shown;
  const running = status === 'running';
  const loading = status === 'loading';
  ui.host.hidden = !lecture;
  ui.frame.hidden = lecture;
  ui.controls.hidden = !controls || lecture;
  const columns = Math.ceil(Math.sqrt(Math.max(shown.count, 1))) || 1;
  const rows = Math.ceil(shown.count / columns) || 1;
  ui.frame.style.setProperty('--ds-aspect', `${columns} / ${rows}`);
  ui.poster.hidden = player !== null;
  ui.fault.hidden = !error;
  ui.over.hidden = player !== null || loading || error !== null;
  ui.waiting.hidden = !loading;
  ui.message.textContent = error?.message ?? '';
  ui.retry.hidden = FINAL.includes(error?.code ?? '');
  const where = player ? words(player) : 'not drawn yet';
  ui.canvas.setAttribute('aria-label', `${shown.alternative}; ${where}`);
  ui.toggle.hidden = controls || !player || error !== null;
  for (const button of [ui.play, ui.toggle]) setIcon(button, running ? 'pause' : 'play');

  for (const button of [ui.run, ui.toggle, ui.retry]) button.disabled = disabled;
  ui.play.disabled = loading || disabled;
  const atEnd = player !== null && !shown.stale && player.index >= player.steps;
  ui.step.disabled = loading || atEnd || disabled;
  ui.back.disabled = !player || player.index === 0 || disabled;
  ui.stop.disabled = !loading && !running && !(status === 'paused' && !shown.stale);
  ui.save.disabled = !player;
  ui.timeline.disabled = !player || disabled;
  ui.timeline.max = String(player?.steps ?? 1);
  ui.timeline.value = String(player?.index ?? 0);
  ui.timeline.setAttribute('aria-valuetext', where);
  ui.status.textContent = player ? where : loading ? 'Loading …' : '';
  if (isStateView(shown.view)) ui.view.value = shown.view;
}

/** The download of the model. @param total null if nobody says */
export function showProgress({ bar, bytes }: Ui, received: number, total: number | null): void {
  if (total) Object.assign(bar, { max: total, value: Math.min(received, total) });
  else bar.removeAttribute('value');
  if (!total) bytes.textContent = 'Loading the model …';
  else if (received >= total) bytes.textContent = 'Preparing the GPU …';
  else bytes.textContent = `${megabytes(received)} of ${megabytes(total)}`;
}

const words = ({ index, steps, t }: Player): string =>
  `step ${index} of ${steps}, ${t < 0 ? 'the picture' : `t = ${Math.round(t)}`}`;

/** The shape of the poster's noise before the model's is known. */
export const GREY: NonNullable<ModelSource['shape']> = [1, 32, 32];

/** The author's picture; or noise: of a bundled model, the very x_T that the run starts from. */
export function drawPoster({ posterSlot, noise }: Ui, address: string, seed: number, shape = GREY): void {
  if (address) return posterSlot.replaceChildren(h('img', { src: address, alt: '', part: 'poster-image' }));
  posterSlot.replaceChildren(noise);
  if (!Number.isSafeInteger(seed) || seed < 0) return;
  const [channels, height, width] = shape;
  const x = normals(seed, STREAM_X_T, 0, channels * height * width);
  paintPixels(noise, grid(x, [1, channels, height, width]));
}

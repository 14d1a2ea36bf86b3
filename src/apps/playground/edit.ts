/** The drawer "Edit": a picture to start from, a mask over it, and the slide between two seeds. */

import { grid, toShares, toSigned } from '../../core/pixels.ts';
import { qSample } from '../../session/latents.ts';
import { imageCount, stepsOf, type SampleOptions } from '../../session/sample_options.ts';
import { takesOption } from '../../schedule/samplers.ts';
import type { Shape } from '../../core/tensor.ts';
import { paintPixels, paintPlanes } from '../../ui/canvas.ts';
import { byId, input } from '../../ui/dom.ts';
import type { State } from './fragment.ts';
import { shapeOf, type ModelInfo } from './models.ts';
import { optionsOf } from './options.ts';

export const SLIDE = 9;

const pad = byId<HTMLCanvasElement>('pad');
const noised = byId<HTMLCanvasElement>('noised');

export class Edit {
  readonly #state: () => State;
  #info: ModelInfo | null = null;
  #shape: Shape = [1, 1, 1, 1];
  /** (C, H, W), 8 bits. */
  #picture = new Uint8Array(1);
  /** (H, W): 255 where it is to be painted anew. */
  #mask = new Uint8Array(1);
  /** Where the keyboard's pen is, in pixels of the model. */
  #pen: [number, number] = [0, 0];
  #keyboard = false;

  constructor(state: () => State) {
    this.#state = state;
    let last: [number, number] | null = null;
    const at = (event: PointerEvent): [number, number] => {
      const box = pad.getBoundingClientRect();
      const [, , h, w] = this.#shape;
      return [((event.clientX - box.left) / box.width) * w, ((event.clientY - box.top) / box.height) * h];
    };
    pad.addEventListener('pointerdown', (event) => {
      pad.setPointerCapture(event.pointerId);
      this.#keyboard = false;
      last = at(event);
      this.#stroke(last, last, event.button === 2 || event.shiftKey);
      event.preventDefault();
    });
    pad.addEventListener('pointermove', (event) => {
      if (!last) return;
      const next = at(event);
      this.#stroke(last, next, (event.buttons & 2) !== 0 || event.shiftKey);
      last = next;
    });
    for (const type of ['pointerup', 'pointercancel'] as const)
      pad.addEventListener(type, () => {
        last = null;
        this.render();
      });
    pad.addEventListener('contextmenu', (event) => event.preventDefault());
    pad.addEventListener('keydown', (event) => {
      const moves: Record<string, [number, number]> = {
        ArrowLeft: [-1, 0],
        ArrowRight: [1, 0],
        ArrowUp: [0, -1],
        ArrowDown: [0, 1],
      };
      const move = moves[event.key];
      const [, , h, w] = this.#shape;
      this.#keyboard = true;
      if (move) {
        const clamp = (v: number, most: number) => Math.min(Math.max(v, 0.5), most - 0.5);
        this.#pen = [clamp(this.#pen[0] + move[0], w), clamp(this.#pen[1] + move[1], h)];
        if (event.shiftKey) this.#stroke(this.#pen, this.#pen, false);
      } else if (event.key === ' ') this.#stroke(this.#pen, this.#pen, false);
      else if (event.key === 'Backspace') this.#stroke(this.#pen, this.#pen, true);
      else return;
      event.preventDefault();
      this.render();
    });
    pad.addEventListener('blur', () => {
      this.#keyboard = false;
      this.render();
    });
    byId('clear').addEventListener('click', () => {
      if (this.#state().edit === 'paint') this.#mask.fill(0);
      else this.#picture.fill(0);
      this.render();
    });
  }

  get shape(): Shape {
    return this.#shape;
  }
  /** Nothing is drawn yet. */
  get empty(): boolean {
    return this.#picture.every((v) => v === 0);
  }

  use(info: ModelInfo): void {
    const shape = shapeOf(info, 1);
    const same = shape.every((d, i) => d === this.#shape[i]);
    this.#info = info;
    if (!same) {
      const [, c, h, w] = shape;
      this.#shape = shape;
      this.#picture = new Uint8Array(c * h * w);
      this.#mask = new Uint8Array(h * w);
      this.#pen = [w / 2, h / 2];
    }
    byId('ink-field').hidden = shape[1] < 3;
    this.render();
  }

  setPicture(bytes: Uint8Array<ArrayBuffer>): void {
    this.#picture = bytes.slice();
    this.render();
  }
  setMask(bytes: ArrayLike<number>): void {
    this.#mask = Uint8Array.from({ length: this.#mask.length }, (_, i) => bytes[i]!);
    this.render();
  }

  #stroke(from: readonly [number, number], to: readonly [number, number], erase: boolean): void {
    const [, c, h, w] = this.#shape;
    const masking = this.#state().edit === 'paint';
    const radius = Number(input('pen').value) * Math.max(1, w / 32) * (masking ? 1.4 : 0.7);
    const ink = /^#(..)(..)(..)$/.exec(input('ink').value)!.slice(1).map((x) => parseInt(x, 16)); // prettier-ignore
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    const length2 = dx * dx + dy * dy;
    for (let y = 0; y < h; y++)
      for (let x = 0; x < w; x++) {
        const [px, py] = [x + 0.5 - from[0], y + 0.5 - from[1]];
        const along = length2 > 0 ? Math.min(1, Math.max(0, (px * dx + py * dy) / length2)) : 0;
        const distance = Math.hypot(px - along * dx, py - along * dy);
        const share = Math.min(1, Math.max(0, radius - distance + 0.5));
        if (share === 0) continue;
        const i = y * w + x;
        if (masking) {
          if (share >= 0.5) this.#mask[i] = erase ? 0 : 255;
        } else
          for (let k = 0; k < c; k++) {
            const value = erase ? 0 : c >= 3 ? ink[k]! : 255;
            const old = this.#picture[k * h * w + i]!;
            this.#picture[k * h * w + i] = Math.round(old + (value - old) * share);
          }
      }
    this.#show();
  }

  #show(): void {
    const [, , h, w] = this.#shape;
    paintPlanes(pad, this.#picture, this.#shape);
    const context = pad.getContext('2d')!;
    if (this.#state().edit === 'paint') {
      const image = context.getImageData(0, 0, w, h);
      this.#mask.forEach((m, i) => {
        if (m === 0) return;
        const tint = [255, 120, 60];
        for (let k = 0; k < 3; k++) image.data[4 * i + k] = 0.35 * image.data[4 * i + k]! + 0.65 * tint[k]!;
      });
      context.putImageData(image, 0, 0);
    }
    if (this.#keyboard && document.activeElement === pad) {
      context.fillStyle = '#ff783c';
      context.fillRect(Math.floor(this.#pen[0]), Math.floor(this.#pen[1]), 1, 1);
    }
  }

  /** The pad, and what the model would get of it. */
  render(): void {
    const { edit, tab } = this.#state();
    const info = this.#info;
    if (!info || tab !== 'edit' || edit === 'slide') return; // large pictures take a while
    this.#show();
    if (edit === 'draw') {
      try {
        const run = this.options();
        const { t } = stepsOf(info.scheduler, run)[0]!;
        const seed = this.#state().seed;
        const x = qSample(info.scheduler, toSigned(this.#picture), t, { seed });
        paintPixels(noised, grid(x, this.#shape));
      } catch {
        // options that make no sense are answered when they are run
      }
    }
  }

  /** The options of the run that the drawer stands for. */
  options(): SampleOptions {
    const state = this.#state();
    const info = this.#info!;
    if (state.edit === 'slide')
      return { ...optionsOf(state, info, SLIDE), interpolate: [state.seed, state.seed2] };
    const base = optionsOf(state, info);
    const count = imageCount(base);
    const repeat = (bytes: Uint8Array): Uint8Array => {
      const out = new Uint8Array(count * bytes.length);
      for (let n = 0; n < count; n++) out.set(bytes, n * bytes.length);
      return out;
    };
    const init = toSigned(repeat(this.#picture));
    if (state.edit === 'draw') return { ...base, init, strength: state.strength };
    const channels = this.#shape[1];
    const mask = new Uint8Array(channels * this.#mask.length);
    for (let k = 0; k < channels; k++) mask.set(this.#mask, k * this.#mask.length);
    const walks = takesOption(state.sampler, 'jumpSamples') ? state.walks : 1;
    return {
      ...base,
      init,
      mask: toShares(repeat(mask)),
      ...(walks > 1 ? { jumpLength: Math.max(1, Math.round(state.steps / 10)), jumpSamples: walks } : {}),
    };
  }
}

/** Canvases that show the state of a player, at most ten times a second so that noise does not flicker. */

import { Display } from './display/display.ts';
import { DiffusionError } from '../core/errors.ts';
import type { Player } from '../session/player.ts';
import { termsOf, type StateView } from '../session/state_view.ts';
import type { GpuTensor } from '../core/tensor.ts';
import { reducedMotion } from './motion.ts';

export interface Target {
  readonly canvas: HTMLCanvasElement;
  readonly view: () => StateView;
  /** The canvas gets about so many pixels a side. */
  readonly side: () => number;
  /** What is shown if the state lacks the view: the picture, or nothing (the canvas has the class `nothing`). */
  readonly missing: 'picture' | 'nothing';
}

/** Milliseconds between two paintings. */
const INTERVAL = 100;
const REDUCED_INTERVAL = 334;

export class Painter {
  readonly #targets: readonly Target[];
  readonly #onerror: (error: unknown) => void;
  #displays: Display[] = [];
  #player: Player | null = null;
  #listening = new AbortController();
  #last = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** What is on the canvases. */
  #painted: { readonly xT: GpuTensor; readonly views: string } | null = null;

  /**
   * @param onerror called if the canvas or the GPU refuses to show pictures; a lost device is the player's to report
   */
  constructor(targets: readonly Target[], onerror: (error: unknown) => void) {
    this.#targets = targets;
    this.#onerror = onerror;
  }

  /** Follows a player, or shows nothing new. */
  show(player: Player | null): void {
    this.#listening.abort();
    this.#listening = new AbortController();
    this.#player = player;
    const { signal } = this.#listening;
    player?.addEventListener('step', () => this.soon(), { signal });
    player?.addEventListener('state', () => this.soon(), { signal });
    this.paint();
  }

  /**
   * Paints now, or when the last painting is long enough ago. With reduced motion a run shows its noise, the states that
   * it rests at, and its end.
   */
  soon(): void {
    const player = this.#player;
    if (!player) return;
    const passing = player.status === 'running' && player.index > 0 && player.index < player.steps;
    if (passing && reducedMotion()) return;
    const wait = this.#last + (reducedMotion() ? REDUCED_INTERVAL : INTERVAL) - performance.now();
    if (wait <= 0) this.paint();
    else this.#timer ??= setTimeout(() => this.paint(), wait);
  }

  paint(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const player = this.#player;
    const state = player?.at(player.index);
    if (!player || !state) return;
    const { gpu, model } = player.lease;
    const views = this.#targets.map(({ view }) => view()).join();
    const current = this.#displays[0]?.gpu === gpu;
    if (current && this.#painted?.xT === state.xT && this.#painted.views === views) return;
    try {
      gpu.check();
      if (!current)
        this.#displays = this.#targets.map(({ canvas, side }) => new Display(gpu, canvas, { side: side() }));
      this.#targets.forEach(({ canvas, view, missing }, i) => {
        const config = model.schedulerConfig;
        const terms = termsOf(view(), state, config);
        if (missing === 'nothing') canvas.classList.toggle('nothing', !terms);
        const shown = terms ?? (missing === 'picture' ? termsOf('x_t', state, config) : null);
        if (shown) this.#displays[i]!.draw(shown);
      });
    } catch (error) {
      if (!(error instanceof DiffusionError && error.code === 'device-lost')) this.#onerror(error);
      return;
    }
    this.#last = performance.now();
    this.#painted = { xT: state.xT, views };
    // The state that a canvas shows, for styles and for whoever watches the page from outside.
    for (const { canvas } of this.#targets) canvas.dataset['step'] = String(state.index);
  }

  /** Frees what it draws with. The canvases keep what they show. */
  destroy(): void {
    this.show(null);
    clearTimeout(this.#timer);
    for (const display of this.#displays) display.destroy();
    this.#displays = [];
    this.#painted = null;
  }
}

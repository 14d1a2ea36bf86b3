/** Canvases that show the state of a player; at most ten times a second, so that noise does not flicker. */

import { Display } from '../display/display.ts';
import type { Player } from '../session/player.ts';
import { termsOf, type StateView } from '../session/state_view.ts';
import { reducedMotion } from '../ui/motion.ts';

export interface Target {
  readonly canvas: HTMLCanvasElement;
  readonly view: () => StateView;
  readonly side: number;
}

/** Milliseconds between two paintings. */
const INTERVAL = 100;

export class Stage {
  readonly #targets: readonly Target[];
  #displays: Display[] = [];
  #player: Player | null = null;
  #listening = new AbortController();
  #last = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(targets: readonly Target[]) {
    this.#targets = targets;
  }

  get player(): Player | null {
    return this.#player;
  }

  show(player: Player | null): void {
    this.#listening.abort();
    this.#listening = new AbortController();
    this.#player = player;
    const { signal } = this.#listening;
    player?.addEventListener('step', () => this.#soon(), { signal });
    player?.addEventListener('state', () => this.#soon(), { signal });
    this.paint();
  }

  #soon(): void {
    // Who asked for less motion sees the picture when it is done, and every step on the timeline.
    if (reducedMotion() && this.#player?.status === 'running') return;
    const wait = this.#last + INTERVAL - performance.now();
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
    try {
      gpu.check();
      if (this.#displays[0]?.gpu !== gpu)
        this.#displays = this.#targets.map(({ canvas, side }) => new Display(gpu, canvas, { side }));
      this.#targets.forEach(({ canvas, view }, i) => {
        const terms = termsOf(view(), state, model.schedulerConfig);
        canvas.classList.toggle('nothing', !terms);
        if (terms) this.#displays[i]!.draw(terms);
      });
    } catch {
      return; // the device is gone, which the player finds out, too
    }
    this.#last = performance.now();
    for (const { canvas } of this.#targets)
      canvas.dispatchEvent(new CustomEvent('painted', { bubbles: true, detail: { index: state.index } }));
  }
}

/** What an element does by itself: it plays when it is seen, rests when it is not, and goes on to the next seed. */

import { reducedMotion } from '../../ui/motion.ts';
import type { SamplerAttributes } from './attributes.ts';
import type { SamplerStatus } from './template.ts';
import { savesData } from './visibility.ts';

/** Milliseconds that a finished picture is shown before the next one, with `loop`. */
const LOOP_PAUSE = 2500;

interface Element extends SamplerAttributes {
  readonly status: SamplerStatus;
  play(): Promise<void>;
  pause(): void;
  step(): Promise<void>;
}

export class Automation {
  readonly #element: Element;
  /** Runs what nobody awaits, and shows its errors. */
  readonly #quietly: (work: () => Promise<unknown>) => void;
  /** Number of decisions on what is to happen. Lets a pending `loop` see that somebody has acted meanwhile. */
  #decisions = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The element paused itself, because nobody could see it. */
  #resting = false;
  /** It plays because the author wanted so, not the visitor. */
  #byItself = false;

  constructor(element: Element, quietly: (work: () => Promise<unknown>) => void) {
    this.#element = element;
    this.#quietly = quietly;
  }

  get decisions(): number {
    return this.#decisions;
  }

  /** Somebody has decided what to do: nothing happens by itself any more. */
  decided(): void {
    this.#decisions++;
    clearTimeout(this.#timer);
    this.#resting = false;
  }

  /** The visitor has acted, or there is nothing to play any more. */
  handOver(): void {
    this.#byItself = false;
  }

  /** The tab was hidden or shown, the element scrolled to or away. */
  look(inView: boolean, disabled: boolean): void {
    const element = this.#element;
    const visible = !document.hidden && (inView || !this.#byItself);
    if (!visible) {
      if (element.hiddenPolicy !== 'pause' || element.status !== 'running') return;
      element.pause();
      this.#resting = true;
    } else if (this.#resting) {
      this.#quietly(() => element.play());
    } else if (element.status === 'poster' && inView && !disabled) {
      if (savesData()) return;
      if (element.autoplay && !reducedMotion()) {
        this.#byItself = true;
        this.#quietly(() => element.play());
      } else if (element.reveal === 'auto') this.#quietly(() => element.step());
    }
  }

  /** After the end of a run: the next seed, unless somebody has decided otherwise since. */
  loop(decisions: number): void {
    const element = this.#element;
    if (!element.loop || decisions !== this.#decisions) return;
    this.#timer = setTimeout(() => {
      element.seed += element.count;
      this.#quietly(() => element.play());
    }, LOOP_PAUSE);
  }
}

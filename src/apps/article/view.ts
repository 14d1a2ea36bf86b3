/** What a view is, and what it is given. */

import type { Gpu } from '../../engine/gpu/device.ts';
import type { Model } from '../../engine/model.ts';

/** What a view needs of runtime.ts's Lease. */
export interface ViewLease {
  readonly gpu: Gpu;
  readonly model: Model;
  readonly source: { readonly title: string };
  /** One caller at a time has the GPU. */
  turn<T>(work: () => Promise<T>): Promise<T>;
  release(): void;
}

export interface ViewContext {
  /** The model; asked for by views that need one, once they need it. `total` is null where nobody says. */
  acquire(onProgress?: (received: number, total: number | null) => void): Promise<ViewLease>;
  /** Stops all that the view does. */
  readonly signal: AbortSignal;
  /** Settings by the names of the controls, as in a shared address; unknown and impossible ones are ignored. */
  readonly params: Readonly<Record<string, string>>;
  /** Called with the settings that differ from the view's own, whenever the visitor changes one. */
  onchange?(params: Record<string, string>): void;
  /** 2 unless given: the level of the view's heading. */
  readonly headingLevel?: 2 | 3;
}

export interface View {
  readonly name: string;
  readonly title: string;
  readonly question: string;
  readonly answer: string;
  /** It asks a network from the start. (Others may, where the visitor wants it to draw.) */
  readonly asks: boolean;
  /** Fills the host. Returns what takes everything away again. */
  mount(host: HTMLElement, context: ViewContext): () => void;
}

export interface Control {
  readonly value: string;
  readonly initial: string;
  set(value: string): void;
}

export interface Frame {
  readonly root: HTMLElement;
  readonly controls: HTMLElement;
  /** Where plots and pictures go. */
  readonly stage: HTMLElement;
  /** Fires when the view is taken away. */
  readonly signal: AbortSignal;
  readonly context: ViewContext;
  readonly all: Map<string, Control>;
  /** The text alternative: what is seen, in words, with the numbers of now. */
  say(text: string): void;
  /** A named number under the figure. */
  fact(name: string, label: string, value: string): void;
  /** The value of a symbol of the formula. */
  symbol(key: string, value: string): void;
  /** Marks again what belongs to the lit symbol; after something new was drawn. */
  relight(): void;
  /** null takes it away; a fraction of NaN shows that it is under way. */
  progress(text: string | null, fraction?: number): void;
  fail(error: unknown): void;
  /** The model, acquired at the first call and released at the end. */
  lease(): Promise<ViewLease>;
  /** `hook` is called with the model once it is there, before `lease` gives it. */
  onlease(hook: (lease: ViewLease) => void): void;
  changed(): void;
  after(cleanup: () => void): void;
  /** How many works of `latest` are under way. */
  works: number;
}

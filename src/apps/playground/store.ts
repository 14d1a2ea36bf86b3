/** The settings of the page, in step with its address. Every change goes through here; panels subscribe and render. */

import { format, parse, type State } from './fragment.ts';
import { spacingFits } from './options.ts';

type NumberKey = 'seed' | 'steps' | 'count' | 'seed2' | 'steps2';
export type Invalid = Readonly<Partial<Record<keyof State, number>>>;

export interface Change {
  /** The next run takes the settings as they are; default true. */
  readonly touch?: boolean;
  /** A new entry in the history of the browser; default false, the entry of now is replaced. */
  readonly push?: boolean;
}

export class Store {
  #state: State = parse(location.hash);
  #invalid: Invalid = {};
  /** Settings were touched since the last run: Draw takes them as they are, otherwise with the next seed. */
  touched = true;
  readonly #listeners: (() => void)[] = [];

  get state(): State {
    return this.#state;
  }
  /** What stands in fields of numbers and is none that the setting may have; it is refused when it is run. */
  get invalid(): Invalid {
    return this.#invalid;
  }

  subscribe(render: () => void): void {
    this.#listeners.push(render);
  }
  render(): void {
    for (const render of this.#listeners) render();
  }

  set(change: Partial<State>, { touch = true, push = false }: Change = {}): void {
    const next = { ...this.#state, ...change };
    const spacing = spacingFits(next.sampler, next.spacing) ? next.spacing : '';
    const spacing2 = spacingFits(next.sampler2, next.spacing2) ? next.spacing2 : '';
    this.#state = { ...next, spacing, spacing2 };
    if (touch) this.touched = true;
    const hash = format(this.#state);
    const address = hash || location.pathname + location.search;
    if (!push) history.replaceState(null, '', address);
    else if (location.hash !== hash) history.pushState(null, '', address);
    this.render();
  }

  /** Text of a number field: a setting if it may be one, otherwise kept as invalid. */
  setNumber(key: NumberKey, text: string): void {
    const value = text.trim() === '' ? NaN : Number(text);
    const legal = Number.isSafeInteger(value) && parse(`#${key}=${value}`)[key] === value;
    const others: Partial<Record<keyof State, number>> = { ...this.#invalid };
    delete others[key];
    this.#invalid = legal ? others : { ...others, [key]: value };
    this.set(legal ? { [key]: value } : {});
  }

  clearInvalid(): void {
    this.#invalid = {};
  }

  /** Marks the settings as touched without a change of them: a picture was drawn or taken. */
  touch(): void {
    this.touched = true;
    this.render();
  }

  /** Takes the settings of the address. @returns whether they name another model */
  readAddress(): boolean {
    const next = parse(location.hash);
    const other = next.model !== this.#state.model || next.src !== this.#state.src;
    this.#state = next;
    this.touched = true;
    this.#invalid = {};
    this.render();
    return other;
  }
}

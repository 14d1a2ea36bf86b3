/** What all views are made of: the frame (question, words, formula, controls, stage, answer) and native controls. */

import { megabytes } from '../core/format.ts';
import { DiffusionError, isAbort, toDiffusionError } from '../errors.ts';
import { showFormula, type Symbols } from './formula.ts';
import type { View, ViewContext, ViewLease } from './index.ts';
import { adopt, h } from '../ui/dom.ts';
import css from './style.css?inline';

/** Text with its mathematics set: x_t, x_{t−1} as a slanted letter with a subscript. */
export function rich(text: string): (Node | string)[] {
  return text.split(/(\p{L}[\u0302\u0304\u0303]?_(?:\{[^}]*\}|\w+))/u).map((part, i) => {
    if (i % 2 === 0) return part;
    const [letter = '', under = ''] = part.split('_');
    return h('span', { class: 'dv-math' }, h('i', {}, letter), h('sub', {}, under.replace(/[{}]/g, '')));
  });
}

/** Sets an element's text, where it is another. */
export function setText(element: HTMLElement, text: string): void {
  if (element.dataset['text'] === text) return;
  element.dataset['text'] = text;
  element.replaceChildren(...rich(text));
}

/** A number for people: `digits` significant ones, a real minus sign, powers of ten where zeros would hide it. */
export function show(value: number, digits = 4): string {
  if (!Number.isFinite(value)) return value > 0 ? '∞' : value < 0 ? '−∞' : 'not a number';
  const size = Math.abs(value);
  if (size > 0 && (size < 1e-3 || size >= 1e6)) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split('e') as [string, string];
    const raised = String(Number(exponent)).replace(
      /[-\d]/g,
      (c) => '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'['-0123456789'.indexOf(c)]!,
    );
    return `${mantissa} · 10${raised}`.replace('-', '−');
  }
  const text = value.toPrecision(digits);
  return (text.includes('e') ? String(Number(text)) : text).replace('-', '−');
}

/** The number that `show` wrote. For tests, and for whoever reads the page by machine. */
export function readNumber(text: string): number {
  const plain = text.replace(/−/g, '-').replace('∞', 'Infinity');
  const power = / · 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)/.exec(plain);
  if (!power) return Number(plain);
  const exponent = power[1]!.replace(/./g, (c) => '-0123456789'['⁻⁰¹²³⁴⁵⁶⁷⁸⁹'.indexOf(c)]!);
  return Number(`${plain.slice(0, power.index)}e${exponent}`);
}

interface Control {
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

export interface FrameOptions {
  /** Two or three sentences, before the figure. */
  readonly text: readonly string[];
  /** TeX in which \sym{key}{...} links to a symbol; one line each. */
  readonly formula: readonly string[];
  readonly symbols: Symbols;
  readonly presets: readonly { readonly label: string; readonly params: Readonly<Record<string, string>> }[];
}

let sheet: CSSStyleSheet | null = null;
let ids = 0;

/** Builds a view's frame in the host; `build` fills it. Returns the function that unmounts. */
export function mountFrame(
  host: HTMLElement,
  context: ViewContext,
  { name, title, question, answer }: Pick<View, 'name' | 'title' | 'question' | 'answer'>,
  options: FrameOptions,
  build: (frame: Frame) => void,
): () => void {
  if (!sheet) (sheet = new CSSStyleSheet()).replaceSync(css);
  adopt(host, sheet);
  const abort = new AbortController();
  const { signal } = abort;
  const cleanups: (() => void)[] = [];
  let lease: Promise<ViewLease> | null = null;
  const hooks: ((lease: ViewLease) => void)[] = [];
  let changing = true; // until every control has what the address says

  const controls = h('div', { class: 'dv-controls' });
  const stage = h('div', { class: 'dv-stage' });
  const formula = h('div', { class: 'dv-formula' });
  const facts = h('dl', { class: 'dv-facts' });
  const words = h('p', { class: 'dv-words', id: `dv-words-${++ids}`, 'aria-live': 'polite' });
  const bar = h('progress', { max: 1, 'aria-label': 'Progress' });
  const barText = h('span');
  const progress = h('div', { class: 'dv-progress', hidden: true }, barText, bar);
  const error = h('p', { class: 'dv-error', role: 'alert', hidden: true });
  const presets = h('div', { class: 'dv-presets', role: 'group', 'aria-label': 'Worth trying' }, h('span', {}, 'Try')); // prettier-ignore
  const root = h(
    'section',
    { class: 'dv', 'data-view': name, 'aria-label': question },
    h(context.headingLevel === 3 ? 'h3' : 'h2', {}, question),
    ...options.text.map((text) => h('p', { class: 'dv-text' }, ...rich(text))),
    formula,
    h('div', { class: 'dv-figure', role: 'group', 'aria-label': title, 'aria-describedby': words.id }, controls, presets, progress, error, stage, facts), // prettier-ignore
    words,
    h('p', { class: 'dv-answer' }, h('strong', {}, 'Answer. '), ...rich(answer)),
  );

  let wordsTimer: ReturnType<typeof setTimeout> | undefined;
  const frame: Frame = {
    root,
    controls,
    stage,
    signal,
    context,
    all: new Map(),
    say(text) {
      // Read aloud when the numbers have come to rest; the attribute holds the newest for whoever asks.
      words.dataset['now'] = text;
      clearTimeout(wordsTimer);
      wordsTimer = setTimeout(() => setText(words, text), words.textContent ? 400 : 0);
    },
    fact(key, label, value) {
      let entry = facts.querySelector<HTMLElement>(`[data-name="${key}"]`);
      if (!entry) {
        entry = h('dd', { 'data-name': key });
        facts.append(h('div', {}, h('dt'), entry));
      }
      setText(entry.previousElementSibling as HTMLElement, label);
      entry.textContent = value;
    },
    symbol(key, value) {
      const entry = formula.querySelector<HTMLElement>(`output[data-symbol="${key}"]`);
      if (entry && entry.textContent !== value) entry.textContent = value;
      values.set(key, value);
    },
    relight: () => light(lit),
    progress(text, fraction = NaN) {
      progress.hidden = text === null;
      barText.textContent = text ?? '';
      if (Number.isNaN(fraction)) bar.removeAttribute('value');
      else bar.value = fraction;
      root.toggleAttribute('data-busy', text !== null);
    },
    fail(reason) {
      if (signal.aborted || isAbort(reason)) return;
      frame.progress(null);
      error.hidden = !reason;
      if (!reason) return;
      error.textContent = toDiffusionError(reason, 'view').message;
      if (!(reason instanceof DiffusionError)) console.error(reason);
    },
    lease() {
      frame.progress('Loading the model …');
      lease ??= context.acquire(downloading).then(
        (got) => {
          if (signal.aborted) got.release();
          else {
            cleanups.push(() => got.release());
            hooks.forEach((hook) => hook(got));
          }
          return got;
        },
        (reason: unknown) => {
          lease = null;
          throw reason;
        },
      );
      return lease.finally(() => frame.progress('Preparing …'));
    },
    onlease: (hook) => void hooks.push(hook),
    changed() {
      if (changing) return;
      const now: Record<string, string> = {};
      for (const [key, control] of frame.all) if (control.value !== control.initial) now[key] = control.value;
      context.onchange?.(now);
    },
    after: (cleanup) => void cleanups.push(cleanup),
    works: 0,
  };

  function downloading(received: number, total: number | null): void {
    if (total === null) frame.progress(`Loading the model, ${megabytes(received)} …`);
    else frame.progress(`Loading the model, ${megabytes(received)} of ${megabytes(total)}`, received / total);
  }

  // A symbol is lit by pointer, focus or click (which holds it); so is everything that stands for it.
  const values = new Map<string, string>();
  let lit: string | null = null;
  let held: string | null = null;
  function light(key: string | null): void {
    lit = key;
    root.toggleAttribute('data-lit', key !== null);
    root.querySelectorAll('.lit').forEach((e) => e.classList.remove('lit'));
    if (key)
      root.querySelectorAll(`[data-sym~="${key}"], .sym-${key}`).forEach((e) => e.classList.add('lit'));
  }
  const keyAt = (event: Event): string | null => {
    const at = (event.composedPath()[0] as Element).closest?.('[data-sym]');
    return at?.getAttribute('data-sym')?.split(' ')[0] ?? null;
  };
  for (const type of ['pointerover', 'focusin'])
    formula.addEventListener(type, (event) => light(keyAt(event) ?? held));
  for (const type of ['pointerleave', 'focusout']) formula.addEventListener(type, () => light(held));
  formula.addEventListener('click', (event) => {
    const key = keyAt(event);
    held = key === held ? null : key;
    formula
      .querySelectorAll('button[data-sym]')
      .forEach((b) => b.setAttribute('aria-pressed', String(b.getAttribute('data-sym') === held)));
    light(held);
  });

  for (const { label, params } of options.presets)
    presets.append(
      h('button', {
        type: 'button',
        onclick: () => {
          changing = true;
          for (const [key, control] of frame.all) control.set(params[key] ?? control.initial);
          changing = false;
          frame.changed();
        },
      }, label),
    ); // prettier-ignore
  presets.hidden = options.presets.length === 0;

  host.replaceChildren(root);
  const stop = (): void => abort.abort();
  context.signal.addEventListener('abort', stop);
  try {
    build(frame);
  } catch (reason) {
    frame.fail(reason);
  }
  queueMicrotask(() => (changing = false)); // after those of `later`
  showFormula(frame, formula, options.formula, options.symbols)
    .then(() => values.forEach((value, key) => frame.symbol(key, value)))
    .catch((reason: unknown) => frame.fail(reason));
  return () => {
    context.signal.removeEventListener('abort', stop);
    abort.abort();
    clearTimeout(wordsTimer);
    cleanups.forEach((cleanup) => cleanup());
    host.replaceChildren();
  };
}

// ---- controls: native, named, in the address ------------------------------------------------------------------

/** Puts a control into the address, and gives it what the address says. */
export function register(
  frame: Frame,
  name: string,
  initial: string | (() => string),
  control: Omit<Control, 'initial'>,
): void {
  frame.all.set(name, {
    get value() {
      return control.value;
    },
    get initial() {
      return typeof initial === 'string' ? initial : initial();
    },
    set: (value) => control.set(value),
  });
  const given = frame.context.params[name];
  if (given !== undefined) control.set(given);
}

export interface Slider {
  value: number;
  readonly input: HTMLInputElement;
  /** Changes the end of the scale. */
  max(value: number): void;
  /** Changes the end of the scale, and stays at the same share of it; so does what counts as unchanged. */
  rescale(max: number): void;
  format(text: (value: number) => string): void;
}

/** `on` is called at every change, with the number; `list` maps positions to values (then min, max, step count positions). */
export function slider(
  frame: Frame,
  options: {
    readonly name: string;
    readonly label: string;
    readonly min: number;
    readonly max: number;
    readonly step?: number;
    readonly value: number;
    readonly format?: (value: number) => string;
  },
  on: (value: number) => void,
): Slider {
  const { name, label, min, max, step = 1, value } = options;
  let format = options.format ?? String;
  let initial = String(value);
  const id = `dv-${name}-${++ids}`;
  const input = h('input', { type: 'range', id, min, max, step, value, 'data-control': name });
  const output = h('output', { for: id });
  const refresh = (): void => {
    output.textContent = format(Number(input.value)).replace('-', '−');
    input.setAttribute('aria-valuetext', output.textContent);
  };
  input.addEventListener('input', () => {
    refresh();
    on(Number(input.value));
    frame.changed();
  });
  frame.controls.append(
    h('div', { class: 'dv-slider' }, h('label', { for: id }, ...rich(label)), output, input),
  );
  const set = (to: string): void => {
    if (to.trim() === '' || !Number.isFinite(Number(to)) || input.value === to) return;
    input.value = to;
    input.dispatchEvent(new Event('input'));
  };
  const own: Slider = {
    get value() {
      return Number(input.value);
    },
    set value(to) {
      input.value = String(to);
      refresh();
    },
    input,
    max(to) {
      input.max = String(to);
      refresh();
    },
    rescale(to) {
      const share = Number(input.value) / Number(input.max);
      input.max = String(to);
      input.value = String(Math.round(share * to));
      initial = String(Math.max(min, Math.round((value / max) * to)));
      refresh();
    },
    format(text) {
      format = text;
      refresh();
    },
  };
  later(frame, () => {
    refresh();
    register(frame, name, () => initial, { get value() { return input.value; }, set }); // prettier-ignore
  });
  return own;
}

export function toggle(
  frame: Frame,
  { name, label, value = false }: { readonly name: string; readonly label: string; readonly value?: boolean },
  on: (value: boolean) => void,
): { value: boolean; readonly input: HTMLInputElement } {
  const input = h('input', { type: 'checkbox', 'data-control': name, checked: value });
  input.addEventListener('change', () => {
    on(input.checked);
    frame.changed();
  });
  frame.controls.append(h('label', { class: 'dv-toggle' }, input, h('span', {}, label)));
  later(frame, () =>
    register(frame, name, value ? '1' : '0', {
      get value() {
        return input.checked ? '1' : '0';
      },
      set(to) {
        if (to === (input.checked ? '1' : '0') || !/^[01]$/.test(to)) return;
        input.checked = to === '1';
        input.dispatchEvent(new Event('change'));
      },
    }),
  );
  return {
    get value() {
      return input.checked;
    },
    set value(to) {
      input.checked = to;
    },
    input,
  };
}

interface Choice<V extends string> {
  readonly name: string;
  readonly label: string;
  readonly values: readonly (readonly [value: V, text: string])[];
  readonly value: V;
}

/** One of a few, as chips (radio buttons), that stand nowhere yet. `on` is called when the visitor or `set` chooses another. */
export function chips<V extends string>(
  { name, label, values, value }: Choice<V>,
  on: (value: V) => void,
): { value: V; readonly element: HTMLElement; set(to: string): void } {
  const group = `dv-${name}-${++ids}`;
  let now = value;
  const inputs = values.map(([v]) =>
    h('input', {
      type: 'radio',
      name: group,
      value: v,
      checked: v === value,
      'data-control': name,
      onchange: () => {
        now = v;
        on(v);
      },
    }),
  );
  const labels = values.map(([, text], i) => h('label', {}, inputs[i], h('span', {}, text)));
  return {
    element: h('fieldset', { class: 'dv-chips' }, h('legend', {}, label), ...labels),
    set(to) {
      const input = inputs.find((i) => i.value === to);
      if (!input || now === to) return;
      input.checked = true;
      input.dispatchEvent(new Event('change'));
    },
    get value() {
      return now;
    },
    set value(to) {
      const input = inputs.find((i) => i.value === to);
      if (input) input.checked = true;
      now = to;
    },
  };
}

export function choice<V extends string>(
  frame: Frame,
  options: Choice<V>,
  on: (value: V) => void,
): { value: V } {
  const own = chips(options, (value) => {
    on(value);
    frame.changed();
  });
  frame.controls.append(own.element);
  later(frame, () => register(frame, options.name, options.value, own));
  return own;
}

/** Above this many, a list takes less room than chips. */
const CHIPS = 12;

/**
 * One of the model's classes, offered when the model is there; hidden where it has none.
 * @param value number of a class, which wraps around at the last, or "any" (where `any` is offered and the model has it)
 */
export function classControl(
  frame: Frame,
  value: string,
  on: () => void,
  any = false,
): {
  /** null: any, or there are no classes. */
  readonly value: number | null;
  /** For sentences: "a 7", "a micah". */
  readonly text: string;
} {
  const place = h('div', { hidden: true });
  frame.controls.append(place);
  let now = value;
  let names: readonly string[] = [];
  let real = (v: string): string => v;
  let show = (): void => {};
  frame.onlease(({ model }) => {
    const { numClassEmbeds, nullClass, classEmbedType } = model.config;
    const count = numClassEmbeds === null || classEmbedType !== null ? 0 : nullClass === null ? numClassEmbeds : numClassEmbeds - 1; // prettier-ignore
    if (count === 0) return;
    const withAny = any && nullClass !== null;
    names = Array.from({ length: count }, (_, k) => model.labels[k] ?? String(k));
    real = (v) => (v === 'any' ? (withAny ? v : '0') : String(Number(v) % count));
    now = real(now);
    const values = names.map((name, k) => [String(k), name] as [string, string]);
    if (withAny) values.push(['any', 'any']);
    const choose = (v: string): void => {
      now = v;
      on();
      frame.changed();
    };
    const label = names.every((n) => /^\d$/.test(n)) ? 'Digit' : 'Class';
    if (values.length <= CHIPS) {
      const own = chips({ name: 'class', label, values, value: now }, choose);
      show = () => (own.value = now);
      place.replaceWith(own.element);
    } else {
      const id = `dv-class-${++ids}`;
      const list = h('select', { id, 'data-control': 'class' }, ...values.map(([v, text]) => h('option', { value: v }, text))); // prettier-ignore
      list.addEventListener('change', () => choose(list.value));
      (show = () => (list.value = now))();
      place.replaceWith(h('div', { class: 'dv-list' }, h('label', { for: id }, label), list));
    }
  });
  later(frame, () => {
    const set = (to: string): void => {
      if (!/^(\d{1,4}|any)$/.test(to) || real(to) === now) return;
      now = real(to);
      show();
      on();
      frame.changed();
    };
    frame.all.set('class', { get value() { return now; }, get initial() { return real(value); }, set }); // prettier-ignore
    const given = frame.context.params['class'];
    if (given !== undefined) set(given);
  });
  return {
    get value() {
      return now === 'any' || names.length === 0 ? null : Number(now);
    },
    get text() {
      const name = now === 'any' ? undefined : names[Number(now)];
      return name === undefined ? 'a picture' : /^[aeio8]/i.test(name) ? `an ${name}` : `a ${name}`;
    },
  };
}

/** A whole number that all chance comes from, and a button for another. */
export function seedControl(
  frame: Frame,
  value: number,
  on: (value: number) => void,
  label = 'Seed',
): { readonly value: number } {
  const id = `dv-seed-${++ids}`;
  const input = h('input', { type: 'number', id, min: 0, step: 1, value, inputmode: 'numeric', 'data-control': 'seed' }); // prettier-ignore
  let now = value;
  const set = (to: string): void => {
    const number = Number(to);
    if (to.trim() === '' || !Number.isSafeInteger(number) || number < 0 || number === now) return;
    input.value = String(number);
    now = number;
    on(now);
    frame.changed();
  };
  input.addEventListener('change', () => set(input.value));
  frame.controls.append(
    h(
      'div',
      { class: 'dv-seed' },
      h('label', { for: id }, ...rich(label)),
      input,
      h('button', { type: 'button', onclick: () => set(String(Math.floor(Math.random() * 1e6))) }, 'New'),
    ),
  );
  later(frame, () => register(frame, 'seed', String(value), { get value() { return String(now); }, set })); // prettier-ignore
  return {
    get value() {
      return now;
    },
  };
}

export function button(frame: Frame, label: string, on: () => void, primary = false): HTMLButtonElement {
  const made = h(
    'button',
    { type: 'button', onclick: on, ...(primary ? { class: 'dv-primary' } : {}) },
    label,
  );
  frame.controls.append(made);
  return made;
}

/** Params are applied when the view is complete: a control's listener may use what is made after it. */
export const later = (frame: Frame, work: () => void): void =>
  queueMicrotask(() => {
    if (!frame.signal.aborted) work();
  });

// ---- work ------------------------------------------------------------------------------------------------------

/** Lets the page breathe: resolves in the next frame, in hidden tabs soon. */
export const breathe = (): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, 60);
    if (!document.hidden)
      requestAnimationFrame(() => {
        clearTimeout(timer);
        setTimeout(resolve);
      });
  });

/**
 * Runs `work`; the next call aborts the one before. Failures show in the frame.
 */
export function latest<A extends unknown[]>(
  frame: Frame,
  work: (signal: AbortSignal, ...args: A) => Promise<void>,
): (...args: A) => void {
  let last: AbortController | null = null;
  frame.after(() => last?.abort());
  let chain: Promise<void> = Promise.resolve();
  return (...args) => {
    last?.abort();
    const own = (last = new AbortController());
    chain = chain.then(async () => {
      if (own.signal.aborted || frame.signal.aborted) return;
      frame.works++;
      try {
        frame.fail(null);
        await work(own.signal, ...args);
      } catch (error) {
        if (!own.signal.aborted) frame.fail(error);
      } finally {
        frame.works--;
        if (own === last && frame.works === 0) frame.progress(null);
      }
    });
  };
}

/** `on` at most once a frame, and after the present work. */
export function soon(frame: Frame, on: () => void): () => void {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => {
      waiting = false;
      if (!frame.signal.aborted) on();
    });
  };
}

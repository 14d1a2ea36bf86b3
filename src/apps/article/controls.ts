/** Controls of views: native, named, in the address. */

import { h } from '../../ui/dom.ts';
import type { Control, Frame } from './frame.ts';
import { rich } from './text.ts';

let ids = 0;
/** For the ids of labels and their fields. */
const nextId = (): number => ++ids;

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
  const id = `dv-${name}-${nextId()}`;
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
  const group = `dv-${name}-${nextId()}`;
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
      const id = `dv-class-${nextId()}`;
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
  const id = `dv-seed-${nextId()}`;
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

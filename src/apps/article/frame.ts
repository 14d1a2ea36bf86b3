/** What all views have: question, words, formula, controls, stage, answer. And what they report: progress, failure. */

import { megabytes } from '../../core/format.ts';
import { DiffusionError, isAbort, toDiffusionError } from '../../core/errors.ts';
import { adopt, h } from '../../ui/dom.ts';
import { showFormula, type Symbols } from './formula.ts';
import css from './style.css?inline';
import { rich, setText } from './text.ts';
import type { Frame, View, ViewContext, ViewLease } from './view.ts';

export type { Control, Frame } from './view.ts';

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

/** Formulas by KaTeX, loaded when the first is shown; each symbol is linked to its value and to what stands for it. */

import { adopt, h } from '../../ui/dom.ts';
import { rich } from './text.ts';
import type { Frame } from './view.ts';

export type Symbols = Readonly<
  Record<
    string,
    {
      readonly tex: string;
      /** What it is, in words. */
      readonly what: string;
      /** One of the colours of style.css: q, p, x0, xt, eps, update. */
      readonly colour?: Colour;
    }
  >
>;
export type Colour = 'q' | 'p' | 'x0' | 'xt' | 'eps' | 'update';

interface Typesetter {
  readonly sheet: CSSStyleSheet;
  render(tex: string, into: HTMLElement, display: boolean): void;
}
let typesetter: Promise<Typesetter> | null = null;

async function load(): Promise<Typesetter> {
  const [{ default: katex }, { default: css }] = await Promise.all([
    import('katex'),
    import('katex/dist/katex.min.css?raw'),
  ]);
  const fonts = import.meta.glob<string>('/node_modules/katex/dist/fonts/*.woff2', {
    query: '?url',
    import: 'default',
    eager: true,
  });
  // Faces belong to the document, also where the rules go into a shadow root.
  const faces: string[] = [];
  const rules = css.replace(/@font-face\{[^}]*\}/g, (face) => {
    const file = /url\(fonts\/([^)]+\.woff2)\)/.exec(face)?.[1];
    const url = file && fonts[`/node_modules/katex/dist/fonts/${file}`];
    if (url) faces.push(face.replace(/src:.*\}/, `src:url("${url}") format("woff2")}`));
    return '';
  });
  document.head.append(h('style', {}, faces.join('\n')));
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(rules);
  const macros = {
    '\\sym': '\\htmlData{sym=#1}{#2}',
    '\\ab': '\\bar\\alpha',
    '\\N': '\\mathcal N',
    '\\E': '\\mathbb E',
  };
  return {
    sheet,
    render: (tex, into, display) =>
      katex.render(tex, into, {
        displayMode: display,
        macros: { ...macros },
        trust: ({ command }) => command === '\\htmlData',
        strict: 'ignore',
        throwOnError: true,
      }),
  };
}

/** Typesets one symbol or formula in the element. */
export async function typeset(tex: string, into: HTMLElement, display = false): Promise<void> {
  const t = await (typesetter ??= load());
  adopt(into, t.sheet);
  t.render(tex, into, display);
}

/** The formula's lines, and under them a button for each symbol: its value now, and what it stands for. */
export async function showFormula(
  frame: Frame,
  into: HTMLElement,
  lines: readonly string[],
  symbols: Symbols,
): Promise<void> {
  if (lines.length === 0) return;
  const t = await (typesetter ??= load());
  if (frame.signal.aborted) return;
  adopt(into, t.sheet);
  const formula = h('div', { class: 'dv-tex' });
  for (const line of lines) {
    const part = h('div', {});
    t.render(line, part, true);
    formula.append(part);
  }
  const legend = h('ul', { class: 'dv-symbols', 'aria-label': 'Symbols of the formula' });
  for (const [key, { tex, what, colour }] of Object.entries(symbols)) {
    const name = h('span', {});
    t.render(tex, name, false);
    if (colour)
      formula
        .querySelectorAll<HTMLElement>(`[data-sym="${key}"]`)
        .forEach((e) => e.style.setProperty('color', `var(--v-${colour})`));
    legend.append(
      h(
        'li',
        {},
        h(
          'button',
          {
            type: 'button',
            'data-sym': key,
            'aria-pressed': 'false',
            ...(colour ? { style: `--own: var(--v-${colour})` } : {}),
          },
          name,
          h('output', { 'data-symbol': key }),
          h('small', {}, ...rich(what)),
        ),
      ),
    );
  }
  into.replaceChildren(formula, legend);
}

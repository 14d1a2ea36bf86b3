/** Words and numbers for people, with mathematics. */

import { h } from '../../ui/dom.ts';

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

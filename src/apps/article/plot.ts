/** Plots in one visual language: Observable Plot, loaded when the first is drawn; colours are those of style.css. */

import type * as Plots from '@observablehq/plot';
import { h } from '../../ui/dom.ts';
import { rich, show } from './text.ts';
import type { Frame } from './frame.ts';

export type Plot = typeof Plots;
export type { Markish, PlotOptions } from '@observablehq/plot';

let loading: Promise<Plot> | null = null;

export interface Figure {
  readonly element: HTMLElement;
  /** Draws again, with the options of now. */
  draw(): void;
  label(text: string): void;
}

/**
 * A plot in the frame's stage.
 * @param options called at each drawing, with the width in CSS pixels
 */
export function plot(
  frame: Frame,
  { title, wide = false }: { readonly title: string; readonly wide?: boolean },
  options: (P: Plot, width: number) => Plots.PlotOptions,
): Figure {
  const place = h('div', { class: 'dv-plot', role: 'img', 'aria-label': title });
  const element = h('figure', { class: wide ? 'dv-wide' : '' }, h('figcaption', {}, ...rich(title)), place);
  frame.stage.append(element);
  let ready: Plot | null = null;
  let waiting = false;
  const drawNow = (): void => {
    waiting = false;
    if (!ready || frame.signal.aborted) return;
    const width = Math.round(place.clientWidth);
    if (width < 40) return;
    const drawn = ready.plot({
      width,
      height: Math.round(Math.min(width * 0.62, 320)),
      marginLeft: 48,
      marginRight: 12,
      marginBottom: 36,
      marginTop: 22,
      style: { background: 'none', fontFamily: 'inherit', fontSize: '12px', overflow: 'visible' },
      ...options(ready, width),
    });
    drawn.setAttribute('aria-hidden', 'true'); // the frame says in words what is seen
    place.replaceChildren(drawn);
    frame.relight();
  };
  const draw = (): void => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(drawNow);
  };
  const sizes = new ResizeObserver(draw);
  sizes.observe(place);
  frame.after(() => sizes.disconnect());
  (loading ??= import('@observablehq/plot')).then(
    (P) => {
      ready = P;
      draw();
    },
    (error: unknown) => frame.fail(error),
  );
  return { element, draw, label: (text) => place.setAttribute('aria-label', `${title}: ${text}`) };
}

/** The powers of ten from one number to another: ticks of a logarithmic scale. */
export function powers(low: number, high: number): number[] {
  const [from, to] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  return Array.from({ length: Math.max(to - from + 1, 0) }, (_, i) => 10 ** (from + i));
}

/** Their names. */
export const power = (v: number): string =>
  v > 3e-4 && v < 3e5 ? Number(v.toPrecision(1)).toLocaleString('en') : show(v, 1).replace('1 · ', '');

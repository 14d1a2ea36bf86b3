/** The colours that a page really has, read in the browser: whether text and marks stand out from what is behind them. */

import type { Page } from 'playwright';

export interface Contrasts {
  /** How many texts, icons, plotted marks and named colours were measured. */
  readonly measured: { readonly text: number; readonly marks: number; readonly colours: number };
  /** What stands out too little: WCAG 2.2 wants 4.5:1 for text (1.4.3), 3:1 for icons, controls and marks (1.4.11). */
  readonly faint: readonly string[];
}

/** Measures every <diffusion-sampler> of the page, with shadow roots around it and the views in it. */
export const contrasts = (page: Page): Promise<Contrasts> =>
  page.evaluate(() => {
    type Colour = readonly [number, number, number, number];
    const parse = (css: string): Colour => {
      const [r = 0, g = 0, b = 0, a = 1] = (css.match(/-?[\d.]+(e-?\d+)?/g) ?? []).map(Number);
      if (/^rgba?\(/.test(css)) return [r / 255, g / 255, b / 255, a];
      if (/^color\(srgb /.test(css)) return [r, g, b, a];
      throw new Error(`no colour: ${css}`);
    };
    const over = ([r, g, b, a]: Colour, under: Colour): Colour => [
      r * a + under[0] * (1 - a),
      g * a + under[1] * (1 - a),
      b * a + under[2] * (1 - a),
      1,
    ];
    const luminance = (c: Colour): number => {
      const [r, g, b] = c.slice(0, 3).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
    };
    const ratio = (a: Colour, b: Colour): number => {
      const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
      return (light! + 0.05) / (dark! + 0.05);
    };
    const parent = (node: Node): Element | null => {
      if (node instanceof Element && node.assignedSlot) return node.assignedSlot;
      const up = node.parentNode;
      return up instanceof ShadowRoot ? up.host : up instanceof Element ? up : null;
    };
    /** A colour that a style of the element names, as the element paints it. */
    const named = (element: Element, css: string): Colour => {
      const probe = document.createElement('span');
      probe.style.color = css;
      (element.shadowRoot ?? element).append(probe);
      const colour = parse(getComputedStyle(probe).color);
      probe.remove();
      return colour;
    };
    /** Everything that may be behind the element: over a picture, black and white. */
    const behind = (element: Element | null): Colour[] => {
      if (!element || element === document.documentElement) {
        const root = parse(getComputedStyle(document.documentElement).backgroundColor);
        return [over(root, named(document.body, 'Canvas'))];
      }
      const style = getComputedStyle(element);
      const own = parse(style.backgroundColor);
      const under =
        own[3] === 1
          ? [own]
          : element.matches('.frame')
            ? ([[0, 0, 0, 1], [1, 1, 1, 1]] as Colour[]) // prettier-ignore
            : behind(parent(element));
      return under.map((colour) => over(own, colour));
    };
    const opacity = (element: Element | null): number =>
      element ? Number(getComputedStyle(element).opacity) * opacity(parent(element)) : 1;
    const seen = (element: Element): boolean => {
      const { width, height } = element.getBoundingClientRect();
      return width > 1 && height > 1 && element.checkVisibility({ visibilityProperty: true }) && opacity(element) > 0.05; // prettier-ignore
    };

    const measured = { text: 0, marks: 0, colours: 0 };
    const faint: string[] = [];
    const measure = (
      what: string,
      element: Element,
      css: string,
      need: number,
      kind: keyof typeof measured,
    ) => {
      // prettier-ignore
      const [r, g, b, a] = parse(css);
      if (a === 0) faint.push(`${what}: transparent`);
      const grounds = behind(element);
      const found = Math.min(...grounds.map((ground) => ratio(over([r, g, b, a * opacity(element)], ground), ground))); // prettier-ignore
      measured[kind]++;
      if (found < need) faint.push(`${what}: ${css} is ${found.toFixed(2)}:1, not ${need}:1`);
    };
    const nameOf = (e: Element): string => `${e.tagName.toLowerCase()}.${e.getAttribute('part') ?? e.getAttribute('class') ?? ''}`; // prettier-ignore

    const look = (root: ParentNode & Node): void => {
      const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
      for (let node = texts.nextNode(); node; node = texts.nextNode()) {
        const element = node.parentElement!;
        const text = node.textContent!.trim();
        if (!text || !seen(element) || element.closest(':disabled, style, script, option, .katex-mathml')) continue; // prettier-ignore
        const svg = element.closest('svg');
        measure(`${nameOf(element)} "${text.slice(0, 30)}"`, element, svg ? getComputedStyle(element).fill : getComputedStyle(element).color, 4.5, 'text'); // prettier-ignore
      }
      for (const control of root.querySelectorAll<HTMLElement>('select, input'))
        if (seen(control) && !control.matches(':disabled')) {
          const style = getComputedStyle(control);
          if (control.matches('select, [type=number]')) measure(nameOf(control), control, style.color, 4.5, 'text'); // prettier-ignore
          else if (style.accentColor !== 'auto') measure(`${nameOf(control)}, accent`, control.parentElement!, style.accentColor, 3, 'marks'); // prettier-ignore
        }
      for (const shape of root.querySelectorAll('button svg path, .dv-plot svg path, .dv-plot svg circle')) {
        if (!seen(shape.closest('svg')!) || shape.closest(':disabled, defs, [fill-opacity]:not([fill=none])')) continue; // prettier-ignore
        const style = getComputedStyle(shape);
        if (Number(style.strokeOpacity) < 0.9 || Number(style.fillOpacity) < 0.9) continue; // a wash, not a mark
        const line = shape.closest('button') || style.fill !== 'none' ? style.fill : style.stroke;
        if (line !== 'none') measure(`${nameOf(shape)} of ${nameOf(shape.closest('.dv-plot, button')!)}`, shape, line, 3, 'marks'); // prettier-ignore
      }
      for (const layer of root.querySelectorAll<HTMLCanvasElement>('.dv-layers canvas')) {
        const { data } = layer.getContext('2d')!.getImageData(0, 0, layer.width, layer.height);
        const counts = new Map<string, number>();
        for (let i = 0; i < data.length; i += 4)
          if (data[i + 3] === 255) {
            const key = data.slice(i, i + 3).join(' ');
            counts.set(key, (counts.get(key) ?? 0) + 1);
          }
        const [most] = [...counts].sort((a, b) => b[1] - a[1]);
        if (most) measure(`layer ${layer.className}`, layer, `rgb(${most[0]})`, 3, 'marks');
      }
      for (const figure of root.querySelectorAll<HTMLElement>('.dv-figure'))
        for (const name of ['q', 'p', 'x0', 'xt', 'eps', 'update', 'edge', 'accent', 'bad'])
          measure(`--v-${name}`, figure, `rgb(${named(figure, `var(--v-${name})`).slice(0, 3).map((v) => v * 255).join(' ')})`, 3, 'colours'); // prettier-ignore
      for (const element of root.querySelectorAll('*')) if (element.shadowRoot) look(element.shadowRoot);
    };
    const inside = (root: ParentNode): Element[] =>
      [...root.querySelectorAll('*')].flatMap((e) => e.matches('diffusion-sampler') ? [e] : e.shadowRoot ? inside(e.shadowRoot) : []); // prettier-ignore
    for (const element of inside(document)) look(element.shadowRoot!);
    return { measured, faint: [...new Set(faint)] };
  });

/** What every part of the page needs of the document. */

export const byId = <E extends HTMLElement = HTMLElement>(id: string): E => document.getElementById(id) as E;
export const input = (id: string): HTMLInputElement => byId<HTMLInputElement>(id);
export const select = (id: string): HTMLSelectElement => byId<HTMLSelectElement>(id);

/** An element with properties and children. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

export function fill(
  list: HTMLSelectElement,
  options: readonly (readonly [value: string, text: string])[],
): void {
  list.replaceChildren(...options.map(([value, text]) => el('option', { value, textContent: text })));
}

export function megabytes(bytes: number): string {
  if (bytes < 1e5) return `${Math.ceil(bytes / 1000)} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

export const reducedMotion = (): boolean => matchMedia('(prefers-reduced-motion: reduce)').matches;

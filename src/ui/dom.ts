/** Elements: made, found, filled. */

type Attributes = Readonly<Record<string, string | number | boolean | ((event: Event) => void)>>;
type Child = Node | string | null | undefined;

/**
 * An element. A string or number becomes an attribute, `true` an empty one, `false` none, and a function with the name
 * `on...` a listener. Children that are null are left out.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (typeof value === 'boolean') element.toggleAttribute(name, value);
    else element.setAttribute(name, String(value));
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The element of an id that the page is known to have. */
export const byId = <E extends HTMLElement = HTMLElement>(id: string): E => document.getElementById(id) as E;
export const input = (id: string): HTMLInputElement => byId<HTMLInputElement>(id);
export const select = (id: string): HTMLSelectElement => byId<HTMLSelectElement>(id);

/** Replaces the options of a list. */
export function fill(
  list: HTMLSelectElement,
  options: readonly (readonly [value: string, text: string])[],
): void {
  list.replaceChildren(...options.map(([value, text]) => h('option', { value }, text)));
}

/** Checks the radio button of a group that has the value, and no other. */
export function check(name: string, value: string): void {
  for (const radio of document.querySelectorAll<HTMLInputElement>(`input[name="${name}"]`))
    radio.checked = radio.value === value;
}

/** Gives a document or shadow root a style sheet, once. */
export function adopt(node: Node, styles: CSSStyleSheet): void {
  const root = node.getRootNode();
  const target = root instanceof ShadowRoot ? root : document;
  if (!target.adoptedStyleSheets.includes(styles)) target.adoptedStyleSheets.push(styles);
}

/** Saves bytes as a file on the visitor's disk. */
export function saveFile(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A value in double quotes of HTML. */
export const quoted = (value: string): string => value.replaceAll('&', '&amp;').replaceAll('"', '&quot;');

/** lecture.html: the article is in the page; its views are mounted when they come near, and ask one network. */

import { toDiffusionError } from '../../core/errors.ts';
import { acquire } from '../../loading/runtime.ts';
import { typeset } from './formula.ts';
import { views, type View } from './index.ts';
import { byId, h, quoted } from '../../ui/dom.ts';

const DEFAULT_MODEL = 'digits';
const OTHER = '…';

/** #name?key=value&…&model=… */
function address(): { name: string; params: Record<string, string>; model: string | null } {
  const [name = '', query = ''] = location.hash.slice(1).split('?');
  const { model, ...params } = Object.fromEntries(new URLSearchParams(query));
  return { name, params, model: model || null };
}

function addressOf(name: string, params: Readonly<Record<string, string>>): string {
  const query = new URLSearchParams({ ...params, ...(model === DEFAULT_MODEL ? {} : { model }) }).toString();
  return `#${name}${query ? `?${query}` : ''}`;
}

/** The tag for an author's page: this view as it is now. */
function embedOf(
  name: string,
  params: Readonly<Record<string, string>>,
  model: string,
  base: string,
): string {
  const bundled = /^[\w-]+$/.test(model);
  const elsewhere = /^(\.{0,2}\/.*|[\w./-]+\/)$/.test(model); // a folder beside this page
  const attributes: readonly (readonly [string, string])[] = [
    ['view', name],
    ...(model === DEFAULT_MODEL
      ? []
      : [[bundled ? 'model' : 'src', elsewhere ? new URL(model, base).href : model] as const]),
    ...Object.entries(params).map(([key, value]) => [`data-${key}`, value] as const),
  ];
  const list = attributes.map(([key, value]) => ` ${key}="${quoted(value)}"`).join('');
  return `<script type="module" src="${quoted(new URL('define.js', base).href)}"></script>\n<diffusion-sampler${list}></diffusion-sampler>`;
}

interface Place {
  readonly view: View;
  readonly element: HTMLElement;
  params: Readonly<Record<string, string>>;
  unmount: (() => void) | null;
}

let model = DEFAULT_MODEL;
let places: readonly Place[] = [];
const lists = new Set<HTMLSelectElement>();
/** The view whose reader went to type an address. */
let cameFrom: HTMLElement | null = null;

// ---- views ---------------------------------------------------------------------------------------------------

function mount(place: Place): void {
  if (place.unmount) return;
  const { view, element } = place;
  const host = h('div');
  const link = h('a', { href: addressOf(view.name, place.params) }, 'Link to this view as it is now');
  const embed = h('button', { type: 'button' }, 'Copy its embed');
  embed.addEventListener('click', () => {
    const tag = embedOf(view.name, place.params, model, document.baseURI);
    void navigator.clipboard
      .writeText(tag)
      .then(() => (embed.textContent = 'Copied'))
      .catch(() => (embed.textContent = tag));
  });
  const list = h('select', {}, ...[...(lists.values().next().value?.options ?? [])].map((o) => o.cloneNode(true))); // prettier-ignore
  const network = view.asks ? h('label', {}, 'Network ', list) : null;
  element.replaceChildren(host, h('p', { class: 'share' }, network, link, embed));
  if (network) connect(list);
  const abort = new AbortController();
  const { signal } = abort;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const unmount = view.mount(host, {
    acquire: async (onProgress) => {
      const lease = await acquire(model, {
        signal,
        onNotice: ({ message }) => (byId('model-note').textContent = message),
        ...(onProgress ? { onProgress } : {}),
      });
      byId('adapter').textContent = `The views run on ${lease.gpu.adapter}.`;
      return lease;
    },
    signal,
    params: place.params,
    headingLevel: 3,
    onchange(params) {
      if (JSON.stringify(params) === JSON.stringify(place.params)) return;
      place.params = params;
      link.setAttribute('href', addressOf(view.name, params));
      clearTimeout(timer);
      // Browsers refuse addresses that change too often.
      timer = setTimeout(() => history.replaceState(null, '', addressOf(view.name, params)), 400);
    },
  });
  place.unmount = () => {
    clearTimeout(timer);
    lists.delete(list);
    abort.abort();
    unmount();
  };
}

const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries)
      if (isIntersecting) {
        mount(places.find((p) => p.element === target)!);
        near.unobserve(target);
      }
  },
  { rootMargin: '300px' },
);

/** Takes the view away; it comes again when it is near. */
function reset(place: Place): void {
  place.unmount?.();
  place.unmount = null;
  near.unobserve(place.element);
  near.observe(place.element);
}

// ---- the network ---------------------------------------------------------------------------------------------

function connect(list: HTMLSelectElement): void {
  lists.add(list);
  list.value = model;
  list.addEventListener('change', () => {
    byId('other').hidden = list.value !== OTHER;
    if (list.value !== OTHER) return choose(list.value);
    list.value = model;
    cameFrom = list.closest('.place');
    byId('network').scrollIntoView({ block: 'nearest' });
    byId('address').focus();
  });
}

/** Every view that asks a network asks this one from now on. */
function choose(name: string): void {
  if (name === model) return;
  model = name;
  for (const list of lists) {
    if (![...list.options].some((o) => o.value === name))
      list.lastElementChild!.before(new Option(name, name));
    list.value = name;
  }
  byId('model-note').textContent = '';
  const { name: here, params } = address();
  history.replaceState(null, '', addressOf(here, params));
  places.filter((p) => p.view.asks).forEach(reset);
}

async function offerModels(): Promise<void> {
  const list = byId('model') as HTMLSelectElement;
  list.append(new Option(DEFAULT_MODEL, DEFAULT_MODEL), new Option('another …', OTHER));
  connect(list);
  byId('network').hidden = false;
  byId('other').addEventListener('submit', (event) => {
    event.preventDefault();
    byId('other').hidden = true;
    choose((byId('address') as HTMLInputElement).value.trim());
    cameFrom?.scrollIntoView();
  });
  const response = await fetch(new URL('weights/models.json', document.baseURI));
  const known = (await response.json()) as { name: string; title: string }[];
  for (const each of lists) {
    const kept = [...each.options].filter((o) => o.value !== OTHER && !known.some((m) => m.name === o.value));
    each.replaceChildren(
      ...known.map(({ name, title }) => new Option(title, name)),
      ...kept,
      new Option('another …', OTHER),
    );
    each.value = model;
  }
}

// ---- the page ------------------------------------------------------------------------------------------------

/** Keeps a target at the top while what is above it comes into place, until the reader does something. */
function goTo(target: HTMLElement): void {
  const go = (): void => target.scrollIntoView();
  const resized = new ResizeObserver(go);
  resized.observe(byId('article'));
  const stop = (): void => {
    resized.disconnect();
    for (const type of ['wheel', 'touchmove', 'keydown', 'pointerdown']) removeEventListener(type, stop);
  };
  for (const type of ['wheel', 'touchmove', 'keydown', 'pointerdown']) addEventListener(type, stop);
  setTimeout(stop, 5000);
  go();
}

async function open(): Promise<void> {
  for (const tex of document.querySelectorAll<HTMLElement>('.tex'))
    void typeset(tex.textContent.trim(), tex, 'display' in tex.dataset);
  model = address().model ?? DEFAULT_MODEL;
  const elements = [...document.querySelectorAll<HTMLElement>('.place')];
  const list = await Promise.all(elements.map((element) => views[element.dataset['place']!]!()));
  const { name, params } = address();
  places = list.map((view, i) => ({ view, element: elements[i]!, params: view.name === name ? params : {}, unmount: null })); // prettier-ignore
  offerModels().catch(() => {}); // the list stays as short as it is
  if (model !== DEFAULT_MODEL) {
    const chosen = model;
    model = DEFAULT_MODEL;
    choose(chosen);
  }
  const go = (): void => {
    const here = address();
    if (here.model) choose(here.model);
    const place = places.find((p) => p.view.name === here.name);
    if (!place) return;
    const changed = JSON.stringify(here.params) !== JSON.stringify(place.params);
    // A bare #name, from the list of questions, leaves the view as the reader has set it.
    if (changed && (Object.keys(here.params).length > 0 || !place.unmount)) {
      place.params = here.params;
      reset(place);
    }
    mount(place);
    goTo(Object.keys(here.params).length > 0 ? place.element : byId(here.name));
  };
  addEventListener('hashchange', go);
  go();
  places.forEach((p) => near.observe(p.element));
}

open().catch((error: unknown) => {
  const { message } = toDiffusionError(error, 'page');
  byId('article').append(h('p', { role: 'alert' }, message));
});

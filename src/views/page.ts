/** lecture.html: the article, its views in place, each mounted when it comes near. */

import { DiffusionError } from '../errors.ts';
import { acquire } from '../runtime.ts';
import { views, type View } from './index.ts';
import { h } from './kit.ts';

/** What is said before a view; by its name. */
const PASSAGES: Readonly<Record<string, string>> = {
  'one-jump':
    'A diffusion model learns to undo something simple: a picture that is mixed with noise, a little more in each of a thousand steps, until nothing of it is left. Training needs pictures at any of these levels. Nobody takes the steps to get them.',
};

/** #name?key=value&… */
function address(): { name: string; params: Record<string, string> } {
  const [name = '', query = ''] = location.hash.slice(1).split('?');
  return { name, params: Object.fromEntries(new URLSearchParams(query)) };
}

const addressOf = (name: string, params: Readonly<Record<string, string>>): string => {
  const query = new URLSearchParams(params).toString();
  return `#${name}${query ? `?${query}` : ''}`;
};

interface Place {
  readonly view: View;
  readonly element: HTMLElement;
  params: Readonly<Record<string, string>>;
  unmount: (() => void) | null;
}

function mount(place: Place): void {
  if (place.unmount) return;
  const { view, element } = place;
  const host = h('div');
  const link = h('a', { href: addressOf(view.name, place.params) }, 'Link to this view as it is now');
  const embed = h('button', { type: 'button' }, 'Copy its embed');
  embed.addEventListener('click', () => {
    const script = new URL('define.js', document.baseURI).href;
    const tag = `<script type="module" src="${script}"></script>\n<diffusion-sampler view="${view.name}"></diffusion-sampler>`;
    void navigator.clipboard
      .writeText(tag)
      .then(() => (embed.textContent = 'Copied'))
      .catch(() => (embed.textContent = tag));
  });
  element.replaceChildren(host, h('p', { class: 'share' }, link, embed));
  let timer: ReturnType<typeof setTimeout> | undefined;
  place.unmount = view.mount(host, {
    acquire: () => acquire('digits'),
    signal: new AbortController().signal,
    params: place.params,
    onchange(params) {
      place.params = params;
      link.setAttribute('href', addressOf(view.name, params));
      clearTimeout(timer);
      // Browsers refuse addresses that change too often.
      timer = setTimeout(() => history.replaceState(null, '', addressOf(view.name, params)), 400);
    },
  });
  element.classList.add('ready');
}

async function open(): Promise<void> {
  const list = await Promise.all(Object.values(views).map((load) => load()));
  const here = address();
  const article = document.getElementById('article')!;
  const index = document.getElementById('index')!;
  const places = list.map((view): Place => {
    const element = h('div', { class: 'place' }, h('p', { class: 'waiting' }, view.question));
    const passage = PASSAGES[view.name];
    article.append(
      h(
        'article',
        {},
        h('section', { id: view.name }, passage ? h('p', { class: 'passage' }, passage) : null, element),
      ),
    );
    index.append(h('li', {}, h('a', { href: `#${view.name}` }, view.question)));
    return { view, element, params: view.name === here.name ? here.params : {}, unmount: null };
  });
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
  places.forEach((p) => near.observe(p.element));
  const go = (): void => {
    const { name, params } = address();
    const place = places.find((p) => p.view.name === name);
    if (!place) return;
    if (JSON.stringify(params) !== JSON.stringify(place.params)) {
      place.unmount?.();
      place.unmount = null;
      place.params = params;
    }
    mount(place);
    document.getElementById(name)!.scrollIntoView();
  };
  addEventListener('hashchange', go);
  go();
}

open().catch((error: unknown) => {
  const message = error instanceof DiffusionError ? error.message : `The lecture did not load (${String(error)}). Reload the page.`; // prettier-ignore
  document.getElementById('article')!.append(h('p', { role: 'alert' }, message));
});

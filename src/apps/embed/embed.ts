/**
 * The page for iframes: one <diffusion-sampler>, set up by the address (`embed.html?label=7&steps=50`), steered and watched
 * by messages. docs/embed.md describes the protocol.
 *
 * An address is written by anyone who shares a link, so it chooses among bundled models only: `src` is not read, and
 * nothing starts, or is downloaded, by an address.
 */

import { DiffusionSampler } from '../element/define.ts';

const VERSION = 1;
const SETTINGS = ['model', 'sampler', 'steps', 'seed', 'label', 'guidance', 'eta', 'count', 'view', 'alt', 'hidden-policy']; // prettier-ignore

DiffusionSampler.base = new URL('weights/', document.baseURI);
const query = new URLSearchParams(location.search);
const sampler = document.createElement('diffusion-sampler');
for (const name of SETTINGS) {
  const value = query.get(name);
  if (value !== null && value.length <= 200) sampler.setAttribute(name, value);
}
sampler.controls = query.get('controls') !== '0';
document.querySelector('main')!.append(sampler);

/** Where `?origin=` names the page around, nobody else is told anything or obeyed; null: where it names none. */
const asked = query.get('origin');
const origin = asked === null ? '*' : originOf(asked);

function originOf(address: string): string | null {
  try {
    return new URL(address).origin;
  } catch {
    return null;
  }
}

const post = (type: string, data: Readonly<Record<string, unknown>> = {}): void => {
  if (parent !== window && origin !== null && origin !== 'null')
    parent.postMessage({ v: VERSION, type, ...data }, origin);
};

sampler.addEventListener('ready', ({ detail }) => post('ready', detail));
sampler.addEventListener('progress', ({ detail }) => post('progress', detail));
sampler.addEventListener('step', ({ detail }) => post('step', detail));
sampler.addEventListener('done', ({ detail }) => post('done', { ...detail, recipe: sampler.value }));
sampler.addEventListener('error', ({ detail }) => post('error', { code: detail.code, message: detail.message })); // prettier-ignore
new ResizeObserver(() => {
  const { height } = document.querySelector('main')!.getBoundingClientRect();
  post('resize', { height: Math.ceil(height) });
}).observe(document.querySelector('main')!);

window.addEventListener('message', (event: MessageEvent<unknown>) => {
  if (event.source !== parent || (origin !== '*' && event.origin !== origin)) return;
  const message = event.data as { v?: unknown; type?: unknown; k?: unknown; name?: unknown; value?: unknown };
  if (typeof message !== 'object' || message === null || message.v !== VERSION) return;
  const quietly = (work: Promise<void>): void => void work.catch(() => {}); // the error is posted already
  switch (message.type) {
    case 'play':
      return quietly(sampler.play());
    case 'pause':
      return sampler.pause();
    case 'step':
      return quietly(sampler.step());
    case 'stepBack':
      return sampler.stepBack();
    case 'stop':
      return sampler.stop();
    case 'seek':
      if (typeof message.k === 'number') sampler.seek(message.k);
      return;
    case 'set':
      if (SETTINGS.includes(String(message.name)) && typeof message.value === 'string')
        sampler.setAttribute(String(message.name), message.value.slice(0, 200));
  }
});

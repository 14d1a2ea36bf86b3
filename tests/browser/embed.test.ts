/** embed.html in frames of all kinds, its messages and its oEmbed answer; and the post with embeds in it. */

import axe from 'axe-core';
import type { Browser, BrowserContext, BrowserContextOptions, Frame, Page } from 'playwright';
import type { PreviewServer } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DiffusionSampler } from '../../src/apps/element/diffusion-sampler.ts';
import { readRecipe } from '../../src/session/recipe.ts';
import { launchBrowser, serveSite } from './browser.ts';

/** Where the site says that it is, and an author's page on another origin. Neither is on the network. */
const SITE = 'http://site.localhost/';
const AUTHOR = 'http://author.localhost/';

let server: PreviewServer;
let url: string;
let browser: Browser;

beforeAll(async () => {
  process.env['SITE_URL'] = SITE;
  ({ url, server } = await serveSite());
  browser = await launchBrowser(url);
}, 300_000);
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

interface Message {
  readonly v: number;
  readonly type: string;
  readonly [key: string]: unknown;
}
interface Said {
  readonly origin: string;
  readonly data: Message;
}
declare global {
  interface Window {
    said: Said[];
  }
}

interface Visit {
  readonly context: BrowserContext;
  readonly page: Page;
  readonly errors: string[];
  readonly requests: string[];
  /** Messages of a type, so far. */
  of(type: string): Promise<Message[]>;
  until(type: string, count?: number): Promise<Message[]>;
  tell(message: unknown): Promise<void>;
  frame(): Frame;
  element<T>(act: (el: DiffusionSampler) => T): Promise<T>;
}

/** An author's page with this body, and the site's answers with these headers. */
async function author(
  body: string,
  { policy = '', headers = {} as Record<string, string>, options = {} as BrowserContextOptions } = {},
): Promise<Visit> {
  const context = await browser.newContext(options);
  await context.route(`${SITE}**`, async (route) => {
    const response = await route.fetch({ url: route.request().url().replace(SITE, url) });
    await route.fulfill({ response, headers: { ...response.headers(), ...headers } });
  });
  await context.route(`${AUTHOR}**`, (route) =>
    route.fulfill({
      contentType: 'text/html',
      headers: policy ? { 'content-security-policy': policy } : {},
      body: `<!doctype html><html lang="en"><title>A post</title><link rel="icon" href="data:,">${body}`,
    }),
  );
  const page = await context.newPage();
  const errors: string[] = [];
  const requests: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (line) => line.type() === 'error' && errors.push(line.text()));
  page.on('request', (request) => requests.push(request.url()));
  await page.addInitScript(() => {
    window.said = [];
    if (window === top)
      window.addEventListener('message', ({ origin, data }) => window.said.push({ origin, data } as Said));
  });
  await page.goto(AUTHOR);
  const of = (type: string) =>
    page.evaluate((t) => window.said.map((s) => s.data).filter((d) => d.type === t), type);
  const frame = (): Frame => page.frames().find((f) => f.url().includes('embed.html'))!;
  return {
    context,
    page,
    errors,
    requests,
    of,
    frame,
    async until(type, count = 1) {
      await page.waitForFunction(
        ([t, n]) => window.said.filter((s) => s.data.type === t).length >= n,
        [type, count] as const,
        { timeout: 120_000 },
      );
      return of(type);
    },
    tell: (message) => page.evaluate((m) => frames[0]!.postMessage(m, '*'), message),
    element: (act) =>
      frame()
        .locator('diffusion-sampler')
        .evaluate(act as (el: HTMLElement) => never),
  };
}

const frameTag = (query: string, more = '') =>
  `<iframe src="${SITE}embed.html?${query}" width="400" height="520" title="Drawn" ${more}></iframe>`;
const settled = (page: Page) => page.waitForTimeout(300);

it('a default frame: it waits, says its height, obeys, and tells everything that happens', async () => {
  const { context, page, errors, requests, until, of, tell, element, frame } = await author(
    frameTag('label=7&steps=4&seed=5&guidance=2&src=https://elsewhere.example/&nonsense=1'),
  );
  const [resize] = await until('resize');
  expect(resize!.v).toBe(1);
  expect(resize!['height']).toBeGreaterThan(400);
  expect(resize!['height']).toBeLessThanOrEqual(520); // the size that the page gives away has no scroll bar
  const label = frame().getByRole('button', { name: 'Run on my GPU, 1.4 MB' });
  await label.waitFor();
  expect(requests.filter((r) => r.endsWith('.safetensors'))).toEqual([]);
  expect(await element((el) => [el.label, el.steps, el.seed, el.guidance, el.src, el.controls, el.hasAttribute('nonsense')])) // prettier-ignore
    .toEqual(['7', 4, 5, 2, '', true, false]);

  await tell({ v: 1, type: 'play' });
  const [done] = await until('done');
  expect(done).toMatchObject({ v: 1, steps: 4, seed: 5 });
  expect(readRecipe(String(done!['recipe'])).options).toMatchObject({ labels: [7], seed: 5, steps: 4 });
  expect(await of('ready')).toMatchObject([{ bytes: 1395036 }]);
  expect((await of('progress')).at(-1)).toMatchObject({ received: 1395036, total: 1395036 });
  expect((await of('step')).map((m) => m['index'])).toEqual([0, 1, 2, 3, 4]);

  await tell({ v: 1, type: 'stepBack' });
  expect((await until('step', 6)).at(-1)).toMatchObject({ index: 3 });
  await tell({ v: 1, type: 'seek', k: 1 });
  expect((await until('step', 7)).at(-1)).toMatchObject({ index: 1, steps: 4 });
  await tell({ v: 1, type: 'step' });
  expect((await until('step', 8)).at(-1)).toMatchObject({ index: 2 });

  // What is no command changes nothing: other versions, unknown words, what is not even an object, an address.
  const state = () => element((el) => [el.status, el.player!.index, el.src, el.getAttribute('onclick'), el.steps]); // prettier-ignore
  const before = await state();
  for (const message of [
    null,
    'play',
    7,
    [],
    {},
    { v: 2, type: 'play' },
    { v: 1, type: 'explode' },
    { type: 'play' },
    { v: 1, type: 'seek', k: 'x' },
    { v: 1, type: 'set', name: 'src', value: 'https://elsewhere.example/' },
    { v: 1, type: 'set', name: 'onclick', value: 'alert(1)' },
    { v: 1, type: 'set', name: 'steps', value: 7 },
  ])
    // prettier-ignore
    await tell(message);
  await settled(page);
  expect(await state()).toEqual(before);

  await tell({ v: 1, type: 'set', name: 'steps', value: '60' });
  await tell({ v: 1, type: 'play' });
  await page.waitForFunction(() => window.said.some((s) => s.data['steps'] === 60 && Number(s.data['index']) >= 2)); // prettier-ignore
  await tell({ v: 1, type: 'pause' });
  await expect.poll(() => element((el) => el.status)).toBe('paused');
  await tell({ v: 1, type: 'play' });
  await expect.poll(() => element((el) => el.status)).toBe('running');
  await tell({ v: 1, type: 'stop' });
  await expect.poll(() => element((el) => el.status)).toBe('paused');

  await tell({ v: 1, type: 'set', name: 'label', value: 'a dragon' });
  await tell({ v: 1, type: 'play' });
  expect(await until('error')).toMatchObject([{ v: 1, code: 'bad-option', message: expect.stringMatching(/a dragon.*Choose/) as string }]); // prettier-ignore

  const heights = (await of('resize')).length;
  await page.evaluate(() => (document.querySelector('iframe')!.width = '250'));
  const last = (await until('resize', heights + 1)).at(-1)!;
  expect(Number(last['height'])).toBeLessThan(Number(resize!['height']));
  expect(requests.filter((r) => !r.startsWith(SITE) && !r.startsWith(AUTHOR) && !/^(data|blob):/.test(r))).toEqual([]); // prettier-ignore
  expect(errors).toEqual([]);
  await context.close();
});

describe('origin=', () => {
  it('the page that is named is told and obeyed, whatever path was pasted with it', async () => {
    const { context, until, tell, errors } = await author(frameTag(`steps=1&controls=0&origin=${encodeURIComponent(`${AUTHOR}a/post`)}`)); // prettier-ignore
    await until('resize');
    await tell({ v: 1, type: 'play' });
    await until('done');
    expect(errors).toEqual([]);
    await context.close();
  });

  it.each(['http://other.localhost', 'nonsense', 'data:text/plain,x'])('%s: nobody else', async (origin) => {
    const { context, page, tell, element } = await author(frameTag(`steps=1&origin=${encodeURIComponent(origin)}`)); // prettier-ignore
    await page
      .frames()[1]!
      .getByRole('button', { name: /^Run on my GPU,/ })
      .waitFor();
    await tell({ v: 1, type: 'play' });
    await tell({ v: 1, type: 'set', name: 'seed', value: '9' });
    await settled(page);
    expect(await page.evaluate(() => window.said)).toEqual([]);
    expect(await element((el) => [el.status, el.seed])).toEqual(['poster', 0]);
    await context.close();
  });

  it('a frame beside it cannot steer it', async () => {
    const { context, page, until, element } = await author(`${frameTag('steps=1')}<iframe src="about:blank" title="Another"></iframe>`); // prettier-ignore
    await until('resize');
    await page.evaluate(() => {
      const script = frames[1]!.document.createElement('script');
      script.textContent =
        "parent.frames[0].postMessage({ v: 1, type: 'set', name: 'seed', value: '9' }, '*')";
      frames[1]!.document.body.append(script);
    });
    await settled(page);
    expect(await element((el) => el.seed)).toBe(0);
    await context.close();
  });
});

it('a strict policy, of the embed and of the page around it', async () => {
  const headers = {
    'content-security-policy':
      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; require-trusted-types-for 'script'; trusted-types 'none'",
  };
  const policy = `default-src 'none'; img-src data:; frame-src ${SITE}`;
  const { context, until, tell, errors, element } = await author(frameTag('steps=2'), { headers, policy });
  await until('resize');
  await tell({ v: 1, type: 'play' });
  await until('done');
  expect(await element(async (el) => (await el.toBlob()).type)).toBe('image/png');
  expect(errors).toEqual([]);
  await context.close();
});

it('sandboxed without an origin, from a server that lets everybody read; nothing can be kept, and it works', async () => {
  const { context, page, until, tell, errors } = await author(frameTag('steps=2', 'sandbox="allow-scripts"'), { headers: { 'access-control-allow-origin': '*' } }); // prettier-ignore
  await until('resize');
  await tell({ v: 1, type: 'play' });
  await until('done');
  expect(new Set(await page.evaluate(() => window.said.map((s) => s.origin)))).toEqual(new Set(['null']));
  expect(errors).toEqual([]);
  await context.close();
});

it('oEmbed: a valid answer, found from the pages that are linked to, and its HTML works', async () => {
  const answer = (await (await fetch(new URL('oembed.json', url))).json()) as Record<string, unknown>;
  // https://oembed.com, 2.3.4: what every answer and a rich one must have.
  expect(answer).toMatchObject({ version: '1.0', type: 'rich' });
  for (const key of ['width', 'height']) expect(answer[key]).toBeGreaterThan(0);
  expect(new URL(String(answer['provider_url'])).href).toBe(SITE);
  for (const name of ['', 'embed.html']) {
    const html = await (await fetch(new URL(name, url))).text();
    const [, href] = /<link rel="alternate" type="application\/json\+oembed" href="([^"]+)"/.exec(html)!;
    expect(new URL(href!, new URL(name, url)).href).toBe(new URL('oembed.json', url).href);
  }
  const { context, page, until, tell, errors } = await author(String(answer['html']));
  const { height } = (await until('resize'))[0]!;
  expect(Number(height)).toBeLessThanOrEqual(Number(answer['height']));
  expect(await page.locator('iframe').getAttribute('title')).toBeTruthy();
  await tell({ v: 1, type: 'set', name: 'steps', value: '1' });
  await tell({ v: 1, type: 'play' });
  await until('done');
  expect(errors).toEqual([]);
  await context.close();
});

describe.each(['light', 'dark'] as const)('axe finds nothing (%s)', (colorScheme) => {
  const violations = async (page: Page): Promise<string[]> => {
    await page.addScriptTag({ content: axe.source });
    return page.evaluate(async () => {
      // The embed leaves its ground to the page around; axe takes none for white, though the browser paints it dark.
      document.documentElement.style.backgroundColor ||= 'Canvas';
      const { violations: all } = await (window as unknown as { axe: typeof axe }).axe.run();
      return all.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).join(' ')}`);
    });
  };
  it('in the embed: waiting, done, failed', async () => {
    const page = await browser.newPage({ colorScheme });
    await page.goto(`${url}embed.html?steps=1&label=7`);
    await page.getByRole('button', { name: 'Run on my GPU, 1.4 MB' }).click();
    const el = page.locator('diffusion-sampler');
    await expect.poll(() => el.evaluate((e: DiffusionSampler) => e.status), { timeout: 60_000 }).toBe('done');
    expect(await violations(page)).toEqual([]);
    await el.evaluate((e: DiffusionSampler) => {
      e.label = 'a dragon';
      e.play().catch(() => {});
    });
    await expect.poll(() => el.evaluate((e: DiffusionSampler) => e.status)).toBe('failed');
    expect(await violations(page)).toEqual([]);
    await page.close();
  });

  it('in the post, on a phone: before and after its first picture; nothing asks for more than the width', async () => {
    const context = await browser.newContext({ colorScheme, viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }); // prettier-ignore
    const page = await context.newPage();
    const requests: string[] = [];
    page.on('request', (request) => requests.push(request.url()));
    await page.goto(`${url}blog.html`);
    const first = page.locator('diffusion-sampler').first();
    await first.evaluate((e: DiffusionSampler) => (e.steps = 2));
    expect(await violations(page)).toEqual([]);
    await first.getByRole('button', { name: /^Run on my GPU, 1\.4 MB/ }).click();
    await expect.poll(() => first.evaluate((e: DiffusionSampler) => e.status), { timeout: 60_000 }).toBe('done'); // prettier-ignore
    expect(await violations(page)).toEqual([]);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
    expect(requests.filter((r) => !r.startsWith(url) && !/^(data|blob):/.test(r))).toEqual([]);
    await context.close();
  });
});

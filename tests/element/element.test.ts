/** <diffusion-sampler> as authors get it: the built package, in pages of all kinds. */

import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright';
import { build, preview } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DiffusionSampler } from '../../src/apps/element/diffusion-sampler.ts';
import { pngText } from '../../src/core/png_chunks.ts';
import { readRecipe, RECIPE_KEYWORD } from '../../src/session/recipe.ts';
import { launchBrowser } from '../browser/browser.ts';
import { example, pack } from '../package/packed.ts';
import { contrasts } from './contrast.ts';
import { PACKAGE, serveElement, type Site, VERSION } from './page.ts';

let site: Site;
let browser: Browser;

beforeAll(async () => {
  site = await serveElement();
  browser = await launchBrowser(site.page('empty', ''));
}, 300_000);
afterAll(async () => {
  await browser?.close();
  site?.server.close();
});

interface Watch {
  devices: number;
  lost: number;
  draws: number[];
  events: { type: string; detail: unknown }[];
}
declare global {
  interface Window {
    watch: Watch;
    el: DiffusionSampler;
    saved: string[];
  }
}

/** A page that counts devices, drawings on canvases, and the element's events; and what the network was asked for. */
async function open(
  url: string,
  options: Parameters<Browser['newPage']>[0] = {},
  init?: () => void,
): Promise<{ page: Page; errors: string[]; requests: string[]; weights: () => number }> {
  const page = await browser.newPage(options);
  const errors: string[] = [];
  const requests: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (line) => {
    if (line.type() === 'error') errors.push(line.text());
  });
  page.on('request', (request) => requests.push(request.url()));
  await page.addInitScript(() => {
    const watch: Watch = (window.watch = { devices: 0, lost: 0, draws: [], events: [] });
    if (!('gpu' in navigator)) return;
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...args) {
      watch.devices++;
      const device = await request.apply(this, args);
      void device.lost.then(() => watch.lost++);
      return device;
    };
    const draw = GPURenderPassEncoder.prototype.draw;
    GPURenderPassEncoder.prototype.draw = function (...args) {
      watch.draws.push(performance.now());
      return draw.apply(this, args);
    };
    document.addEventListener('DOMContentLoaded', () => {
      window.el = document.querySelector('diffusion-sampler')!;
      for (const type of ['ready', 'progress', 'step', 'done', 'error'])
        window.el?.addEventListener(type, (event) =>
          watch.events.push({
            type,
            detail: JSON.parse(JSON.stringify((event as CustomEvent).detail)) as unknown,
          }),
        );
    });
  });
  if (init) await page.addInitScript(init);
  await page.goto(url);
  return { page, errors, requests, weights: () => requests.filter((r) => r.endsWith('.safetensors')).length };
}

const status = (page: Page, wanted: string) =>
  page.waitForFunction((s) => window.el.status === s, wanted, { timeout: 120_000 });
const visible = (page: Page, part: string) => page.locator(`diffusion-sampler [part~="${part}"]`).first();
/** The bytes of the PNG that toBlob gives. */
const png = async (page: Page): Promise<Uint8Array> =>
  Uint8Array.from(
    await page.evaluate(async () => [...new Uint8Array(await (await window.el.toBlob()).arrayBuffer())]),
  );
const tag = (attributes: string, inner = '') =>
  `<diffusion-sampler ${attributes}>${inner}</diffusion-sampler>`;

it('waits, says its size, runs, goes back, forks, saves', async () => {
  const body = `<form>${tag('name="art" model="digits" label="7" steps="4" seed="5" controls')}</form>`;
  const { page, errors, requests, weights } = await open(site.page('one', body));
  await page.waitForFunction(() => window.el.shadowRoot!.textContent.includes('1.4 MB'));
  const before = await page.locator('diffusion-sampler').boundingBox();
  expect(weights()).toBe(0);
  expect(await page.evaluate(() => [window.el.status, window.watch.devices])).toEqual(['poster', 0]);
  await page.getByRole('button', { name: 'Run on my GPU, 1.4 MB' }).click();
  await status(page, 'done');
  await page.waitForFunction(() => window.watch.events.some((e) => e.type === 'done'));
  const events = await page.evaluate(() => window.watch.events);
  const of = (type: string) => events.filter((e) => e.type === type).map((e) => e.detail);
  expect(of('ready')).toMatchObject([{ bytes: 1395036, adapter: expect.any(String) as string }]);
  expect(of('progress').at(-1)).toEqual({ received: 1395036, total: 1395036 });
  expect(of('step').map((d) => (d as { index: number }).index)).toEqual([0, 1, 2, 3, 4]);
  expect(of('done')).toMatchObject([{ steps: 4, seed: 5 }]);
  expect(weights()).toBe(1);
  expect(await page.locator('diffusion-sampler').boundingBox()).toEqual(before); // no layout shift

  // The picture, its recipe, the form.
  const final = await png(page);
  const recipe = readRecipe(pngText(final, RECIPE_KEYWORD)!);
  expect(recipe.options).toMatchObject({ labels: [7], seed: 5, steps: 4 });
  const value = await page.evaluate(() => new FormData(document.querySelector('form')!).get('art'));
  expect(readRecipe(String(value))).toEqual(recipe);

  // Steps back, seeks, forks: the trunk comes out the same, bit for bit.
  await page.evaluate(() => window.el.stepBack());
  expect(await page.evaluate(() => [window.el.status, window.el.player!.index])).toEqual(['paused', 3]);
  await page.evaluate(() => window.el.step());
  await page.evaluate(() => window.el.seek(2));
  expect(await page.evaluate(() => window.el.player!.index)).toBe(2);
  const middle = await png(page);
  expect(middle).not.toEqual(final);
  await page.evaluate(() => window.el.fork(2, {}));
  await status(page, 'done');
  expect((await png(page)).slice(-12)).toEqual(final.slice(-12));
  const pixels = (bytes: Uint8Array) =>
    Buffer.from(bytes)
      .toString('latin1')
      .match(/IDAT.*IEND/s)![0];
  expect(pixels(await png(page))).toBe(pixels(final));
  await page.evaluate(() => window.el.fork(2, { labels: [1] }));
  await status(page, 'running');
  await status(page, 'done');
  expect(pixels(await png(page))).not.toBe(pixels(final));

  // Views, by attribute and by the list.
  await page.evaluate(() => window.el.seek(2));
  const views = new Set<string>();
  for (const view of ['x_t', 'x0', 'eps', 'update']) {
    await visible(page, 'view').selectOption(view);
    expect(await page.getAttribute('diffusion-sampler', 'view')).toBe(view);
    views.add(pixels(await png(page)));
  }
  expect(views.size).toBe(4);

  // A download, and stop.
  const download = page.waitForEvent('download');
  await visible(page, 'save').click();
  expect((await download).suggestedFilename()).toBe('digits-5.png');
  await page.evaluate(() => {
    window.el.steps = 200;
    void window.el.play();
  });
  await page.waitForFunction(() => window.el.player!.index >= 2 && window.el.status === 'running');
  await visible(page, 'stop').click();
  expect(await page.evaluate(() => window.el.status)).toBe('paused');
  await page.evaluate(() => {
    void window.el.play();
  });
  await page.waitForFunction(() => window.el.status === 'running' && window.el.player!.index === 1);
  await visible(page, 'play').click();
  expect(await page.evaluate(() => window.el.status)).toBe('paused');
  await page.evaluate(() => document.querySelector('form')!.reset());
  expect(await page.evaluate(() => window.el.value)).toBe('');

  // Every name of the manifest, one by one: manifest.test.ts.
  expect(
    requests.every((r) => r.startsWith(site.url) || r.startsWith('data:') || r.startsWith('blob:')),
  ).toBe(true);
  expect(errors).toEqual([]);
  await page.close();
});

it('twelve on a page: one device, one download, one model, and turns', async () => {
  const body = Array.from({ length: 12 }, (_, n) => tag(`seed="${n}" steps="2" label="${n % 10}"`)).join('');
  const style = '<style>diffusion-sampler { --diffusion-sampler-size: 80px; display: inline-block }</style>';
  const head = `${style}<script type="module" src="/pkg/diffusion-sampler.min.js"></script>`;
  const { page, errors, weights } = await open(site.page('twelve', body, { head }));
  const result = await page.evaluate(async () => {
    await customElements.whenDefined('diffusion-sampler');
    const all = [...document.querySelectorAll('diffusion-sampler')];
    const order: number[] = [];
    const ends = all.map((el, n) => {
      el.addEventListener('step', () => order.push(n));
      return new Promise((resolve) => el.addEventListener('done', resolve));
    });
    await Promise.all(all.map((el) => el.play()));
    await Promise.all(ends);
    return {
      order,
      models: new Set(all.map((el) => el.player!.lease.model)).size,
      devices: window.watch.devices,
    };
  });
  expect(result).toMatchObject({ models: 1, devices: 1 });
  expect(weights()).toBe(1);
  // Nobody is two turns ahead of anybody.
  const steps = new Array<number>(12).fill(0);
  for (const n of result.order) {
    steps[n]!++;
    expect(Math.max(...steps) - Math.min(...steps)).toBeLessThanOrEqual(2);
  }
  expect(errors).toEqual([]);
  await page.close();
});

it('moved it goes on, removed it leaves nothing', async () => {
  const { page, errors } = await open(site.page('moving', `${tag('steps="40"')}<section></section>`));
  await page.evaluate(() => void window.el.play());
  await page.waitForFunction(() => (window.el.player?.index ?? 0) >= 2);
  const moved = await page.evaluate(async () => {
    const { player } = window.el;
    document.querySelector('section')!.append(window.el);
    await new Promise((resolve) => setTimeout(resolve, 300));
    return [window.el.status, window.el.player === player];
  });
  expect(moved).toEqual(['running', true]);
  await page.evaluate(() => window.el.remove());
  await page.waitForFunction(() => window.watch.lost === 1, undefined, { timeout: 10_000 });
  expect(await page.evaluate(() => [window.el.status, window.el.player])).toEqual(['poster', null]);
  // Removed while it loads; and there again, it works.
  await page.evaluate(async () => {
    document.body.append(window.el);
    window.el.play().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 20));
    window.el.remove();
    await new Promise((resolve) => setTimeout(resolve, 50));
    window.el.steps = 1;
    document.body.append(window.el);
    await window.el.play();
  });
  await status(page, 'done');
  expect(errors).toEqual([]);
  await page.close();
});

describe('quiet', () => {
  it('no more than ten drawings a second', async () => {
    const { page } = await open(site.page('calm', tag('steps="15"')));
    await page.evaluate(() => void window.el.play());
    await status(page, 'done');
    await page.waitForTimeout(200);
    const draws = await page.evaluate(() => window.watch.draws);
    expect(draws.length).toBeGreaterThan(3);
    for (let i = 1; i < draws.length; i++) expect(draws[i]! - draws[i - 1]!).toBeGreaterThanOrEqual(90); // 100, less what encoding wavers by
    await page.close();
  });

  it('reduced motion: nothing starts by itself, and no picture passes by', async () => {
    const { page } = await open(site.page('reduced', tag('steps="8" autoplay')), { reducedMotion: 'reduce' });
    await page.waitForTimeout(1000);
    expect(await page.evaluate(() => window.el.status)).toBe('poster');
    await page.evaluate(() => void window.el.play());
    await status(page, 'done');
    await page.waitForTimeout(500);
    const draws = await page.evaluate(() => window.watch.draws);
    expect(draws.length).toBeLessThanOrEqual(2); // the noise, the end
    for (let i = 1; i < draws.length; i++) expect(draws[i]! - draws[i - 1]!).toBeGreaterThanOrEqual(333);
    await page.close();
  });

  it('a hidden tab waits, unless told otherwise', async () => {
    const { page } = await open(site.page('hidden', tag('steps="60"')));
    const hide = (hidden: boolean) =>
      page.evaluate((h) => {
        Object.defineProperty(document, 'hidden', { value: h, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
      }, hidden);
    await page.evaluate(() => void window.el.play());
    await page.waitForFunction(() => window.el.player?.index === 2);
    await hide(true);
    expect(await page.evaluate(() => window.el.status)).toBe('paused');
    await hide(false);
    await status(page, 'running');
    await page.evaluate(() => (window.el.hiddenPolicy = 'continue'));
    await hide(true);
    expect(await page.evaluate(() => window.el.status)).toBe('running');
    await page.close();
  });
});

it('loading, reveal, autoplay and loop', async () => {
  const body = [
    tag('id="lazy" loading="lazy" steps="1"'),
    tag('id="reveal" reveal="auto" steps="2"'),
    tag('id="auto" autoplay loop steps="1" seed="3" count="2"'),
    '<div style="height: 4000px"></div>',
    tag('id="far" autoplay loading="lazy"'),
    tag('id="eager" loading="eager"'),
  ].join('');
  const style = '<style>diffusion-sampler { --diffusion-sampler-size: 100px }</style>';
  const head = `${style}<script type="module" src="/pkg/define.js"></script>`;
  const { page, errors } = await open(site.page('loading', body, { head }));
  await page.waitForFunction(
    () => {
      const of = (id: string) => document.getElementById(id) as DiffusionSampler;
      return (
        of('lazy').status === 'ready' &&
        of('reveal').status === 'paused' &&
        of('reveal').player!.index === 0 &&
        of('auto').seed === 5 &&
        of('eager').status === 'ready' &&
        of('far').status === 'poster'
      );
    },
    undefined,
    { timeout: 60_000 },
  );
  expect(errors).toEqual([]);
  await page.close();
});

it('a strict content security policy, with trusted types', async () => {
  const policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; require-trusted-types-for 'script'; trusted-types 'none'";
  const url = site.page('strict', tag('steps="2" controls'), {
    headers: { 'content-security-policy': policy },
  });
  const { page, errors } = await open(url);
  await page.evaluate(() => {
    window.saved = [];
    document.addEventListener('securitypolicyviolation', (e) => window.saved.push(e.violatedDirective));
    void window.el.play();
  });
  await status(page, 'done');
  await page.evaluate(() => window.el.toBlob());
  expect(await page.evaluate(() => window.saved)).toEqual([]);
  expect(errors).toEqual([]);
  await page.close();
});

it('two versions on a page: the first stays, nothing throws', async () => {
  const head =
    '<script type="module" src="/pkg/define.js"></script><script type="module" src="/other/define.js"></script>';
  const warnings: string[] = [];
  const page = await browser.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (line) => line.type() === 'warning' && warnings.push(line.text()));
  await page.goto(site.page('versions', tag('steps="1"'), { head }));
  await page.waitForTimeout(500);
  const el = await page.evaluate(() => {
    const all = document.querySelector('diffusion-sampler')!;
    return (all.constructor as typeof DiffusionSampler).version;
  });
  expect(el).toBe(VERSION);
  expect(errors).toEqual([]);
  expect(warnings.join()).toContain('9.9.9');
  await page.close();
});

it('one file from another origin, as from a CDN, in a page of the author’s own: the tag of docs/embed.md', async () => {
  const [tags] = /<script[\s\S]*?<\/diffusion-sampler>/.exec(readFileSync('docs/embed.md', 'utf8'))!;
  const cdn = '"/dist/';
  expect(tags).toContain(cdn);
  const context = await browser.newContext();
  await context.route('http://cdn.localhost/**', async (route) => {
    const response = await route.fetch({
      url: route.request().url().replace('http://cdn.localhost/', site.url),
    });
    await route.fulfill({ response });
  });
  await context.route('http://author.localhost/', (route) =>
    route.fulfill({
      contentType: 'text/html',
      body: `<!doctype html><link rel="icon" href="data:,">${tags.replace(cdn, '"http://cdn.localhost/pkg/')}`,
    }),
  );
  const page = await context.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (line) => line.type() === 'error' && errors.push(line.text()));
  await page.goto('http://author.localhost/');
  await page.getByRole('button', { name: 'Run on my GPU, 1.4 MB' }).waitFor();
  await page.evaluate(() => {
    window.el = document.querySelector('diffusion-sampler')!;
    window.el.steps = 1;
  });
  await page.getByRole('button', { name: 'Run on my GPU, 1.4 MB' }).click();
  await status(page, 'done');
  expect(errors).toEqual([]);
  await context.close();
});

it('the tarball in a clean Vite app with React: the example of docs/embed.md', async () => {
  const packed = pack(PACKAGE);
  try {
    const { app, installed } = packed;
    const write = (name: string, text: string) => writeFileSync(join(app, name), text);
    write('index.html', '<title>App</title><link rel="icon" href="data:,"><div id="app"></div><script type="module" src="./main.tsx"></script>'); // prettier-ignore
    write('example.tsx', example('React'));
    write('main.tsx', "import { createRoot } from 'react-dom/client'; import { Digit } from './example'; createRoot(document.getElementById('app')!).render(<Digit seed={3} />);"); // prettier-ignore
    write('tsconfig.json', '{ "compilerOptions": { "jsx": "react-jsx" } }');
    cpSync(join(installed, 'dist/weights'), join(app, 'public/weights'), { recursive: true }); // as the docs say
    const config = { root: app, configFile: false, logLevel: 'error', resolve: { preserveSymlinks: true } } as const; // prettier-ignore
    await build(config);
    const server = await preview({ ...config, preview: { port: 0 } });
    const page = await browser.newPage();
    const lines: string[] = [];
    page.on('pageerror', (error) => lines.push(String(error)));
    page.on('console', (line) => line.type() === 'log' && lines.push(line.text()));
    await page.goto(server.resolvedUrls!.local[0]!);
    const button = page.getByRole('button', { name: 'Run on my GPU, 1.4 MB' });
    await button.waitFor();
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      const { measured, faint } = await contrasts(page);
      expect(faint).toEqual([]);
      expect(measured.text).toBeGreaterThan(1);
    }
    await page.evaluate(() => (document.querySelector('diffusion-sampler')!.steps = 1));
    await button.click();
    await expect.poll(() => lines.length, { timeout: 60_000 }).toBe(1);
    expect(readRecipe(lines[0]!).options).toMatchObject({ labels: [7], seed: 3, steps: 1 }); // what `done` logs
    await page.close();
    await server.close();
  } finally {
    packed.remove();
  }
});

it('by keyboard alone', async () => {
  const { page, errors } = await open(site.page('keys', tag('steps="3" controls')));
  await page.waitForFunction(() => window.el.shadowRoot!.textContent.includes('MB'));
  const focused = () => page.evaluate(() => window.el.shadowRoot!.activeElement?.getAttribute('part') ?? '');
  await page.keyboard.press('Tab');
  expect(await focused()).toBe('run');
  await page.keyboard.press('Enter');
  await status(page, 'done');
  while ((await focused()) !== 'timeline') await page.keyboard.press('Tab');
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('ArrowLeft');
  expect(await page.evaluate(() => window.el.player!.index)).toBe(1);
  const text = await visible(page, 'timeline').getAttribute('aria-valuetext');
  expect(text).toMatch(/^step 1 of 3, t = \d+$/);
  while (!(await focused()).includes('step-back')) await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Space');
  expect(await page.evaluate(() => window.el.player!.index)).toBe(0);
  while (!(await focused()).endsWith(' play')) await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Enter');
  await status(page, 'done');
  await page.waitForFunction(() => document.querySelectorAll('[role=status]').length === 1);
  await page.waitForFunction(() => /done\.$/.test(document.querySelector('[role=status]')!.textContent));
  expect(errors).toEqual([]);
  await page.close();
});

it('axe finds nothing: waiting, done, failed; light and dark', async () => {
  const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  const check = async (page: Page): Promise<string[]> => {
    await page.evaluate(axe);
    return page.evaluate(async () => {
      const { run } = (window as unknown as { axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> } }).axe; // prettier-ignore
      return (await run()).violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join()}`);
    });
  };
  for (const colorScheme of ['light', 'dark'] as const) {
    const head =
      '<style>:root { color-scheme: light dark }</style><script type="module" src="/pkg/define.js"></script>';
    const { page } = await open(site.page('axe', tag('steps="1" controls label="2"'), { head }), {
      colorScheme,
    });
    await page.waitForFunction(() => window.el.shadowRoot!.textContent.includes('MB'));
    expect(await check(page)).toEqual([]);
    await page.evaluate(() => void window.el.play());
    await status(page, 'done');
    expect(await check(page)).toEqual([]);
    await page.evaluate(() => {
      window.el.label = 'a dragon';
      window.el.play().catch(() => {});
    });
    await status(page, 'failed');
    expect(await visible(page, 'error-message').textContent()).toMatch(/There is no class a dragon\. Choose/);
    expect(await check(page)).toEqual([]);
    await page.evaluate(() => {
      window.el.label = '3';
    });
    await visible(page, 'retry').click();
    await status(page, 'done');
    await page.close();
  }
});

describe('when something is missing', () => {
  it('no WebGPU: the poster and what to do, without a click', async () => {
    const inner =
      '<img slot="poster" alt="A seven" src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">';
    const { page, weights } = await open(site.page('none', tag('', inner)), {}, () =>
      Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined }),
    );
    await status(page, 'failed');
    expect(await visible(page, 'error-message').textContent()).toMatch(/does not offer WebGPU.*Use Chrome/);
    expect(await page.locator('img[slot=poster]').isVisible()).toBe(true);
    expect(await visible(page, 'retry').isVisible()).toBe(false);
    expect(weights()).toBe(0);
    await page.close();
  });

  it('slots of the author, cancelling, and a download that fails first', async () => {
    const inner = '<p slot="progress">Moment, please</p><p slot="error">Sorry!</p>';
    const page = await browser.newPage();
    let fails = true;
    await page.route('**/*.safetensors', async (route) => {
      await new Promise((resolve) => setTimeout(resolve, 500));
      if (fails) await route.fulfill({ status: 404, body: '' }).catch(() => {});
      else await route.continue().catch(() => {});
    });
    await page.goto(site.page('slots', tag('steps="1"', inner)));
    await page.evaluate(() => {
      window.el = document.querySelector('diffusion-sampler')!;
      window.el.play().catch(() => {});
    });
    await page.getByText('Moment, please').waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await status(page, 'poster');
    await page.evaluate(() => window.el.play().catch(() => {}));
    await status(page, 'failed');
    expect(await page.getByText('Sorry!').isVisible()).toBe(true);
    fails = false;
    await page.getByRole('button', { name: 'Try again' }).click();
    await status(page, 'done');
    await page.close();
  });

  it('the device is lost: once it is made good, twice it is said', async () => {
    const { page } = await open(site.page('lost', tag('steps="6"')));
    await page.evaluate(() => void window.el.play());
    await status(page, 'done');
    await page.waitForFunction(() => window.el.value !== ''); // the recipe, which the picture carries
    const final = await png(page);
    await page.evaluate(async () => {
      const shown = new Promise((resolve) => window.el.addEventListener('step', resolve, { once: true }));
      window.el.player!.lease.gpu.device.destroy();
      await shown;
    });
    expect(await png(page)).toEqual(final);
    expect(await page.evaluate(() => [window.el.status, window.watch.devices])).toEqual(['done', 2]);
    await page.evaluate(() => window.el.player!.lease.gpu.device.destroy());
    await status(page, 'failed');
    expect(await page.evaluate(() => window.el.error!.code)).toBe('device-lost');
    await visible(page, 'retry').click();
    await status(page, 'done');
    await page.close();
  });
});

it('a view of the lecture fills the element; an unknown one is named', async () => {
  const { page, errors } = await open(site.page('view', tag('view="one-jump"')));
  await page.locator('diffusion-sampler h3').waitFor();
  expect(await page.evaluate(() => window.el.matches(':state(view)'))).toBe(true);
  await page.evaluate(() => (window.el.view = 'nonsense'));
  await status(page, 'failed');
  expect(await visible(page, 'error-message').textContent()).toMatch(/There is no view nonsense.*one-jump/);
  expect(errors).toEqual([]);
  await page.close();
});

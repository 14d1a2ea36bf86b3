/**
 * What a visitor does, in Chromium and in Firefox: pictures compared with the command line's, files, a lost device, the
 * element; and in Firefox the lecture and the embeds, which other files test in Chromium.
 */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decode, decodeApng } from 'fast-png';
import type { Browser, BrowserContextOptions, Page } from 'playwright';
import type { PreviewServer } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DiffusionSampler } from '../../src/apps/element/diffusion-sampler.ts';
import { pngText } from '../../src/core/png_chunks.ts';
import { views } from '../../src/apps/article/index.ts';
import { readNumber } from '../../src/apps/article/text.ts';
import { readSafetensors, toFloat32 } from '../../src/engine/formats/safetensors.ts';
import { serveElement, type Site } from '../element/page.ts';
import { BROWSERS, launchBrowser, OUTPUT, serveSite, type BrowserName } from './browser.ts';
import { NETWORK, openView, writeModels } from './lecture.ts';
import { draw, frames, picture, saved, visit as visitPlayground, watch } from './playground.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

let server: PreviewServer;
let url: string;
let site: Site;
const browsers = new Map<BrowserName, Browser>();

beforeAll(async () => {
  ({ url, server } = await serveSite());
  await writeModels();
  site = await serveElement();
  for (const name of BROWSERS) browsers.set(name, await launchBrowser(url, { name }));
}, 300_000);
afterAll(async () => {
  for (const browser of browsers.values()) await browser.close();
  site?.server.close();
  await server?.close();
});

/** A digit and an avatar: what the page, the element and the command line are asked for. */
const ASKED = {
  digits: { label: 7, steps: 6, seed: 5, channels: 1 },
  avatars: { label: 3, steps: 4, seed: 5, channels: 3 },
} as const;
type Asked = keyof typeof ASKED;

const drawnByCli = new Map<Asked, number[]>();
/** x_0 of the command line, as the canvas shows it: RGB of each pixel, 0 to 255, row-major. */
function wanted(model: Asked): number[] {
  let rgb = drawnByCli.get(model);
  if (!rgb) {
    const { label, steps, seed, channels } = ASKED[model];
    const file = join(OUTPUT, `${model}.safetensors`);
    const numbers = { '--labels': label, '--steps': steps, '--seed': seed, '--guidance': 2 };
    const options = Object.entries(numbers).flatMap(([name, value]) => [name, String(value)]);
    const own = ['--model', join(ROOT, 'weights', model), '--scheduler', 'ddim', '--output', file];
    execFileSync(process.execPath, [join(ROOT, 'src/apps/cli/cli.mjs'), 'sample', ...own, ...options], { cwd: ROOT }); // prettier-ignore
    const x = toFloat32(readSafetensors(readFileSync(file), file).get('x_0')!);
    rgb = Array.from({ length: 1024 * 3 }, (_, i) => {
      const value = x[(i % channels) * 1024 + Math.floor(i / 3)]!;
      return Math.round(Math.min(1, Math.max(0, value / 2 + 0.5)) * 255);
    });
    drawnByCli.set(model, rgb);
  }
  return rgb;
}

const most = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Math.max(Math.abs(a.length - b.length), ...Array.from(a, (v, i) => Math.abs(v - b[i]!)));

/** Rounding to 8 bits may fall the other way where the adapters' last bits differ. */
const ROUNDING = 1;

describe.each(BROWSERS)('in %s', (name) => {
  const visit = (fragment: string, options: BrowserContextOptions = {}) =>
    visitPlayground(browsers.get(name)!, url + fragment, options);

  it.each(['digits', 'avatars'] as const)('%s: every state is painted, and the last is the command line’s', async (model) => {
    const { label, steps, seed } = ASKED[model];
    const { page, errors } = await visit(`#v=1&model=${model}&label=${label}&steps=${steps}&seed=${seed}&guidance=2`);
    const shown = await draw(page);
    await page.screenshot({ path: `${OUTPUT}${name}-${model}.png` });
    const seen = await frames(page);
    expect(seen[0]!.index).toBe(0);
    expect(new Set(seen.map((frame) => frame.url)).size).toBeGreaterThan(steps / 2);
    expect(most(await picture(page, shown, 32), wanted(model))).toBeLessThanOrEqual(ROUNDING);
    expect(errors).toEqual([]);
    await page.context().close();
  }); // prettier-ignore

  it('exports decode to what was shown; the recipe in them makes the same picture; a link restores everything', async () => {
    const { page, errors } = await visit('#v=1&steps=3&label=4&seed=9&tab=share');
    const shown = await draw(page);
    const png = await saved(page, '#save-png');
    const { width, data, channels } = decode(png);
    expect([width, channels]).toEqual([512, 1]);
    const canvas = await picture(page, shown, 32);
    const file = canvas.map((_, i) => {
      const [x, y] = [Math.floor(i / 3) % 32, Math.floor(i / 96)];
      return data[y * 16 * 512 + x * 16]!;
    });
    expect(most(file, canvas)).toBeLessThanOrEqual(ROUNDING); // the GPU rounds halves up
    const { frames: animation, width: wide } = decodeApng(await saved(page, '#save-apng'));
    expect(animation).toHaveLength(4);
    const last = animation.at(-1)!.data;
    for (let x = 0; x < 32; x++) expect(last[16 * 12 * wide + x * 12]).toBe(data[16 * 16 * 512 + x * 16]);
    const json = (await saved(page, '#save-json')).toString();
    expect(JSON.parse(pngText(png, 'diffusion-sampler')!)).toEqual(JSON.parse(json));
    for (const kind of ['webm', 'mp4'] as const) {
      if (kind === 'mp4' && !(await page.isVisible('#save-mp4'))) continue; // a browser without that codec
      const film = await watch(page, await saved(page, `#save-${kind}`), kind, {
        first: animation[0]!.data,
        last: animation.at(-1)!.data,
      });
      expect(film.width).toBe(wide);
      expect(film.first).toBeLessThan(10);
      expect(film.last).toBeLessThan(10);
    }
    expect(await page.inputValue('#embed-tag')).toMatch(/<diffusion-sampler model="digits" sampler="ddim" steps="3" seed="9" label="4" guidance="2" controls>/); // prettier-ignore
    const link = await page.inputValue('#link');
    await page.context().close();

    const other = await visit('#v=1&seed=1');
    await other.page.setInputFiles('#open', { name: 'x.png', mimeType: 'image/png', buffer: png });
    await other.page.waitForFunction(() => location.hash.includes('seed=9'));
    expect(await picture(other.page, await draw(other.page), 32)).toEqual(canvas);
    await other.page.context().close();

    const linked = await visit(new URL(link).hash);
    for (const [field, value] of [['#seed', '9'], ['#steps', '3']] as const) expect(await linked.page.inputValue(field)).toBe(value); // prettier-ignore
    expect(await linked.page.isVisible('#tab-share')).toBe(false); // who follows a link wants to draw
    expect(await picture(linked.page, await draw(linked.page), 32)).toEqual(canvas);
    expect([...errors, ...other.errors, ...linked.errors]).toEqual([]);
    await linked.page.context().close();
  });

  it('a device that is lost in the middle of a run: the run comes to its end all the same', async () => {
    const whole = await visit('#v=1&steps=4');
    const expected = await picture(whole.page, await draw(whole.page), 32);
    await whole.page.context().close();
    const { page } = await visit('#v=1&steps=4');
    // Firefox 153 never paints a page again when a device goes whose picture is still on its way to the screen. So the
    // loss comes in the middle of a step that takes a second, half a second after what was painted last.
    await page.evaluate(() => {
      const { prototype } = GPUQueue;
      const done = prototype.onSubmittedWorkDone;
      const lose = (event: Event): void => {
        const { index } = (event as CustomEvent<{ index: number }>).detail;
        if (index < 1 || index > 3) return;
        document.removeEventListener('painted', lose);
        document.body.dataset['lost'] = String(index);
        prototype.onSubmittedWorkDone = async function () {
          await done.call(this);
          await new Promise((resolve) => setTimeout(resolve, 1000));
        };
        setTimeout(() => {
          prototype.onSubmittedWorkDone = done;
          (window as unknown as { device: GPUDevice }).device.destroy();
        }, 500);
      };
      document.addEventListener('painted', lose);
    });
    expect(await picture(page, await draw(page), 32)).toEqual(expected);
    expect(await page.getAttribute('body', 'data-lost')).toMatch(/[123]/);
    expect(await page.isVisible('#message')).toBe(false);
    await page.context().close();
  });

  it('who wants less motion sees the picture when it is done', async () => {
    const browser = await launchBrowser(url, { name, reducedMotion: true });
    const { page } = await visitPlayground(browser, `${url}#v=1&steps=4`, { reducedMotion: null });
    await draw(page);
    const seen = (await frames(page)).map((f) => f.index);
    expect(seen.filter((k) => k > 0 && k < 4)).toEqual([]);
    expect(seen.at(-1)).toBe(4);
    await browser.close();
  });

  it('the packed element on a plain page draws the same digit', async () => {
    const { label, steps, seed } = ASKED.digits;
    const page = await browsers.get(name)!.newPage();
    const errors = listen(page);
    await page.goto(site.page('plain', `<diffusion-sampler model="digits" sampler="ddim" label="${label}" steps="${steps}" seed="${seed}" guidance="2" controls></diffusion-sampler>`)); // prettier-ignore
    await page.getByRole('button', { name: 'Run on my GPU, 1.4 MB' }).click();
    const element = page.locator('diffusion-sampler');
    const status = () => element.evaluate((el: DiffusionSampler) => el.status);
    await expect.poll(status, { timeout: 120_000 }).toBe('done');
    const bytes = await element.evaluate(async (el: DiffusionSampler) => [
      ...new Uint8Array(await (await el.toBlob()).arrayBuffer()),
    ]);
    const { data, channels } = decode(Uint8Array.from(bytes));
    const grey = wanted('digits').filter((_, i) => i % 3 === 0);
    expect(most(data.filter((_, i) => i % channels === 0), grey)).toBeLessThanOrEqual(ROUNDING); // prettier-ignore
    expect(errors).toEqual([]);
    await page.close();
  });
});

/** Uncaught errors and error messages of the console, from now on. */
function listen(page: Page): string[] {
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (line) => line.type() === 'error' && errors.push(line.text()));
  return errors;
}

describe('in firefox', () => {
  const SHOWN: Record<string, readonly [params: string, fact: string]> = {
    'one-jump': ['t=20', 'off'],
    schedules: ['', 'cosine'],
    mixture: ['at=60', 'evaluations'],
    ...Object.fromEntries(NETWORK.map(([name, params, fact]) => [name, [`${params}&model=tiny-colour/&class=13`, fact]])),
  }; // prettier-ignore
  let page: Page;
  let errors: string[];
  beforeAll(async () => {
    page = await browsers.get('firefox')!.newPage();
    errors = listen(page);
  });
  afterAll(() => page?.close());

  it.each(Object.keys(views))('the view %s mounts, runs and shows its numbers', async (view) => {
    const [params, last] = SHOWN[view]!;
    const fact = await openView({ page, errors, url }, view, params, last, view !== 'solvers');
    expect(fact(last)).not.toBe('');
    if (view === 'inside' || view === 'guidance') expect(readNumber(fact(last))).toBeLessThan(2e-5);
  });

  it('digits on what counts as a GPU: other kernels, and the command line’s picture', async () => {
    const { label, steps, seed } = ASKED.digits;
    const fragment = `#v=1&model=digits&label=${label}&steps=${steps}&seed=${seed}&guidance=2`;
    const { page, errors } = await visitPlayground(browsers.get('firefox')!, url + fragment, {}, 'hardware');
    await page.evaluate(() => {
      const create = GPUDevice.prototype.createShaderModule;
      GPUDevice.prototype.createShaderModule = function (descriptor) {
        document.body.dataset['shaders'] = `${document.body.dataset['shaders'] ?? ''} ${descriptor.label}`;
        return create.call(this, descriptor);
      };
    });
    const shown = await draw(page);
    expect(await page.getAttribute('body', 'data-shaders')).toContain('conv2d_tiled');
    expect(most(await picture(page, shown, 32), wanted('digits'))).toBeLessThanOrEqual(ROUNDING);
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it('a frame on a page of another origin is told and obeyed', async () => {
    interface Said {
      readonly type: string;
      readonly steps?: number;
    }
    const own = await browsers.get('firefox')!.newPage();
    const errors = listen(own);
    await own.addInitScript(() => {
      const store = window as unknown as { said: Said[] };
      store.said = [];
      if (window === top) window.addEventListener('message', ({ data }) => store.said.push(data as Said));
    });
    await own.goto(site.page('post', `<iframe src="${url}embed.html?label=7&steps=3&seed=5" width="400" height="520" title="Drawn"></iframe>`)); // prettier-ignore
    const until = (type: string) =>
      own.waitForFunction((t) => (window as unknown as { said: Said[] }).said.find((s) => s.type === t), type, { timeout: 120_000 }); // prettier-ignore
    await until('resize');
    await own.evaluate(() => window.frames[0]!.postMessage({ v: 1, type: 'play' }, '*'));
    const done = (await (await until('done')).jsonValue()) as Said;
    expect(done).toMatchObject({ v: 1, steps: 3, seed: 5 });
    expect(errors).toEqual([]);
    await own.close();
  });

  it('the post: its first picture is drawn', async () => {
    const own = await browsers.get('firefox')!.newPage();
    const errors = listen(own);
    await own.goto(`${url}blog.html`);
    const first = own.locator('diffusion-sampler').first();
    await first.evaluate((el: DiffusionSampler) => (el.steps = 2));
    await first.getByRole('button', { name: /^Run on my GPU, 1\.4 MB/ }).click();
    const status = () => first.evaluate((el: DiffusionSampler) => el.status);
    await expect.poll(status, { timeout: 120_000 }).toBe('done');
    expect(errors).toEqual([]);
    await own.close();
  });
});

/**
 * The pages as a visitor with a GPU gets them: SwiftShader counts as hardware (FORCED_ADAPTER), so the probe, the rule, the
 * tuner and the default model are those of a GPU. Results equal the software branch within rounding.
 */

import type { Browser, BrowserContext, Page } from 'playwright';
import type { PreviewServer } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { launchBrowser, OUTPUT, pixels, serveSite } from './browser.ts';
import { watchPage } from './watch.ts';

let server: PreviewServer;
let url: string;
let browser: Browser;

beforeAll(async () => {
  ({ url, server } = await serveSite());
  browser = await launchBrowser(url);
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

interface Seen {
  device: GPUDevice;
  shaders: string[];
  painted: { index: number; url: string }[];
}

/** A page of the site, with an empty browser; `kind` is what the adapter counts as. */
async function visit(
  path: string,
  kind: 'hardware' | 'software',
): Promise<{
  page: Page;
  context: BrowserContext;
  errors: string[];
  seen<T>(read: (s: Seen) => T): Promise<T>;
}> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (line) => ['error', 'warning'].includes(line.type()) && errors.push(line.text()));
  await page.addInitScript(watchPage);
  await page.addInitScript((forced) => {
    Object.assign(globalThis, { [Symbol.for('diffusion-sampler.adapter')]: forced });
    const seen = { shaders: [] as string[], painted: [] as unknown[] };
    Object.assign(globalThis, { seen });
    document.addEventListener('painted', (event) => {
      const canvas = event.target as HTMLCanvasElement;
      const { index } = (event as CustomEvent<{ index: number }>).detail;
      if (canvas.id === 'canvas') seen.painted.push({ index, url: canvas.toDataURL() });
    });
    if (!('GPUAdapter' in globalThis)) return;
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...args) {
      const device = await request.apply(this, args);
      return Object.assign(seen, { device }).device;
    };
    const create = GPUDevice.prototype.createShaderModule;
    GPUDevice.prototype.createShaderModule = function (descriptor) {
      seen.shaders.push((descriptor.label ?? '').split(' ')[0]!); // its name, without its structure
      return create.call(this, descriptor);
    };
  }, kind);
  await page.goto(url + path);
  const seen = <T>(read: (s: Seen) => T): Promise<T> =>
    page.evaluate(`(${read.toString()})(globalThis.seen)`) as Promise<T>;
  return { page, context, errors, seen };
}

/** Draws what the address says, to the end; the last picture and what the GPU was given. */
async function drawn(
  fragment: string,
  steps: number,
  kind: 'hardware' | 'software',
  disturb?: (page: Page) => Promise<void>,
): Promise<{ data: number[]; shaders: string[]; title: string }> {
  const { page, context, errors, seen } = await visit(fragment, kind);
  await page.locator('#draw:enabled').waitFor({ timeout: 120_000 });
  await page.click('#draw');
  await disturb?.(page);
  await page.waitForFunction(
    (n) => (globalThis as unknown as { seen: Seen }).seen.painted.some(({ index }) => index === n),
    steps,
    { timeout: 240_000 },
  );
  const last = await seen(({ painted }) => painted.at(-1)!.url);
  const title = await page.locator('#models [aria-checked="true"], #models input:checked').first().evaluate((el) => el.closest('label, [role]')?.textContent ?? ''); // prettier-ignore
  await page.screenshot({ path: `${OUTPUT}hardware-${kind}-${steps}.png` });
  expect(errors).toEqual([]);
  const shaders = await seen((s) => s.shaders);
  const { data } = await pixels(page, last);
  await context.close();
  return { data, shaders, title };
}

const furthest = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

it('digits: probed, tuned, drawn; the picture of the software branch', async () => {
  const fragment = '#v=1&model=digits&label=7&seed=5&steps=3';
  const gpu = await drawn(fragment, 3, 'hardware');
  expect(gpu.shaders).toContain('quads');
  expect(gpu.shaders).toContain('conv2d_tiled');
  const software = await drawn(fragment, 3, 'software');
  expect(software.shaders).not.toContain('quads');
  expect(software.shaders).not.toContain('conv2d_tiled');
  expect(gpu.data).toHaveLength(software.data.length);
  expect(software.data.some((value) => value > 150)).toBe(true);
  expect(furthest(gpu.data, software.data)).toBeLessThanOrEqual(2);
});

it('avatars is what a visitor with a GPU gets first; a device lost in the middle of a run is made good', async () => {
  const fragment = '#v=1&label=3&seed=5&steps=4';
  const lost = await drawn(fragment, 4, 'hardware', async (page) => {
    await page.waitForFunction(() => (globalThis as unknown as { seen: Seen }).seen.painted.length > 0, null, { timeout: 240_000 }); // prettier-ignore
    await page.evaluate(() => (globalThis as unknown as { seen: Seen }).seen.device.destroy());
  });
  expect(lost.title).toMatch(/avatars/i);
  expect(lost.shaders.filter((label) => label === 'quads').length).toBeGreaterThan(1);
  const software = await drawn(`${fragment}&model=avatars`, 4, 'software');
  expect(furthest(lost.data, software.data)).toBeLessThanOrEqual(2);
});

it('a view of the lecture that asks a network', async () => {
  const { page, context, errors, seen } = await visit('lecture.html', 'hardware');
  const view = page.locator('#guidance');
  await view.scrollIntoViewIfNeeded();
  await page.waitForFunction(() => (globalThis as unknown as { seen: Seen }).seen.shaders.includes('conv2d_tiled'), null, { timeout: 240_000 }); // prettier-ignore
  await expect.poll(() => view.locator('canvas').count(), { timeout: 120_000 }).toBeGreaterThan(0);
  expect(await seen((s) => s.shaders)).toContain('quads');
  await page.waitForTimeout(2000);
  expect(errors).toEqual([]);
  await context.close();
});

it('the embed', async () => {
  const { page, context, errors, seen } = await visit(
    'embed.html?model=digits&label=3&steps=3&seed=5',
    'hardware',
  );
  const done = page.evaluate(
    () => new Promise((resolve) => document.querySelector('diffusion-sampler')!.addEventListener('done', () => resolve(true))),
  ); // prettier-ignore
  await page.evaluate(() => void (document.querySelector('diffusion-sampler') as unknown as { play(): Promise<void> }).play()); // prettier-ignore
  expect(await done).toBe(true);
  expect(await seen((s) => s.shaders)).toEqual(expect.arrayContaining(['quads', 'conv2d_tiled']));
  expect(errors).toEqual([]);
  await context.close();
});

/** The playground as a visitor meets it, in each browser. */

import { readFileSync } from 'node:fs';
import type { Browser, BrowserContextOptions, Page } from 'playwright';
import { watchPage } from './watch.ts';

export interface Frame {
  readonly index: number;
  readonly at: number;
  readonly url: string;
}

interface Store {
  /** What the large canvas showed at each painting. */
  frames: Frame[];
  /** Runs that came to their end. */
  finished: number;
  device: GPUDevice;
  /** Files that the page saved in a browser whose driver has no event for a download. */
  saved: Blob[];
}

export interface Visit {
  readonly page: Page;
  /** Uncaught errors and error messages of the console. */
  readonly errors: string[];
  readonly requests: string[];
}

/**
 * A visitor with an empty browser. What the large canvas shows is recorded, and errors of the page.
 * @param kind what the adapter counts as (FORCED_ADAPTER of src/engine/gpu/device.ts); null: what it is
 */
export async function visit(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
  kind: 'hardware' | null = null,
): Promise<Visit> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const errors: string[] = [];
  const requests: string[] = [];
  page.on('request', (request) => requests.push(request.url()));
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (line) => {
    if (line.type() === 'error') errors.push(line.text());
  });
  if (kind)
    await page.addInitScript(
      (forced) => Object.assign(globalThis, { [Symbol.for('diffusion-sampler.adapter')]: forced }),
      kind,
    );
  await page.addInitScript(watchPage);
  await page.addInitScript((downloads) => {
    if (!('GPUAdapter' in globalThis)) return; // about:blank in Firefox
    const store = window as unknown as Store;
    Object.assign(store, { frames: [], finished: 0, saved: [] });
    document.addEventListener('finished', () => store.finished++);
    document.addEventListener('painted', (event) => {
      const canvas = event.target as HTMLCanvasElement;
      const { index } = (event as CustomEvent<{ index: number }>).detail;
      if (canvas.id === 'canvas')
        store.frames.push({ index, at: performance.now(), url: canvas.toDataURL() });
    });
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...args) {
      return (store.device = await request.apply(this, args));
    };
    if (downloads) return;
    const click = HTMLAnchorElement.prototype.click;
    HTMLAnchorElement.prototype.click = function () {
      if (!this.download) return click.call(this);
      void fetch(this.href).then(async (response) => store.saved.push(await response.blob()));
    };
  }, browser.browserType().name() === 'chromium');
  await page.goto(url);
  await page.locator('#draw:enabled').waitFor({ timeout: 120_000 });
  return { page, errors, requests };
}

export const frames = (page: Page): Promise<Frame[]> =>
  page.evaluate(() => (window as unknown as Store).frames);
const finished = (page: Page): Promise<number> => page.evaluate(() => (window as unknown as Store).finished);
export const until = async (page: Page, count: number): Promise<void> => {
  await page.waitForFunction((n) => (window as unknown as Store).finished >= n, count, {
    timeout: 240_000,
  });
};

/** Presses Draw (or another button) and waits for the end; what the large canvas shows then. */
export async function draw(page: Page, button = '#draw'): Promise<string> {
  const before = await finished(page);
  await page.click(button);
  await until(page, before + 1);
  return (await frames(page)).at(-1)!.url;
}

/** The bytes of the file that a button saves. */
export async function saved(page: Page, button: string): Promise<Buffer> {
  if (page.context().browser()!.browserType().name() === 'chromium') {
    const [download] = await Promise.all([page.waitForEvent('download'), page.click(button)]);
    return readFileSync(await download.path());
  }
  await page.click(button);
  await page.waitForFunction(() => (window as unknown as Store).saved.length > 0, undefined, {
    timeout: 60_000,
  });
  const bytes = await page.evaluate(async () => {
    const file = (window as unknown as Store).saved.pop()!;
    const address = new FileReader();
    await new Promise((resolve) => {
      address.addEventListener('load', resolve);
      address.readAsDataURL(file);
    });
    return (address.result as string).split(',')[1]!;
  });
  return Buffer.from(bytes, 'base64');
}

/** How far the first and the last frame of a video, as the browser plays it, are from these (red, row-major): the mean difference. */
export const watch = (
  page: Page,
  bytes: Buffer,
  kind: string,
  own: Record<'first' | 'last', ArrayLike<number>>,
) =>
  page.evaluate(
    async ([base64, type, first, last]) => {
      const video = document.createElement('video');
      video.muted = true;
      video.src = `data:video/${type};base64,${base64}`;
      const moved = (event: string) =>
        new Promise((resolve, reject) => {
          video.addEventListener(event, resolve, { once: true });
          video.addEventListener('error', () => reject(new Error(video.error!.message)), { once: true });
        });
      await moved('loadeddata');
      const difference = (own: readonly number[]): number => {
        const { videoWidth, videoHeight } = video;
        const context = new OffscreenCanvas(videoWidth, videoHeight).getContext('2d')!;
        context.drawImage(video, 0, 0);
        const { data } = context.getImageData(0, 0, videoWidth, videoHeight);
        return own.reduce((sum, x, i) => sum + Math.abs(x - data[4 * i]!), 0) / own.length;
      };
      // A frame may reach the canvas a while after `seeked`; until then it is black, or the frame before.
      const at = async (time: number, own: readonly number[]): Promise<number> => {
        let least = Infinity;
        for (let tries = 0; tries < 20 && least >= 10; tries++) {
          video.currentTime = time;
          await moved('seeked');
          for (let i = 0; i < 10 && least >= 10; i++) {
            least = Math.min(least, difference(own));
            await new Promise((resolve) => setTimeout(resolve, 50));
          }
        }
        return least;
      };
      return {
        first: await at(0.01, first),
        last: await at(video.duration - 0.05, last),
        width: video.videoWidth,
      };
    },
    [bytes.toString('base64'), kind, Array.from(own.first), Array.from(own.last)] as const,
  );

/** One image of a canvas that shows one: RGB of each of its pixels, row-major, without the zoom. @param size its side */
export const picture = (page: Page, dataUrl: string, size: number): Promise<number[]> =>
  page.evaluate(
    async ([source, side]) => {
      const bitmap = await createImageBitmap(await (await fetch(source)).blob());
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
      const context = canvas.getContext('2d')!;
      context.drawImage(bitmap, 0, 0);
      const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
      const zoom = bitmap.width / side;
      return Array.from({ length: side * side * 3 }, (_, i) => {
        const [pixel, channel] = [Math.floor(i / 3), i % 3];
        const [x, y] = [pixel % side, Math.floor(pixel / side)].map((v) => Math.floor((v + 0.5) * zoom));
        return data[(y! * bitmap.width + x!) * 4 + channel]!;
      });
    },
    [dataUrl, size] as const,
  );

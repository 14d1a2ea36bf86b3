/** A model of coloured pictures with named classes, larger than the digits: who gets it, and that it stays in colour everywhere. */

import { decode } from 'fast-png';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Browser, BrowserContext, Page } from 'playwright';
import type { PreviewServer } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { DiffusionSampler } from '../../src/apps/element/diffusion-sampler.ts';
import { randomModel } from '../helpers/random_model.ts';
import { launchBrowser, serveSite } from './browser.ts';

const LABELS = ['micah', 'shapes', 'thumbs', 'any'];
const CONFIG = {
  _class_name: 'UNet2DModel',
  sample_size: 16,
  in_channels: 3,
  out_channels: 3,
  block_out_channels: [32, 32],
  down_block_types: ['DownBlock2D', 'DownBlock2D'],
  up_block_types: ['UpBlock2D', 'UpBlock2D'],
  layers_per_block: 1,
  norm_num_groups: 8,
  num_class_embeds: LABELS.length,
};

let server: PreviewServer;
let url: string;
let browser: Browser;
let files: Record<string, Buffer>;
let list: unknown[];

beforeAll(async () => {
  ({ url, server } = await serveSite());
  browser = await launchBrowser(url);
  const { read } = randomModel(CONFIG);
  files = { 'labels.json': Buffer.from(JSON.stringify(LABELS)) };
  for (const path of ['config.json', 'diffusion_pytorch_model.safetensors'])
    files[path] = Buffer.from((await read(path))!);
  const described = Object.entries(files).map(([path, bytes]) => ({
    path,
    bytes: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  }));
  list = JSON.parse(readFileSync('weights/models.json', 'utf8')) as unknown[];
  // Larger, for all that the page can know before the download.
  list.push({
    name: 'colours',
    title: 'Colours',
    licence: 'none',
    shape: [3, 16, 16],
    bytes: 9e6,
    files: described,
  });
}, 300_000);
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

async function context(): Promise<BrowserContext> {
  const own = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  await own.route('**/weights/models.json', (route) => route.fulfill({ json: list }));
  await own.route('**/weights/colours/*', (route) =>
    route.fulfill({ body: files[new URL(route.request().url()).pathname.split('/').at(-1)!]! }),
  );
  return own;
}
const chosen = (page: Page) => page.locator('input[name="model"]:checked').getAttribute('value');
const done = (page: Page) =>
  page.waitForFunction(() => document.getElementById('status')!.textContent.startsWith('Done'), undefined, {
    timeout: 120_000,
  });
async function download(page: Page, button: string): Promise<Buffer> {
  const [file] = await Promise.all([page.waitForEvent('download'), page.click(button)]);
  return readFileSync(await file.path());
}
/** Share of the pixels whose channels differ. */
const coloured = (data: ArrayLike<number>, channels: number): number => {
  let count = 0;
  for (let i = 0; i < data.length; i += channels) if (data[i] !== data[i + 1] || data[i] !== data[i + 2]) count++; // prettier-ignore
  return (count * channels) / data.length;
};
const canvasColour = async (page: Page, selector: string): Promise<number> =>
  coloured(
    await page.locator(selector).evaluate(async (canvas: HTMLCanvasElement) => {
      const bitmap = await createImageBitmap(await (await fetch(canvas.toDataURL())).blob());
      const copy = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d')!;
      copy.drawImage(bitmap, 0, 0);
      return [...copy.getImageData(0, 0, bitmap.width, bitmap.height).data];
    }),
    4,
  );

it('software gets the digits, a GPU the model with most weights', async () => {
  const own = await context();
  const slow = await own.newPage();
  await slow.goto(url);
  await slow.locator('#draw:enabled').waitFor({ timeout: 60_000 });
  expect(await chosen(slow)).toBe('digits');
  await slow.close();

  const fast = await own.newPage();
  await fast.addInitScript(() => {
    const info = { vendor: 'a', architecture: 'real', device: '', description: '', isFallbackAdapter: false };
    Object.defineProperty(GPUAdapter.prototype, 'info', { get: () => info });
  });
  await fast.goto(url);
  await fast.locator('#draw:enabled').waitFor({ timeout: 60_000 });
  expect(await chosen(fast)).toBe('colours');
  expect(await fast.locator('#classes label').allTextContents()).toEqual(['Anything', 'micah', 'shapes', 'thumbs', 'One of each']); // prettier-ignore
  expect(await fast.inputValue('#embed-tag')).toContain('model="colours"');
  await own.close();
});

it('chosen by hand: its classes have their names, and stage, views, gallery, exports and the element show colours', async () => {
  const own = await context();
  const page = await own.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.goto(`${url}#v=1&steps=2&tab=model`);
  await page.locator('#draw:enabled').waitFor({ timeout: 60_000 });
  await page.locator('input[name="model"][value="colours"]').check();
  await page.getByRole('radio', { name: 'micah' }).waitFor({ state: 'attached' });
  await page.getByRole('radio', { name: 'One of each' }).check({ force: true });
  expect(await page.inputValue('#count')).toBe('3');
  await page.getByRole('radio', { name: 'micah' }).check({ force: true });
  expect(await page.inputValue('#count')).toBe('1');
  await page.click('#draw');
  await done(page);
  expect(page.url()).toContain('model=colours');
  for (const canvas of ['#canvas', '#small-x0', '#small-eps', '#small-update', '#pictures canvas'])
    expect(await canvasColour(page, canvas), canvas).toBeGreaterThan(0.5);
  await page.click('[data-tab="share"]');
  expect(await page.inputValue('#embed-tag')).toMatch(/model="colours" .*label="0"/);
  const picture = decode(await download(page, '#save-png'));
  expect(picture.channels).toBe(3);
  expect(coloured(picture.data, 3)).toBeGreaterThan(0.5);
  const frame = decode(await download(page, '#save-apng')); // its first frame: the noise
  expect(coloured(frame.data, frame.channels)).toBeGreaterThan(0.3); // beside it, grey: nothing is expected yet

  const embed = await own.newPage();
  embed.on('pageerror', (error) => errors.push(String(error)));
  await embed.goto(`${url}embed.html?model=colours&label=Thumbs,micah&steps=2`);
  const noise = embed.locator('diffusion-sampler canvas.noise[width="16"]'); // known before the download
  await noise.waitFor();
  expect(await canvasColour(embed, 'diffusion-sampler canvas.noise')).toBeGreaterThan(0.9);
  const bytes = await embed.locator('diffusion-sampler').evaluate(async (el: DiffusionSampler) => {
    await new Promise((resolve, reject) => {
      el.addEventListener('done', resolve);
      el.play().catch(reject);
    });
    return [...new Uint8Array(await (await el.toBlob()).arrayBuffer())];
  });
  const grid = decode(Uint8Array.from(bytes));
  expect([grid.channels, grid.width]).toEqual([3, expect.any(Number)]);
  expect(coloured(grid.data, 3)).toBeGreaterThan(0.3); // two pictures in a grid of two by one or two
  expect(await canvasColour(embed, 'diffusion-sampler [part="canvas"]')).toBeGreaterThan(0.3);
  expect(await embed.locator('diffusion-sampler').evaluate((el: DiffusionSampler) => el.player!.options!.labels)).toEqual([2, 0]); // prettier-ignore
  expect(errors).toEqual([]);
  await own.close();
});

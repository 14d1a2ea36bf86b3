/** The examples, as a reader runs them: pages in Chromium, scripts in Node, on the built package. */

import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decode } from 'fast-png';
import type { Browser, Page } from 'playwright';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { launchBrowser } from '../browser/browser.ts';
import { buildPackage, PACKAGE } from '../element/page.ts';
import { classify } from '../helpers/classifier.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TYPES: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.json': 'application/json',
};

/** A copy of examples/ beside the built package, as in the repository after `npm run build:package`. */
let folder: string;
let server: Server;
let browser: Browser;
let url: string;
const errors: string[] = [];

beforeAll(async () => {
  buildPackage();
  folder = mkdtempSync(join(tmpdir(), 'examples-'));
  cpSync(join(ROOT, 'examples'), join(folder, 'examples'), { recursive: true });
  cpSync(PACKAGE, join(folder, 'dist'), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  server = createServer((request, response) => {
    const file = join(folder, new URL(request.url!, 'http://localhost').pathname);
    if (!statSync(file, { throwIfNoEntry: false })?.isFile()) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' });
    response.end(readFileSync(file));
  });
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  url = `http://localhost:${(server.address() as { port: number }).port}/examples/`;
  browser = await launchBrowser(`${url}tag.html`);
}, 300_000);
afterAll(async () => {
  await browser?.close();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function open(name: string): Promise<Page> {
  const page = await browser.newPage();
  page.on('pageerror', (error) => errors.push(`${name}: ${String(error)}`));
  await page.goto(url + name);
  return page;
}
const status = (page: Page, text: string) =>
  page.waitForFunction((t) => document.getElementById('status')!.textContent.includes(t), text, {
    timeout: 120_000,
  });

/** Red of a canvas, row-major, 0 to 255. */
const red = (page: Page, selector: string): Promise<number[]> =>
  page.evaluate((s) => {
    const canvas = document.querySelector<HTMLCanvasElement>(s)!;
    const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
    return Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]!);
  }, selector);
const digit = (pixels: ArrayLike<number>): number => classify(Array.from(pixels, (x) => x / 127.5 - 1)).digit;

it('tag.html: the element draws after its button, and tells the page', async () => {
  const page = await open('tag.html');
  await page.locator('diffusion-sampler').getByRole('button').first().click();
  await status(page, 'Done: seed 5');
  await page.close();
});

it('loop.html: the last state on the canvas is a seven', async () => {
  const page = await open('loop.html');
  await status(page, 'Step 3 of 20');
  const early = await red(page, '#canvas');
  await status(page, 'Done');
  const last = await red(page, '#canvas');
  expect(digit(last)).toBe(7);
  expect(early).not.toEqual(last);
  await page.close();
});

it('inpaint.html: the upper half stays, the lower half is another', async () => {
  const page = await open('inpaint.html');
  await status(page, 'Done');
  const [before, after] = [await red(page, '#before'), await red(page, '#after')];
  expect(digit(before)).toBe(7);
  expect(after.slice(0, 512)).toEqual(before.slice(0, 512));
  const changed = after.slice(512).filter((x, i) => Math.abs(x - before[512 + i]!) > 40);
  expect(changed.length).toBeGreaterThan(20);
  await page.close();
});

it('own_checkpoint.html: draws with a folder from the disk', async () => {
  const page = await open('own_checkpoint.html');
  await page.locator('#folder').setInputFiles(join(folder, 'dist/weights/digits'));
  await status(page, 'parameters');
  const pixels = await red(page, '#canvas');
  expect(pixels).toHaveLength(1024);
  expect(new Set(pixels).size).toBeGreaterThan(20);
  await page.close();
});

it.each([
  ['node.mjs', 7],
  ['custom_sampler.mjs', 3],
])('%s: the picture is the digit asked for', (name, expected) => {
  const file = join(folder, `${name}.png`);
  const told = execFileSync(process.execPath, [join(folder, 'examples', name), file, '15'], {
    encoding: 'utf8',
  });
  expect(told).toContain(`${file}: 32 x 32\n`);
  const { data, channels } = decode(readFileSync(file));
  expect(digit(Array.from({ length: 1024 }, (_, i) => data[i * channels]!))).toBe(expected);
});

it('every example is listed, and none had an error', () => {
  const readme = readFileSync(join(ROOT, 'examples/README.md'), 'utf8');
  const listed = [...readme.matchAll(/^\| \[([^\]]+)\]/gm)].map(([, name]) => name);
  const helpers = ['README.md', 'node_model.mjs'];
  expect(
    readdirSync(join(ROOT, 'examples'))
      .filter((name) => !helpers.includes(name))
      .sort(),
  ).toEqual(listed.sort());
  expect(errors).toEqual([]);
});

/**
 * The oldest browsers that are promised (Chrome 113), made of this one: what is younger is taken away before any script of
 * the page runs. The pages work, or give the one sentence of what to use instead.
 */

import type { Browser, Page } from 'playwright';
import type { PreviewServer } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { BROWSERS } from '../../src/core/errors.ts';
import { launchBrowser, serveSite } from '../browser/browser.ts';

const LONG = { timeout: 120_000 };

let server: PreviewServer;
let url: string;
let browser: Browser;

beforeAll(async () => {
  ({ url, server } = await serveSite());
  browser = await launchBrowser(url);
}, 300_000);
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

/** Takes away what Chrome 113 does not have, of all that scripts can see. */
function makeOld(): void {
  const gone: [object | undefined, string[]][] = [
    [URL, ['canParse', 'parse']],
    [AbortSignal, ['any']],
    [Promise, ['withResolvers', 'try']],
    [Object, ['groupBy']],
    [Map, ['groupBy']],
    [Array, ['fromAsync']],
    [Set.prototype, ['union', 'intersection', 'difference', 'symmetricDifference', 'isSubsetOf', 'isSupersetOf', 'isDisjointFrom']], // prettier-ignore
    [(globalThis as { Iterator?: { prototype: object } }).Iterator?.prototype, ['map', 'filter', 'take', 'drop', 'flatMap', 'reduce', 'toArray', 'forEach', 'some', 'every', 'find']], // prettier-ignore
    [globalThis, ['Iterator', 'Float16Array', 'scheduler']],
    [ArrayBuffer.prototype, ['transfer', 'transferToFixedLength']],
    [Element.prototype, ['setHTMLUnsafe', 'moveBefore']],
    [Response.prototype, ['bytes']],
    [Uint8Array, ['fromBase64']],
  ];
  for (const [object, names] of gone)
    for (const name of names) if (object) Reflect.deleteProperty(object, name);
  // Until Chrome 125 a custom state had to begin with two dashes.
  const { add } = CustomStateSet.prototype;
  CustomStateSet.prototype.add = function (name: string) {
    if (!name.startsWith('--')) throw new DOMException(`'${name}' is no dashed ident`, 'SyntaxError');
    return add.call(this, name) as CustomStateSet;
  };
  if (typeof GPUAdapter === 'undefined') return; // a page without WebGPU
  // Before Chrome 127 an adapter had no `info`, and before Chrome 121 a pipeline had to name its entry point.
  Reflect.deleteProperty(GPUAdapter.prototype, 'info');
  const make = GPUDevice.prototype.createComputePipelineAsync;
  GPUDevice.prototype.createComputePipelineAsync = async function (descriptor) {
    if (descriptor.compute.entryPoint === undefined) throw new TypeError('Required member is undefined.');
    return make.call(this, descriptor);
  };
}

/** A page of the site whose style sheets know no `light-dark()`, as before Chrome 123. */
async function open(path: string, ...takeAway: (() => void)[]): Promise<{ page: Page; errors: string[] }> {
  const page = await browser.newPage({ colorScheme: 'light' });
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.route(/\.(css|js)(\?|$)/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: (await response.text()).replaceAll('light-dark(', 'not-yet(') });
  });
  for (const act of [makeOld, ...takeAway]) await page.addInitScript(act);
  await page.goto(`${url}${path}`);
  expect(await page.evaluate(() => 'canParse' in URL || 'any' in AbortSignal)).toBe(false);
  return { page, errors };
}

it('the post with embeds draws; its states have two dashes', async () => {
  const { page, errors } = await open('blog.html');
  const drawn = await page.evaluate(async () => {
    await customElements.whenDefined('diffusion-sampler');
    const element = document.querySelector('diffusion-sampler')!;
    element.steps = 2;
    element.loop = false;
    const done = new Promise((resolve) => element.addEventListener('done', resolve));
    await element.play();
    await done;
    return [element.status, element.error];
  });
  expect(drawn).toEqual(['done', null]);
  expect(errors).toEqual([]);
  await page.close();
});

it('no custom states at all: the element works', async () => {
  const { page, errors } = await open('blog.html', () =>
    Object.defineProperty(ElementInternals.prototype, 'states', { get: () => undefined }),
  );
  await page.getByRole('button', { name: /^Run on my GPU, / }).first().waitFor(); // prettier-ignore
  expect(errors).toEqual([]);
  await page.close();
});

it('the playground draws a picture', async () => {
  const { page, errors } = await open('index.html#v=1&model=digits&label=7&steps=2&seed=5');
  const ground = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  expect(ground).toBe('rgb(251, 250, 247)'); // --ground of tokens.css
  await page.click('#draw');
  await page.waitForFunction(
    () => document.querySelectorAll('#pictures canvas').length === 1,
    undefined,
    LONG,
  );
  expect(errors).toEqual([]);
  await page.close();
});

it('a view of the lecture that needs a network runs, and stops', async () => {
  const { page, errors } = await open('lecture.html#solvers');
  const view = page.locator('[data-view="solvers"]');
  await view.locator('.katex').first().waitFor();
  await page.waitForFunction(() => /evaluation \d+ of/.test(document.querySelector('[data-view="solvers"] .dv-progress')?.textContent ?? ''), undefined, LONG); // prettier-ignore
  await view.getByRole('button', { name: /stop/i }).click();
  await page.waitForFunction(() => !document.querySelector('[data-view="solvers"]')!.hasAttribute('data-busy')); // prettier-ignore
  expect(await view.locator('.dv-error').textContent()).toBe('');
  expect(errors).toEqual([]);
  await page.close();
});

it('an embed takes the address of its page as a whole or not at all', async () => {
  const { page, errors } = await open('embed.html?origin=no%20address&label=7');
  await page.getByRole('button', { name: /^Run on my GPU, / }).waitFor();
  expect(errors).toEqual([]);
  await page.close();
});

it.each(['index.html', 'blog.html', 'lecture.html#solvers'])(
  '%s without WebGPU names the browsers that have it',
  async (path) => {
    // prettier-ignore
    const { page, errors } = await open(path, () => Reflect.deleteProperty(Navigator.prototype, 'gpu'));
    await page.getByText(BROWSERS).first().waitFor();
    expect(errors).toEqual([]);
    await page.close();
  },
);

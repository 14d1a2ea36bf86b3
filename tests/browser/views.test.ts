/** The lecture as a reader meets it: the numbers that its views show, read from the page. */

import axe from 'axe-core';
import type { Browser, Page } from 'playwright';
import type { PreviewServer } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { tableOf } from '../../src/views/schedules.ts';
import { readNumber } from '../../src/views/kit.ts';
import { launchBrowser, serveSite } from './browser.ts';

let server: PreviewServer;
let url: string;
let browser: Browser;
let page: Page;
const errors: string[] = [];

beforeAll(async () => {
  ({ url, server } = await serveSite());
  browser = await launchBrowser(url);
  page = await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage();
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (line) => {
    if (line.type() === 'error') errors.push(line.text());
  });
  await page.addInitScript(() => {
    if (!('GPUQueue' in globalThis)) return; // about:blank, between two views
    const store = window as unknown as { written: number[][] };
    store.written = [];
    const write = GPUQueue.prototype.writeBuffer;
    GPUQueue.prototype.writeBuffer = function (...args: Parameters<typeof write>) {
      const [, , data] = args;
      const view = ArrayBuffer.isView(data)
        ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
        : new Uint8Array(data as ArrayBuffer);
      if (view.length < 1024 && view.length % 4 === 0)
        store.written.push([...new Float32Array(view.slice().buffer)]);
      return write.apply(this, args);
    };
  });
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

/** Opens a view and waits until it shows `fact` and, unless told otherwise, rests. Gives its facts. */
async function open(
  name: string,
  params: string,
  fact: string,
  rests = true,
): Promise<(key: string) => string> {
  errors.length = 0;
  await page.goto('about:blank');
  await page.goto(`${url}lecture.html#${name}${params && `?${params}`}`);
  const view = `[data-view="${name}"]`;
  await page.waitForFunction(
    ([view, fact, rests]) => {
      const root = document.querySelector(view);
      const text = root?.querySelector(`[data-name="${fact}"]`)?.textContent ?? '…';
      return text !== '…' && !(rests && root!.hasAttribute('data-busy'));
    },
    [view, fact, rests] as const,
    { timeout: 120_000 },
  );
  const facts = await page
    .locator(`${view} [data-name]`)
    .evaluateAll((list) =>
      list.map((e) => [(e as HTMLElement).dataset['name']!, e.textContent] as [string, string]),
    );
  expect(await page.locator(`${view} .dv-error`).textContent()).toBe('');
  expect(errors).toEqual([]);
  const map = new Map(facts);
  return (key) => {
    expect([...map.keys()]).toContain(key);
    return map.get(key)!;
  };
}

it('one jump: the stairs land on 1 - alphaBar; added deviations do not', async () => {
  const facts = await open('one-jump', 't=20', 'off');
  const wanted = readNumber(facts('wanted'));
  expect(wanted).toBeCloseTo(1 - tableOf('linear')[999]!, 4);
  expect(Math.abs(readNumber(facts('walk')) - wanted)).toBeLessThan(4 * Math.sqrt(2 / 20_000) * wanted);
  expect(Math.abs(readNumber(facts('jump')) - wanted)).toBeLessThan(4 * Math.sqrt(2 / 20_000) * wanted);
  expect(readNumber(facts('off'))).toBeLessThan(4);
  const wrong = await open('one-jump', 't=20&same=1', 'off');
  expect(readNumber(wrong('off'))).toBeGreaterThan(40);
});

it('schedules: alphaBar at the timestep shown', async () => {
  const facts = await open('schedules', '', 'cosine');
  for (const name of ['linear', 'cosine', 'sigmoid'] as const) {
    const [t, ab, snr] = facts(name).split(', ').map(readNumber) as [number, number, number];
    expect(ab).toBeCloseTo(tableOf(name)[t]!, 4);
    expect(snr / (ab / (1 - ab))).toBeCloseTo(1, 2);
  }
});

it('q and p: the closed form is what draws say', async () => {
  const facts = await open('q-and-p', 'steps=6&at=3', 'drawn');
  const [mean, error] = facts('drawn').split(' ± ').map(readNumber) as [number, number];
  expect(error).toBeGreaterThan(0);
  expect(Math.abs(mean - readNumber(facts('closed')))).toBeLessThan(4.5 * error);
});

it('lenses: how much an error in epsilon errs x0', async () => {
  const facts = await open('lenses', 't=500', 'factor');
  const ab = tableOf('cosine')[500]!;
  expect(readNumber(facts('factor')) / Math.sqrt((1 - ab) / ab)).toBeCloseTo(1, 2);
});

it('inside a step: the printed coefficients are the uniforms of the GPU, and the step by hand is the shader’s', async () => {
  const facts = await open('inside', 'sampler=ddpm&steps=4&at=2', 'by-hand');
  expect(readNumber(facts('by-hand'))).toBeLessThan(1e-5);
  const printed = ['x0-x', 'x0-m', 'c-x', 'c-x0', 'sigma'].map((key) => readNumber(facts(key)));
  const written = await page.evaluate(() => (window as unknown as { written: number[][] }).written);
  const has = (numbers: number[], x: number) =>
    numbers.some((y) => Math.abs(y - x) <= 2e-7 * Math.abs(x) + 1e-9);
  expect(written.filter((numbers) => printed.every((x) => has(numbers, x))).length).toBeGreaterThan(0);
});

it('why add z: without it the same bits twice; eta = 1 is DDPM', async () => {
  const facts = await open('noise', 'steps=5&eta=1', 'eta-ddpm');
  await page.waitForFunction(
    () => document.querySelector('[data-view="noise"] [data-name="eta-ddpm"]')!.textContent !== '…',
  );
  expect(facts('twice')).toBe('0');
  expect(readNumber(facts('steps-ddpm'))).toBeLessThan(1e-9);
  expect(readNumber(facts('diversity'))).toBeGreaterThan(0.05);
});

it('variances: beta-tilde is half of beta at the clean end, and all of it elsewhere', async () => {
  const facts = await open('variances', 'steps=4', 'rough');
  const table = tableOf('cosine');
  for (const t of [1, 100]) {
    const ratio = (1 - table[t - 1]!) / (1 - table[t]!);
    expect(readNumber(facts(`ratio-${t}`))).toBeCloseTo(ratio, 3);
  }
  expect(readNumber(facts('apart'))).toBeGreaterThan(0);
});

it('solvers: their orders on the exact Gaussian', async () => {
  const facts = await open('solvers', 'upto=5', 'order-euler', false);
  for (const [name, order] of [
    ['euler', 1],
    ['heun', 2],
    ['dpmpp-2m', 2],
    ['dpmpp-2s', 2],
    ['ode', 4],
  ] as const)
    // prettier-ignore
    expect(Math.abs(readNumber(facts(`order-${name}`)) - order)).toBeLessThan(0.3);
});

it('guidance: the step from the pictures shown is the sampler’s', async () => {
  const facts = await open('guidance', '', 'again');
  expect(readNumber(facts('again'))).toBeLessThan(2e-5);
  expect(readNumber(facts('diff'))).toBeGreaterThan(0);
});

it('the mixture: the hills hold their weights', async () => {
  const facts = await open('mixture', '', 'evaluations');
  for (const [i, weight] of [50, 30, 20].entries())
    expect(Math.abs(parseFloat(facts(`weight-${i}`)) - weight)).toBeLessThan(2);
});

it.each(['light', 'dark'] as const)('axe finds nothing (%s)', async (colorScheme) => {
  await page.emulateMedia({ colorScheme });
  for (const [name, fact] of [
    ['one-jump', 'off'],
    ['guidance', 'again'],
    ['mixture', 'evaluations'],
  ] as const) {
    await open(name, '', fact);
    await page.addScriptTag({ content: axe.source });
    const found = await page.evaluate(async (name) => {
      const { violations } = await (window as unknown as { axe: typeof axe }).axe.run(
        document.getElementById(name)!,
      );
      return violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html.slice(0, 160)).join(' ')}`);
    }, name);
    expect(found, name).toEqual([]);
  }
});

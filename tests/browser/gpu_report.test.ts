/** gpu.html in Chromium: it runs the project's tests on the adapter of the browser, and its report says what happened. */

import { readFileSync } from 'node:fs';
import axe from 'axe-core';
import type { Browser, Page } from 'playwright';
import type { PreviewServer } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { launchBrowser, OUTPUT, serveSite } from './browser.ts';

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

const open = async (query: string, before?: () => void): Promise<{ page: Page; errors: string[] }> => {
  const page = await browser.newPage({ acceptDownloads: true });
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  if (before) await page.addInitScript(before);
  await page.goto(`${url}gpu.html${query}`);
  return { page, errors };
};
const finish = async (page: Page): Promise<string> => {
  await page.click('#start');
  await page.waitForSelector('#result:not([hidden])', { timeout: 240_000 });
  return page.inputValue('#text');
};

it('passes its tests, measures, and shows a report to copy and to save', async () => {
  const { page, errors } = await open('?only=timestep_embedding');
  expect(await page.evaluate(() => document.querySelector('a[href*="gpu.html"]'))).toBeNull();
  const text = await finish(page);
  expect(await page.textContent('#status')).toBe('Done.');
  expect(await page.textContent('#verdict')).toMatch(/swiftshader.*: [1-9]\d* passed, 0 failed/i);
  expect(text).toContain('Chrome/'); // the user agent
  expect(text).toMatch(/maxStorageBufferBindingSize \d+/);
  expect(text).toMatch(/kernels: [1-9]\d* passed.*% of a tolerance used/);
  expect(text).toMatch(/peak +f32 [1-9]/);
  expect(text).toMatch(/ours, rule +\d/);
  expect(text).not.toMatch(/@compute|fn main/);
  const download = page.waitForEvent('download');
  await page.click('#save');
  const report = JSON.parse(readFileSync((await (await download).path())!, 'utf8')) as {
    prove: { finished: boolean; passes: { facts: { limits: object }; files: { tests: object[] }[] }[] };
    bench: { figures: { peak: { f32: number } }; items: { outcome?: { timings: object[] } }[] };
  };
  expect(report.prove.finished).toBe(true);
  expect(report.prove.passes[0]!.files[0]!.tests.length).toBeGreaterThan(4);
  expect(Object.keys(report.prove.passes[0]!.facts.limits).length).toBeGreaterThan(20);
  expect(report.bench.items[0]!.outcome!.timings.length).toBeGreaterThan(1);
  await page.addScriptTag({ content: axe.source });
  const faults = await page.evaluate(async () => (await (window as never as { axe: typeof axe }).axe.run()).violations.map((v) => v.id)); // prettier-ignore
  expect(faults).toEqual([]);
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: `${OUTPUT}gpu-report-${colorScheme}.png`, fullPage: true });
  }
  expect(errors).toEqual([]);
  await page.close();
}, 300_000);

it('without WebGPU it says so in one sentence, with what to do, and a report that says so, too', async () => {
  const { page, errors } = await open('?only=linear', () =>
    Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined }),
  );
  const text = await finish(page);
  expect(await page.textContent('#status')).toMatch(/does not offer WebGPU\. Use Chrome/);
  expect(text).toContain('NO ADAPTER');
  expect(errors).toEqual([]);
  await page.close();
});

it('a kernel that computes wrong numbers here is reported by name, with the numbers', async () => {
  // A driver that turns a sign: every sine of the time embedding.
  const { page } = await open('?only=timestep_embedding', () => {
    const make = GPUDevice.prototype.createShaderModule;
    GPUDevice.prototype.createShaderModule = function (descriptor) {
      return make.call(this, {
        ...descriptor,
        code: descriptor.code.replace('return x * (1.0', 'return -x * (1.0'),
      });
    };
  });
  await page.click('#start');
  await page.waitForFunction(() => /[1-9]\d* failed/.test(document.getElementById('verdict')!.textContent), undefined, { timeout: 120_000 }); // prettier-ignore
  await page.click('#stop');
  await page.waitForSelector('#result:not([hidden])', { timeout: 120_000 });
  expect(await page.getAttribute('#verdict', 'data-bad')).toBe('true');
  expect(await page.inputValue('#text')).toMatch(
    /FAILED tests\/ops\/timestep_embedding.test.ts: .*\n.*should be/,
  );
  await page.close();
}, 180_000);

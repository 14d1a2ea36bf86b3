/** The page as a visitor meets it. */

import type { Browser, Page } from 'playwright';
import type { PreviewServer } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { classify } from '../helpers/classifier.ts';
import { frames, launchBrowser, openPage, OUTPUT, pixels, serveSite } from './browser.ts';

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

const ready = (page: Page) => page.locator('#generate:enabled').waitFor({ timeout: 120_000 });

/** Presses Generate and waits for the end. */
async function generate(page: Page): Promise<string[]> {
  await page.evaluate(() => ((window as unknown as { frames: string[] }).frames = []));
  const end = page.evaluate(
    () => new Promise<void>((resolve) => document.addEventListener('end', () => resolve(), { once: true })),
  );
  await page.click('#generate');
  await end;
  return frames(page);
}

describe('a first visit', () => {
  it('a 7 comes out of noise, changing at every step; the same seed ends the same; x0 can be watched', async () => {
    const { page, errors } = await openPage(browser, url, { viewport: { width: 1280, height: 860 } });
    await ready(page);
    await page.click('#classes label:has([value="7"])');
    const first = await generate(page);
    expect(first).toHaveLength(51); // x_T and fifty steps
    for (let i = 1; i < first.length; i++) expect(first[i], `frame ${i}`).not.toBe(first[i - 1]);

    const { width, height, data } = await pixels(page, first.at(-1)!);
    expect([width, height]).toEqual([768, 768]);
    const zoom = width / 32;
    const picture = Array.from({ length: 1024 }, (_, i) => {
      const [x, y] = [i % 32, Math.floor(i / 32)];
      return data[(y * zoom + zoom / 2) * width + x * zoom + zoom / 2]! / 127.5 - 1;
    });
    expect(classify(picture).digit).toBe(7);
    expect(await page.textContent('#status')).toMatch(/Step 50 of 50: the picture\. Done in/);
    await page.screenshot({ path: `${OUTPUT}desktop.png`, fullPage: true });

    const second = await generate(page);
    expect(second.at(-1)).toBe(first.at(-1));
    expect(second[0]).toBe(first[0]);

    await page.fill('#seed', '8');
    await page.check('input[value="x_0"]');
    await page.fill('#steps', '5');
    const guesses = await generate(page);
    expect(guesses).toHaveLength(6);
    expect(guesses.at(-1)).not.toBe(first.at(-1));
    expect(errors).toEqual([]);
    await page.close();
  });

  it('a batch is a grid, and its first picture is the one that its seed draws alone', async () => {
    const { page, errors } = await openPage(browser, url, {
      viewport: { width: 390, height: 844 },
      deviceScaleFactor: 2,
      isMobile: true,
      hasTouch: true,
      colorScheme: 'dark',
    });
    await ready(page);
    await page.fill('#steps', '4');
    const alone = (await generate(page)).at(-1)!;
    await page.selectOption('#count', '4');
    const grid = (await generate(page)).at(-1)!;
    const [one, four] = [await pixels(page, alone), await pixels(page, grid)];
    expect([four.width, four.height]).toEqual([772, 772]); // two by two at zoom 12, and a gap of 4
    for (let i = 0; i < 1024; i++) {
      const [x, y] = [i % 32, Math.floor(i / 32)];
      const big = one.data[(y * 24 + 12) * 768 + x * 24 + 12]!;
      expect(four.data[(y * 12 + 6) * 772 + x * 12 + 6], `pixel ${x}, ${y}`).toBe(big);
    }
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
    await page.screenshot({ path: `${OUTPUT}phone-dark.png`, fullPage: true });
    expect(errors).toEqual([]);
    await page.close();
  });
});

describe('in charge of the run', () => {
  it('Stop stops within a step, and the next run works', async () => {
    const { page, errors } = await openPage(browser, url);
    await ready(page);
    await page.evaluate(() =>
      document.addEventListener('step', (event) => {
        if ((event as CustomEvent<{ index: number }>).detail.index === 3)
          document.getElementById('stop')!.click();
      }),
    );
    const seen = await generate(page);
    expect(seen.length).toBeGreaterThanOrEqual(4); // x_T and three steps
    expect(seen.length).toBeLessThanOrEqual(5);
    expect(await page.textContent('#status')).toContain('Stopped.');
    await page.fill('#steps', '2');
    expect(await generate(page)).toHaveLength(3);
    expect(errors).toEqual([]);
    await page.close();
  });

  it('one step at a time, then on to the end', async () => {
    const { page, errors } = await openPage(browser, url);
    await ready(page);
    await page.fill('#steps', '4');
    for (const text of [/Pure noise/, /Step 1 of 4/, /Step 2 of 4/]) {
      await page.click('#step');
      await page.waitForFunction(
        (t) => new RegExp(t).test(document.getElementById('status')!.textContent),
        text.source,
      );
    }
    expect(await frames(page)).toHaveLength(3);
    expect(await page.textContent('#generate')).toBe('Continue');
    await page.click('#generate');
    await page.waitForFunction(() => document.getElementById('status')!.textContent.includes('Done'));
    expect(await frames(page)).toHaveLength(5);
    expect(errors).toEqual([]);
    await page.close();
  });

  it('settings that make no sense are answered with a sentence, and the picture stays', async () => {
    const { page, errors } = await openPage(browser, url);
    await ready(page);
    await page.fill('#steps', '1');
    await generate(page);
    for (const [field, value, code] of [
      ['#seed', '', 'bad-option'],
      ['#seed', '-3', 'bad-option'],
      ['#steps', '2000', 'bad-option'],
      ['#steps', '0', 'bad-option'],
    ] as const) {
      const before = await page.inputValue(field);
      await page.fill(field, value);
      await page.click('#generate');
      await page.locator(`#message[data-code="${code}"]`).waitFor();
      expect(await page.isEnabled('#save')).toBe(true);
      await page.fill(field, before);
    }
    await generate(page);
    expect(await page.isVisible('#message')).toBe(false);
    expect(errors).toEqual([]);
    await page.close();
  });
});

describe('when something is missing', () => {
  const visit = async (script: () => void) => {
    const page = await browser.newPage();
    await page.addInitScript(script);
    await page.goto(url);
    await page.locator('#message').waitFor();
    const result = {
      code: await page.getAttribute('#message', 'data-code'),
      text: (await page.textContent('#message-text'))!,
      retry: await page.isVisible('#retry'),
      generate: await page.isEnabled('#generate'),
    };
    await page.close();
    return result;
  };

  it('no API', async () => {
    const result = await visit(() =>
      Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined }),
    );
    expect(result).toMatchObject({ code: 'no-webgpu-api', generate: false });
    expect(result.text).toMatch(/does not offer WebGPU.*Use Chrome/);
  });

  it('no adapter', async () => {
    const result = await visit(() => (GPU.prototype.requestAdapter = () => Promise.resolve(null)));
    expect(result).toMatchObject({ code: 'no-adapter', retry: true, generate: false });
    expect(result.text).toMatch(/no graphics adapter.*hardware acceleration/);
  });

  it('an insecure page', async () => {
    const result = await visit(() => {
      Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined });
      Object.defineProperty(window, 'isSecureContext', { get: () => false });
    });
    expect(result).toMatchObject({ code: 'no-secure-context', generate: false });
    expect(result.text).toMatch(/https/);
  });

  it('limits that are too small', async () => {
    const result = await visit(
      () =>
        (GPUAdapter.prototype.requestDevice = () =>
          Promise.reject(new DOMException('limit', 'OperationError'))),
    );
    expect(result).toMatchObject({ code: 'limits-too-small', generate: false });
  });

  it('weights that do not arrive, or arrive changed', async () => {
    for (const [answer, code] of [
      [{ status: 503 }, 'download-failed'],
      [{ body: Buffer.alloc(100), contentType: 'application/octet-stream' }, 'integrity-failed'],
    ] as const) {
      const page = await browser.newPage();
      await page.route('**/*.safetensors', (route) => route.fulfill(answer));
      await page.goto(url);
      await page.locator(`#message[data-code="${code}"]`).waitFor();
      await page.unroute('**/*.safetensors');
      await page.click('#retry'); // now the connection is back
      await ready(page);
      await page.close();
    }
  });

  it('a device that is lost in the middle of a run', async () => {
    const page = await browser.newPage();
    await page.addInitScript(() => {
      const request = GPUAdapter.prototype.requestDevice;
      GPUAdapter.prototype.requestDevice = async function (...args) {
        const device = await request.apply(this, args);
        (window as unknown as { device: GPUDevice }).device = device;
        return device;
      };
    });
    await page.goto(url);
    await ready(page);
    await page.evaluate(() =>
      document.addEventListener('step', () => (window as unknown as { device: GPUDevice }).device.destroy(), {
        once: true,
      }),
    );
    await page.click('#generate');
    await page.locator('#message[data-code="device-lost"]').waitFor();
    await page.click('#retry');
    await ready(page);
    await page.fill('#steps', '2');
    await page.click('#generate');
    await page.waitForFunction(() => document.getElementById('status')!.textContent.includes('Done'));
    await page.close();
  });
});

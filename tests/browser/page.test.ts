/** The page as a visitor meets it. */

import axe from 'axe-core';
import { encode } from 'fast-png';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import type { Browser, BrowserContextOptions } from 'playwright';
import type { PreviewServer } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { classify } from '../helpers/classifier.ts';
import { launchBrowser, OUTPUT, pixels, serveSite } from './browser.ts';
import { draw, frames, until, visit as visitPlayground, type Frame, type Visit } from './playground.ts';

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

const visit = (fragment = '', options: BrowserContextOptions = {}): Promise<Visit> =>
  visitPlayground(browser, url + fragment, options);

describe('a first visit', () => {
  it('a poster and the size; then a 7 comes out of noise, at most ten paintings a second; the seed makes it again', async () => {
    const { page, errors, requests } = await visit('#v=1&label=7&steps=20');
    expect(
      await page
        .locator('#poster img')
        .evaluate((img: HTMLImageElement) => img.complete && img.naturalWidth > 0),
    ).toBe(true);
    expect(await page.textContent('#size')).toBe('1.4 MB to download, once');
    expect(requests.filter((r) => r.includes('safetensors'))).toEqual([]); // nothing before it is wanted
    await page.screenshot({ path: `${OUTPUT}first-screen.png` });

    const first = await draw(page);
    const seen = await frames(page);
    expect(new Set(seen.map((f) => f.index)).has(0)).toBe(true);
    expect(seen.at(-1)!.index).toBe(20);
    for (let i = 2; i < seen.length - 1; i++) expect(seen[i]!.at - seen[i - 2]!.at).toBeGreaterThan(100);
    const { width, data } = await pixels(page, first);
    const zoom = width / 32;
    const picture = Array.from({ length: 1024 }, (_, i) => {
      const [x, y] = [i % 32, Math.floor(i / 32)];
      return data[(y * zoom + zoom / 2) * width + x * zoom + zoom / 2]! / 127.5 - 1;
    });
    expect(classify(picture).digit).toBe(7);
    expect(await page.textContent('#caption')).toBe('Step 20 of 20: the picture.');

    // Every stored state can be seen again, in all four views.
    const views: string[] = [];
    for (const view of ['x0', 'eps', 'update', 'x_t']) {
      await page.locator(`input[name="view"][value="${view}"]`).check({ force: true });
      views.push((await frames(page)).at(-1)!.url);
    }
    expect(views[3]).toBe(first);
    expect(views[0]).toBe(first); // the last step of DDIM goes to x0Hat itself
    expect(new Set(views).size).toBe(3);
    await page.fill('#timeline', '7');
    await page.click('#back');
    // Paintings are ten a second at most, so this one may come a moment later.
    await page.waitForFunction(() => (window as unknown as { frames: Frame[] }).frames.at(-1)!.index === 6);

    expect(await page.textContent('#draw')).toBe('Draw another');
    await page.click('[data-tab="settings"]');
    await page.fill('#steps', '3');
    const three = await draw(page);
    await draw(page);
    expect(await page.inputValue('#seed')).toBe('6'); // another
    await page.fill('#seed', '5');
    expect(await draw(page)).toBe(three);
    expect(await page.locator('#pictures li').count()).toBe(4);
    const outside = requests.filter(
      (r) => !r.startsWith(url) && !r.startsWith('data:') && !r.startsWith('blob:'),
    );
    expect(outside).toEqual([]);
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it('the first content waits for no script, no list of models and no weights; what it loads keeps to its size', async () => {
    const page = await browser.newPage();
    await page.route('**/weights/**', () => {}); // never answered
    let held = true;
    await page.route('**/*.js', (route) => (held ? undefined : route.continue()));
    await page.goto(url, { waitUntil: 'commit' });
    await page.getByRole('heading', { name: 'Pictures out of noise' }).waitFor();
    await page.waitForFunction(
      () => document.querySelector<HTMLImageElement>('#poster img')!.naturalWidth > 0,
    );
    await page.waitForFunction(() => performance.getEntriesByName('first-contentful-paint').length > 0);
    held = false;
    const requests: string[] = [];
    page.on('request', (request) => requests.push(request.url()));
    await page.goto(url, { waitUntil: 'load' });
    await expect.poll(() => requests.some((r) => r.endsWith('models.json')), { timeout: 60_000 }).toBe(true);
    const scripts = requests.filter((r) => r.endsWith('.js'));
    const bytes = scripts.map((r) => gzipSync(readFileSync(`${OUTPUT}site${new URL(r).pathname}`), { level: 9 }).length); // prettier-ignore
    expect(scripts.length).toBeGreaterThan(0);
    expect(bytes.reduce((sum, n) => sum + n, 0)).toBeLessThan(100 * 1024); // stated in docs/embed.md
    await page.close();
  });

  it('on a phone, in the dark: a batch is a grid of what its seeds draw alone; the picture asks for no width', async () => {
    const phone = {
      viewport: { width: 390, height: 844 },
      deviceScaleFactor: 2,
      isMobile: true,
      hasTouch: true,
    };
    const { page, errors } = await visit('#v=1&steps=3&label=7', { ...phone, colorScheme: 'dark' });
    const button = (await page.locator('#draw').boundingBox())!;
    expect(button.y + button.height).toBeLessThan(844);
    const alone = await draw(page);
    await page.click('[data-tab="settings"]');
    await page.fill('#count', '4');
    const [one, four] = [await pixels(page, alone), await pixels(page, await draw(page))];
    expect([four.width, four.height]).toEqual([772, 772]); // two by two at zoom 12, and a gap of 4
    for (let i = 0; i < 1024; i++) {
      const [x, y] = [i % 32, Math.floor(i / 32)];
      const big = one.data[(y * 24 + 12) * 768 + x * 24 + 12]!;
      expect(four.data[(y * 12 + 6) * 772 + x * 12 + 6], `pixel ${x}, ${y}`).toBe(big);
    }
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
    expect(await page.locator('#pictures li').count()).toBe(5);
    await page.screenshot({ path: `${OUTPUT}phone-dark.png`, fullPage: true });
    expect(errors).toEqual([]);
    await page.context().close();
  });
});

describe('in charge of the run', () => {
  it('Stop stops within a step; then one step at a time, back, and on to the end', async () => {
    const { page, errors } = await visit('#v=1&steps=12');
    await page.evaluate(() =>
      document.addEventListener('painted', (event) => {
        const { index } = (event as CustomEvent<{ index: number }>).detail;
        const button = document.getElementById('draw')!;
        const store = window as unknown as { stopped?: number };
        if (index < 3 || store.stopped !== undefined || button.textContent !== 'Stop') return;
        store.stopped = index;
        button.click();
      }),
    );
    await page.click('#draw');
    await page.waitForFunction(() => document.getElementById('status')!.textContent === 'Stopped.');
    await page.locator('#step:enabled').waitFor();
    const stopped = Number(/^Step (\d+)/.exec((await page.textContent('#caption'))!)![1]);
    const pressed = await page.evaluate(() => (window as unknown as { stopped: number }).stopped);
    expect(stopped).toBeGreaterThanOrEqual(pressed);
    expect(stopped).toBeLessThanOrEqual(pressed + 1);
    for (const k of [1, 2]) {
      await page.click('#step');
      await page.waitForFunction(
        (t) => document.getElementById('caption')!.textContent.startsWith(t),
        `Step ${stopped + k} of 12`,
      );
    }
    await page.click('#back');
    expect(await page.textContent('#caption')).toContain(`Step ${stopped + 1} of 12`);
    await draw(page, '#play');
    expect(await page.textContent('#caption')).toBe('Step 12 of 12: the picture.');
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it('a fork with the same seed is the trunk, bit for bit; with another it is not; the link has it', async () => {
    const { page, errors } = await visit('#v=1&steps=6&sampler=ddpm&label=3');
    const trunk = await draw(page);
    const forkAt = async (k: number, seed: string): Promise<string> => {
      await page
        .locator('.lane')
        .first()
        .click({ force: true })
        .catch(() => {});
      await page.fill('#timeline', String(k));
      await page.click('#fork-open');
      await page.fill('#fork-seed', seed);
      return draw(page, '#fork button[type="submit"]');
    };
    expect(await forkAt(3, '5')).toBe(trunk);
    expect(await page.locator('.lane').count()).toBe(2);
    const other = await forkAt(3, '77');
    expect(other).not.toBe(trunk);
    const link = await page.inputValue('#link');
    expect(link).toContain('branches=0.3.5,0.3.77');
    await page.locator('.lane').first().click();
    await page.fill('#timeline', '6');
    // Paintings are ten a second at most, so this one may come a moment later.
    await page.waitForFunction(
      (same) => (window as unknown as { frames: Frame[] }).frames.at(-1)!.url === same,
      trunk,
    );
    expect(errors).toEqual([]);
    await page.context().close();

    const again = await visit(new URL(link).hash);
    await again.page.click('#draw');
    await until(again.page, 3);
    expect((await frames(again.page)).at(-1)!.url).toBe(other);
    await again.page.context().close();
  });

  it('settings that make no sense are answered with a sentence, and the picture stays', async () => {
    const { page, errors } = await visit('#v=1&steps=1&tab=settings');
    await draw(page);
    for (const [field, value] of [
      ['#seed', ''],
      ['#seed', '-3'],
      ['#steps', '2000'],
      ['#steps', '0'],
      ['#count', '0'],
    ] as const) {
      // prettier-ignore
      const before = await page.inputValue(field);
      await page.fill(field, value);
      await page.click('#draw');
      await page.locator('#message[data-code="bad-option"]').waitFor();
      expect(await page.textContent('#caption')).toBe('Step 1 of 1: the picture.');
      await page.fill(field, before);
    }
    await draw(page);
    expect(await page.isVisible('#message')).toBe(false);
    expect(errors).toEqual([]);
    await page.context().close();
  });
});

describe('edits, comparison, files', () => {
  it('a picture is noised and denoised, a part is repainted, two seeds are joined; what is no picture gets a sentence', async () => {
    const { page, errors } = await visit('#v=1&steps=4&label=3&tab=edit');
    await page.click('#edit-go');
    await page.locator('#message[data-code="bad-input"]').waitFor();
    const open = (name: string, mimeType: string, buffer: Buffer) =>
      page.setInputFiles('#open', { name, mimeType, buffer });
    const png = (width: number, height: number, channels: 1 | 3 | 4, value: number) =>
      Buffer.from(
        encode({ width, height, channels, data: new Uint8Array(width * height * channels).fill(value) }),
      );
    for (const [name, bytes] of [
      ['empty.png', Buffer.alloc(0)],
      ['broken.jpg', Buffer.from('no picture')],
      ['cut.png', png(9, 9, 3, 9).subarray(0, 40)],
    ] as const) {
      // prettier-ignore
      await page.evaluate(() => (document.getElementById('message')!.hidden = true));
      await open(name, `image/${name.slice(-3)}`, bytes);
      await page.locator('#message[data-code="bad-input"]').waitFor();
    }
    const pad = () =>
      page.evaluate(() => {
        const canvas = document.getElementById('pad') as HTMLCanvasElement;
        return [canvas.width, canvas.height, ...canvas.getContext('2d')!.getImageData(16, 16, 1, 1).data];
      });
    await open('wide.png', 'image/png', png(3000, 1000, 1, 200));
    await expect.poll(pad).toEqual([32, 32, 200, 200, 200, 255]);
    await open('clear.png', 'image/png', png(7, 5, 4, 0)); // nothing but transparency: black
    await expect.poll(pad).toEqual([32, 32, 0, 0, 0, 255]);
    await page.focus('#pad'); // drawn with the keyboard
    for (let i = 0; i < 6; i++) await page.keyboard.press('Shift+ArrowDown');
    expect((await pad())[2]).toBeGreaterThan(200);
    await draw(page, '#edit-go');
    expect(await page.textContent('#caption')).toBe('Step 2 of 2: the picture.'); // 60 % of 4 steps

    const before = await pixels(page, (await frames(page)).at(-1)!.url);
    await page.click('#take');
    await page.locator('input[name="edit"][value="paint"]').check({ force: true });
    await page.locator('#pad').hover({ position: { x: 20, y: 20 } });
    await page.mouse.down();
    await page.mouse.move(0, 0, { steps: 2 });
    await page.mouse.up();
    const after = await pixels(page, await draw(page, '#edit-go'));
    const at = (p: typeof after, x: number, y: number) => p.data[(y * 24 + 12) * 768 + x * 24 + 12]!;
    for (let y = 16; y < 32; y++)
      for (let x = 16; x < 32; x++) expect(at(after, x, y)).toBe(at(before, x, y));

    await page.click('[data-tab="share"]'); // a link holds no picture, and says so
    expect(await page.isVisible('#not-in-link')).toBe(true);
    await page.click('[data-tab="edit"]');
    await page.locator('input[name="edit"][value="slide"]').check({ force: true });
    await draw(page, '#edit-go');
    await page.locator('#slider-part').waitFor();
    const slide = () =>
      page.evaluate(() => (document.getElementById('slide') as HTMLCanvasElement).toDataURL());
    const left = await slide();
    await page.fill('#slide-at', '8');
    expect(await slide()).not.toBe(left);
    await page.click('[data-tab="share"]');
    expect(await page.isVisible('#not-in-link')).toBe(false);
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it('two samplers on one noise, side by side', async () => {
    const { page, errors } = await visit('#v=1&steps=3&tab=compare&steps2=2&label=1');
    await page.click('#compare-go');
    await until(page, 1);
    expect(await page.textContent('#caption-a')).toBe('DDIM, 3 evaluations');
    expect(await page.textContent('#caption-b')).toBe('DPM-Solver++ 2M, 2 evaluations');
    expect(await page.textContent('#difference')).toMatch(/differ by \d+\.\d %/);
    await page.screenshot({ path: `${OUTPUT}compare.png` });
    await draw(page); // one picture again: it is seen
    expect(await page.isVisible('#stage')).toBe(true);
    expect(errors).toEqual([]);
    await page.context().close();
  });
});

describe('for everybody', () => {
  it.each(['light', 'dark'] as const)(
    'axe finds nothing, with every drawer open (%s)',
    async (colorScheme) => {
      const { page } = await visit('#v=1&steps=1', { colorScheme });
      await draw(page);
      await page.addScriptTag({ content: axe.source });
      for (const tab of ['settings', 'edit', 'compare', 'share', 'model', 'model']) {
        await page.click(`[data-tab="${tab}"]`);
        const found = await page.evaluate(async () => {
          const { violations } = await (window as unknown as { axe: typeof axe }).axe.run();
          return violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).join(' ')}`);
        });
        expect(found, tab).toEqual([]);
      }
      await page.context().close();
    },
  );

  it('with the keyboard alone: draw, look, step, fork, save', async () => {
    const { page, errors } = await visit('#v=1&steps=3');
    for (let i = 0; i < 6 && !(await page.evaluate(() => document.activeElement?.id === 'draw')); i++) await page.keyboard.press('Tab'); // prettier-ignore
    await page.keyboard.press('Enter');
    await until(page, 1);
    await page.keyboard.press('2');
    expect(await page.isChecked('input[value="x0"]')).toBe(true);
    await page.keyboard.press('ArrowLeft');
    await page.waitForFunction(() => document.getElementById('caption')!.textContent.startsWith('Step 2'));
    await page.keyboard.press('f');
    await page.keyboard.press('Enter'); // in the seed's field
    await until(page, 2);
    expect(await page.locator('.lane').count()).toBe(2);
    await page.focus('[data-tab="share"]');
    await page.keyboard.press('Enter');
    await page.focus('#save-json');
    const [download] = await Promise.all([page.waitForEvent('download'), page.keyboard.press('Enter')]);
    expect(JSON.parse(readFileSync(await download.path(), 'utf8')).forks).toHaveLength(1);
    await page.evaluate(() => (document.activeElement as HTMLElement).blur());
    await page.keyboard.press('?');
    expect(await page.isVisible('#help')).toBe(true);
    await page.keyboard.press('Escape');
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it('the tag that the lecture gives away works on a page that has nothing else', async () => {
    const page = await (await browser.newContext()).newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    const body = `<!doctype html><script type="module" src="${url}define.js"></script>
      <diffusion-sampler view="schedules"></diffusion-sampler>`;
    await page.route('**/guest.html', (route) => route.fulfill({ contentType: 'text/html', body }));
    await page.goto(`${url}guest.html`);
    await page.locator('diffusion-sampler [data-view="schedules"] .dv-words').waitFor();
    expect(errors).toEqual([]);
    await page.context().close();
  });

  it('the lecture is a link away', async () => {
    const { page } = await visit();
    await page.click('.intro a');
    await page.waitForURL(/lecture\.html/);
    await page.context().close();
  });
});

describe('when something is missing', () => {
  const missing = async (script: () => void) => {
    const page = await browser.newPage({ viewport: { width: 390, height: 844 } });
    await page.addInitScript(script);
    await page.goto(url);
    const message = page.locator('#message');
    await message.waitFor();
    const seen = (await message.boundingBox())!;
    expect(seen.y).toBeGreaterThan(0);
    expect(seen.y + seen.height).toBeLessThan(844); // without scrolling, on a phone
    const result = {
      code: await page.getAttribute('#message', 'data-code'),
      text: (await page.textContent('#message-text'))!,
      retry: await page.isVisible('#retry'),
      draw: await page.isEnabled('#draw'),
      poster: await page.isVisible('#poster img'),
    };
    await page.close();
    return result;
  };

  it('no API', async () => {
    const result = await missing(() =>
      Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined }),
    );
    expect(result).toMatchObject({ code: 'no-webgpu-api', draw: false, poster: true });
    expect(result.text).toMatch(/does not offer WebGPU.*Use Chrome/);
  });

  it('no adapter', async () => {
    const result = await missing(() => (GPU.prototype.requestAdapter = () => Promise.resolve(null)));
    expect(result).toMatchObject({ code: 'no-adapter', retry: true, draw: false });
    expect(result.text).toMatch(/no graphics adapter.*hardware acceleration/);
  });

  it('an insecure page', async () => {
    const result = await missing(() => {
      Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined });
      Object.defineProperty(window, 'isSecureContext', { get: () => false });
    });
    expect(result).toMatchObject({ code: 'no-secure-context', draw: false });
    expect(result.text).toMatch(/https/);
  });

  it('limits that are too small', async () => {
    const result = await missing(
      () =>
        (GPUAdapter.prototype.requestDevice = () =>
          Promise.reject(new DOMException('limit', 'OperationError'))),
    );
    expect(result).toMatchObject({ code: 'limits-too-small', draw: false });
  });

  it('weights that arrive changed; once they are right, all goes on', async () => {
    const { page } = await visit('#v=1&steps=1');
    await page.route('**/*.safetensors', (route) =>
      route.fulfill({ body: Buffer.alloc(1393498), contentType: 'application/octet-stream' }),
    );
    await page.click('#draw');
    await page.locator('#message[data-code="integrity-failed"]').waitFor({ timeout: 60_000 });
    await page.unroute('**/*.safetensors');
    await draw(page, '#retry');
    await page.context().close();
  });
});

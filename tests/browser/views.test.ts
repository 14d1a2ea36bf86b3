/** The lecture as a reader meets it: the numbers that its views show, read from the page. */

import axe from 'axe-core';
import type { Browser, Page } from 'playwright';
import type { PreviewServer } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseSchedulerConfig } from '../../src/schedule/config.ts';
import { makeSteps } from '../../src/schedule/make_steps.ts';
import { affineStep } from '../../src/apps/article/affine.ts';
import { views } from '../../src/apps/article/index.ts';
import { readNumber } from '../../src/apps/article/text.ts';
import { pythonOf } from '../../src/apps/article/python.ts';
import { tableOf } from '../../src/apps/article/schedules.ts';
import { launchBrowser, serveSite } from './browser.ts';
import { NETWORK, openView, writeModels } from './lecture.ts';

let server: PreviewServer;
let url: string;
let browser: Browser;
let page: Page;
const errors: string[] = [];

beforeAll(async () => {
  ({ url, server } = await serveSite());
  await writeModels();
  browser = await launchBrowser(url);
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  page = await context.newPage();
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

const open = (name: string, params: string, fact: string, rests = true) =>
  openView({ page, errors, url }, name, params, fact, rests);

const words = (name: string): Promise<string> =>
  page.locator(`[data-view="${name}"] .dv-words`).evaluate((e) => e.dataset['now'] ?? '');
const wordsOtherThan = (name: string, before: string) =>
  page.waitForFunction(
    ([name, before]) =>
      (document.querySelector<HTMLElement>(`[data-view="${name}"] .dv-words`)!.dataset['now'] ?? '') !==
      before,
    [name, before] as const,
    { timeout: 60_000 },
  );

/** What every view promises, of the one that is open: seen by axe in both schemes, told in words, set by keyboard, shared. */
async function promises(name: string, preset: string, params: Record<string, string>): Promise<void> {
  const view = page.locator(`[data-view="${name}"]`);
  const place = page.locator('.place', { has: view });
  if (!(await page.evaluate(() => 'axe' in window))) await page.addScriptTag({ content: axe.source });
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    const found = await page.evaluate(async (name) => {
      const { violations } = await (window as unknown as { axe: typeof axe }).axe.run(
        document.getElementById(name)!,
      );
      return violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html.slice(0, 160)).join(' ')}`);
    }, name);
    expect(found, colorScheme).toEqual([]);
  }
  // In words: the figure is described by the sentences that change with it.
  const figure = view.locator('.dv-figure');
  const described = await figure.getAttribute('aria-describedby');
  expect(await view.locator('.dv-words').getAttribute('id')).toBe(described);
  const before = await words(name);
  expect(before.length).toBeGreaterThan(60);
  expect(await view.locator('canvas:not([aria-label]), .dv-plot:not([aria-label])').count()).toBe(0);
  // Every symbol of the formula has a value, and lights what stands for it.
  const symbol = view.locator('.dv-symbols button').first();
  expect(await view.locator('.dv-symbols output:empty').count()).toBe(0);
  await symbol.press('Enter');
  expect(await symbol.getAttribute('aria-pressed')).toBe('true');
  await expect.poll(() => view.locator('.dv-stage .lit').count()).toBeGreaterThan(0);
  await symbol.press('Enter');
  // By keyboard: every control can be reached, and a preset is applied with Enter, into the figure and into the address.
  expect(
    await view
      .locator('button, input, select, summary, pre')
      .evaluateAll((all) => all.filter((e) => e.checkVisibility() && e.tabIndex < 0).map((e) => e.outerHTML)),
  ).toEqual([]);
  const presets = view.locator('.dv-presets button');
  expect(await presets.count()).toBeGreaterThan(1);
  await presets.filter({ hasText: preset }).focus();
  await page.keyboard.press('Enter');
  await wordsOtherThan(name, before);
  const link = (await place.locator('.share a').getAttribute('href'))!;
  expect(link.split('?')[0]).toBe(`#${name}`);
  expect(Object.fromEntries(new URLSearchParams(link.split('?')[1]))).toEqual(params);
  await place.getByRole('button', { name: 'Copy its embed' }).press('Enter');
  await place.getByRole('button', { name: 'Copied' }).waitFor();
  const tag = await page.evaluate(() => navigator.clipboard.readText());
  expect(tag).toContain(`<diffusion-sampler view="${name}"`);
  for (const [key, value] of Object.entries(params)) expect(tag).toContain(` data-${key}="${value}"`);
  // A slider moves with the arrow keys.
  const then = await words(name);
  const slider = view.locator('input[data-control="at"], input[data-control="t"]');
  if (name !== 'solvers') {
    const at = Number(await slider.inputValue());
    await slider.press(at > Number(await slider.getAttribute('min')) ? 'ArrowLeft' : 'ArrowRight');
    expect(Number(await slider.inputValue())).not.toBe(at);
    await wordsOtherThan(name, then);
  }
}

it('the article: every view in its place, every formula set, every paper named', async () => {
  await page.goto(`${url}lecture.html`);
  await page.waitForFunction(() => document.querySelectorAll('.tex:not(:has(.katex))').length === 0);
  const found = await page.evaluate(() => ({
    places: [...document.querySelectorAll('.place')].map((e) => (e as HTMLElement).dataset['place']),
    questions: [...document.querySelectorAll('#index a')].map((a) => a.getAttribute('href')),
    lost: [...document.querySelectorAll('a[href^="#"]')].map((a) => a.getAttribute('href')!.split('?')[0]!).filter((href) => !document.getElementById(href.slice(1))),
    faults: document.querySelectorAll('.katex-error').length,
    words: [...document.querySelectorAll('main > section')].map((s) => [...s.querySelectorAll('.passage')].map((p) => { const copy = p.cloneNode(true) as HTMLElement; copy.querySelectorAll('.tex').forEach((t) => t.replaceWith('x')); return copy.textContent; }).join(' ').trim().split(/\s+/).length),
  })); // prettier-ignore
  expect(found.places).toEqual(Object.keys(views));
  expect(found.questions).toEqual(Object.keys(views).map((name) => `#${name}`));
  expect(found.lost).toEqual([]);
  expect(found.faults).toBe(0);
  for (const n of found.words) {
    expect(n).toBeGreaterThanOrEqual(60);
    expect(n).toBeLessThanOrEqual(150);
  }
});

it('one jump: the stairs land on 1 - alphaBar; added deviations do not', async () => {
  const facts = await open('one-jump', 't=20', 'off');
  const wanted = readNumber(facts('wanted'));
  expect(wanted).toBeCloseTo(1 - tableOf('linear')[999]!, 4);
  expect(Math.abs(readNumber(facts('walk')) - wanted)).toBeLessThan(4 * Math.sqrt(2 / 20_000) * wanted);
  expect(Math.abs(readNumber(facts('jump')) - wanted)).toBeLessThan(4 * Math.sqrt(2 / 20_000) * wanted);
  expect(Math.abs(readNumber(facts('off')))).toBeLessThan(4);
  const wrong = await open('one-jump', 't=20&same=1', 'off');
  expect(readNumber(wrong('off'))).toBeGreaterThan(40);
  await promises('one-jump', 'Ten big steps', { steps: '10', t: '10' });
});

it('schedules: alphaBar at the timestep shown', async () => {
  const facts = await open('schedules', '', 'cosine');
  for (const name of ['linear', 'cosine', 'sigmoid'] as const) {
    const [t, ab, snr] = facts(name).split(', ').map(readNumber) as [number, number, number];
    expect(ab).toBeCloseTo(tableOf(name)[t]!, 4);
    expect(snr / (ab / (1 - ab))).toBeCloseTo(1, 2);
  }
  await promises('schedules', 'Half destroyed', { t: '496', lock: '1' });
});

/** Of the 64 x 64 picture in a canvas: red of each pixel. */
const reds = (canvas: string): Promise<number[]> =>
  page.locator(canvas).evaluate((c: HTMLCanvasElement) => {
    const { data } = c.getContext('2d')!.getImageData(0, 0, c.width, c.height);
    return Array.from(data.filter((_, i) => i % 4 === 0));
  });
const brightest = '[data-view="schedules"] [data-sym="linear"] canvas';

it('your own picture: drawn, dropped, taken by name; what is no picture is said', async () => {
  await open('schedules', 't=0&picture=none', 'cosine');
  const sum = async () => (await reds(brightest)).filter((v) => v > 128).length;
  expect(await sum()).toBe(0);
  const pad = page.locator('[data-view="schedules"] .dv-picker canvas');
  await pad.scrollIntoViewIfNeeded();
  const box = (await pad.boundingBox())!;
  const at = (x: number, y: number): [number, number] => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(0.2, 0.5));
  await page.mouse.down();
  await page.mouse.move(...at(0.8, 0.5), { steps: 4 });
  await page.mouse.up();
  // A stroke from the left to the right, a tenth of the side thick: in the middle rows, and nowhere else.
  const line = await reds(brightest);
  const bright = (x: number, y: number) => line[y * 64 + x]! > 128;
  for (const x of [14, 32, 50]) expect(bright(x, 32)).toBe(true);
  for (const [x, y] of [[32, 20], [32, 44], [3, 32], [61, 32]] as const) expect(bright(x, y)).toBe(false); // prettier-ignore

  const drop = (type: string, name: string, draw: boolean) =>
    page.locator('[data-view="schedules"] .dv-picker').evaluate(
      async (picker, { type, name, draw }) => {
        const canvas = new OffscreenCanvas(40, 20); // the square in its middle is white, the rest is black
        const context = canvas.getContext('2d')!;
        context.fillRect(0, 0, 40, 20);
        context.fillStyle = '#fff';
        context.fillRect(10, 0, 20, 20);
        const data = new DataTransfer();
        data.items.add(new File([draw ? await canvas.convertToBlob() : 'no picture'], name, { type }));
        picker.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
      },
      { type, name, draw },
    );
  await drop('image/png', 'square.png', true);
  await expect.poll(sum).toBe(64 * 64);
  await drop('image/png', 'broken.png', false);
  const fault = page.locator('[data-view="schedules"] .dv-error');
  await expect.poll(() => fault.textContent()).toMatch(/^broken\.png is not a picture\./);
  await page.getByRole('button', { name: 'a star' }).first().press('Enter');
  await expect.poll(sum).toBeLessThan(64 * 32);
  expect(await sum()).toBeGreaterThan(100);
});

it('q and p: the closed form is what draws say, within 1 percent', async () => {
  const facts = await open('q-and-p', 'steps=6&at=5', 'closed');
  await page.waitForFunction(
    () => document.querySelector<HTMLElement>('[data-view="q-and-p"]')!.dataset['drawn'],
    null,
    { timeout: 60_000 },
  );
  const drawn = (await page.locator('[data-view="q-and-p"] [data-name="drawn"]').textContent())!;
  const [mean, error] = drawn.split(' ± ').map(readNumber) as [number, number];
  const closed = readNumber(facts('closed'));
  expect(error).toBeGreaterThan(0);
  expect(error / closed).toBeLessThan(0.0031);
  expect(Math.abs(mean / closed - 1)).toBeLessThan(0.01);
  // The bound is the sum of what the bars show: of its terms, in bits.
  const bound = readNumber(facts('bound').split(' ± ')[0]!);
  expect(readNumber(facts('bits')) / (bound / Math.LN2 / 1024)).toBeCloseTo(1, 2);
  await promises('q-and-p', 'The wrong variance', { variance: 'large' });
});

it('lenses: how much an error in epsilon errs x0; x0Hat is nearer to the average of futures than to the picture', async () => {
  const facts = await open('lenses', 't=500', 'factor');
  const ab = tableOf('cosine')[500]!;
  expect(readNumber(facts('factor')) / Math.sqrt((1 - ab) / ab)).toBeCloseTo(1, 2);
  const then = await open('lenses', 't=800&steps=4&futures=1', 'futures');
  expect(readNumber(then('futures'))).toBeLessThan(0.6 * readNumber(then('single')));
  await promises('lenses', 'Late: nearly clean', { t: '150' });
});

it('inside a step: what is printed is what the GPU is sent, and the copied Python is the step', async () => {
  const facts = await open('inside', 'sampler=ddpm&steps=4&at=2', 'by-hand');
  expect(readNumber(facts('by-hand'))).toBeLessThan(2e-5);
  const printed = ['x0-x', 'x0-m', 'c-x', 'c-x0', 'sigma'].map((key) => readNumber(facts(key)));
  const written = await page.evaluate(() => (window as unknown as { written: number[][] }).written);
  const has = (numbers: number[], x: number) =>
    numbers.some((y) => Math.abs(y - x) <= 2e-7 * Math.abs(x) + 1e-9);
  expect(written.filter((numbers) => printed.every((x) => has(numbers, x))).length).toBeGreaterThan(0);

  await page.getByRole('button', { name: 'Copy as Python' }).press('Enter');
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  const text = await page.evaluate(() => navigator.clipboard.readText());
  const tensor = (name: string): Float32Array<ArrayBuffer> => {
    const base64 = new RegExp(`^${name} = tensor\\("""([^"]*)"""`, 'm').exec(text)![1]!.replace(/\n/g, '');
    return new Float32Array(Uint8Array.from(Buffer.from(base64, 'base64')).buffer);
  };
  const [x, m, z, next] = [tensor('x_t'), tensor('m'), tensor('z'), tensor('expected')];
  // It is the text that diffusers has run for other tensors (tests/fixtures/make/views.py) ...
  const config = parseSchedulerConfig({ beta_schedule: 'squaredcos_cap_v2' }, 'digits');
  const shape = { channels: 1, height: 32, width: 32 };
  expect(text).toBe(pythonOf('ddpm', { ...config, clip: 1 }, 4, 1, { x, m, z, next, shape }));
  // ... and its tensors are the step, by the twin of the shader.
  const step = makeSteps(config, { scheduler: 'ddpm', variance: 'fixed_small', clip: 1, steps: 4 })[1]!;
  const twin = affineStep(step, { x: Float64Array.from(x), h: [] }, () => Float64Array.from(m), z);
  expect(Math.max(...next.map((v, i) => Math.abs(v - twin.x[i]!)))).toBeLessThan(2e-5);
  await promises('inside', 'The first step', { at: '1' });
});

it('why add z: without it the same bits twice; eta = 1 is DDPM', async () => {
  const facts = await open('noise', 'steps=5&eta=1', 'eta-ddpm');
  expect(facts('twice')).toBe('0');
  expect(readNumber(facts('steps-ddpm'))).toBeLessThan(1e-9);
  expect(readNumber(facts('eta-ddpm'))).toBeLessThan(1e-3);
  expect(readNumber(facts('change'))).toBeGreaterThan(0.05);
  expect(readNumber(facts('diversity'))).toBeGreaterThan(0.05);
  await promises('noise', 'Twice too much z', { scale: '2' });
});

it('variances: beta-tilde is half of beta at the clean end, and all of it elsewhere', async () => {
  const facts = await open('variances', 'steps=4', 'rough');
  const table = tableOf('cosine');
  for (const t of [1, 100]) {
    const ratio = (1 - table[t - 1]!) / (1 - table[t]!);
    expect(readNumber(facts(`ratio-${t}`))).toBeCloseTo(ratio, 3);
  }
  expect(readNumber(facts('apart'))).toBeGreaterThan(0);
  await promises('variances', 'Half way', { at: '5' });
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
    expect(Math.abs(readNumber(facts(`order-${name}`)) - order)).toBeLessThan(0.3);
  await page.waitForFunction(() => document.querySelector('[data-view="solvers"] [data-name="reference"]'));
  await promises('solvers', 'Only 10', { upto: '10' });
});

it('guidance: the step from the pictures shown is the sampler’s', async () => {
  const facts = await open('guidance', '', 'again');
  expect(readNumber(facts('again'))).toBeLessThan(2e-5);
  expect(readNumber(facts('diff'))).toBeGreaterThan(0);
  await promises('guidance', 'Followed: w = 1', { w: '1' });
});

it('the mixture: the hills hold their weights; it plays, and jumps where motion is not wanted', async () => {
  const facts = await open('mixture', '', 'evaluations');
  for (const [i, weight] of [50, 30, 20].entries())
    expect(Math.abs(parseFloat(facts(`weight-${i}`)) - weight)).toBeLessThan(2);
  const slider = page.locator('[data-view="mixture"] [data-control="at"]');
  expect(await slider.getAttribute('aria-valuetext')).toBe('92 of 100, t = 70');
  await promises('mixture', 'The hills appear', { at: '60' });
  const play = page.locator('[data-view="mixture"] button', { hasText: 'Play' });
  const place = async () => Number(await slider.inputValue());
  await play.press('Enter');
  expect(await place()).toBeLessThan(60); // from the start
  const early = await place();
  await expect.poll(place).toBeGreaterThan(early);
  await page.emulateMedia({ reducedMotion: 'reduce' });
  await open('mixture', 'at=60', 'evaluations');
  await play.press('Enter');
  expect(await place()).toBe(100);
  await page.waitForTimeout(300);
  expect(await place()).toBe(100);
  const moving = await page.evaluate(() => document.getAnimations().filter((a) => a.playState === 'running').length); // prettier-ignore
  expect(moving).toBe(0);
  await page.emulateMedia({ reducedMotion: 'no-preference' });
});

it('a link to a view leads to it, whatever comes into place above', async () => {
  await open('mixture', 'at=60', 'evaluations');
  await page.waitForTimeout(1500);
  const top = () =>
    page.locator('.place[data-place="mixture"]').evaluate((e) => e.getBoundingClientRect().top);
  expect(await top()).toBeGreaterThanOrEqual(0);
  expect(await top()).toBeLessThan(200);
});

it.each(NETWORK)('%s with a network of another kind: colours, v, a learned variance, 14 named classes', async (name, params, fact) => {
  const facts = await open(name, `${params}&model=tiny-colour/&class=13`, fact, name !== 'solvers');
  const view = page.locator(`[data-view="${name}"]`);
  // prettier-ignore
  const sizes = await view.locator('.dv-picture canvas').evaluateAll((all) => all.filter((c) => c.checkVisibility()).map((c) => (c as HTMLCanvasElement).width));
  expect(sizes).toContain(16);
  const list = view.locator('select[data-control="class"]');
  expect(await list.inputValue()).toBe('13');
  expect(await list.locator('option').nth(13).textContent()).toBe('kind 13');
  if (name === 'inside') expect(readNumber(facts('by-hand'))).toBeLessThan(2e-5);
  if (name === 'guidance') expect(readNumber(facts('again'))).toBeLessThan(2e-5);
  if (name === 'variances') {
    // sigma^2 of the mean v lies where v says, between the two of the step.
    const v = readNumber(facts('v-mean'));
    const [small, large] = facts('bounds').split(' and ').map(readNumber) as [number, number];
    const wanted = Math.exp(((v + 1) / 2) * Math.log(large) + ((1 - v) / 2) * Math.log(small));
    expect(readNumber(facts('v-sigma')) / wanted).toBeCloseTo(1, 1);
    expect(await view.getByText('The same runs with the learned variance').isVisible()).toBe(true);
    expect(await view.locator('canvas[aria-label^="v from"]').isVisible()).toBe(true);
  }
}); // prettier-ignore

it('a network without classes: guidance says so in a sentence, the others do without', async () => {
  await open('inside', 'steps=4&at=2&model=tiny-plain/', 'by-hand');
  expect(await page.locator('[data-view="inside"] [data-control="class"]').count()).toBe(0);
  await page.goto('about:blank');
  await page.goto(`${url}lecture.html#guidance?model=tiny-plain/`);
  const fault = page.locator('[data-view="guidance"] .dv-error');
  await expect.poll(() => fault.textContent(), { timeout: 60_000 }).toMatch(/^tiny-plain knows no classes, so there is no guidance to show\. Choose another model/); // prettier-ignore
});

it('the network is chosen on the page, and goes into links and embeds', async () => {
  await open('inside', 'steps=4&at=2', 'by-hand');
  const place = page.locator('.place[data-place="inside"]');
  await place.locator('.share select').selectOption('…');
  await page.locator('#address').fill('tiny-colour/');
  await page.locator('#address').press('Enter');
  const canvas = page.locator('[data-view="inside"] [data-sym="next"] canvas');
  await page.waitForFunction(() =>
    document.querySelector('[data-view="inside"] select[data-control="class"]'),
  );
  await expect.poll(() => canvas.getAttribute('width'), { timeout: 60_000 }).toBe('16');
  expect(new URLSearchParams((await page.evaluate(() => location.hash)).split('?')[1]).get('model')).toBe('tiny-colour/'); // prettier-ignore
  await place.getByRole('button', { name: 'Copy its embed' }).press('Enter');
  await place.getByRole('button', { name: 'Copied' }).waitFor();
  const tag = await page.evaluate(() => navigator.clipboard.readText());
  expect(tag).toContain(` src="${url}tiny-colour/"`);
  expect(tag).toContain(' data-at="2"');
  await place.locator('.share select').selectOption('digits');
  await expect.poll(() => canvas.getAttribute('width'), { timeout: 60_000 }).toBe('32');
  // On a phone no list of networks is wider than the page.
  const size = page.viewportSize()!;
  await page.setViewportSize({ width: 390, height: 844 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
  await page.setViewportSize(size);
});

it('a picture that the model draws can be taken', async () => {
  const facts = await open('lenses', 't=300&picture=model-2', 'factor');
  expect(readNumber(facts('outside').replace(' %', ''))).toBeLessThan(60);
  const seen = await reds('[data-view="lenses"] .dv-picker canvas');
  expect(seen.filter((v) => v > 128).length).toBeGreaterThan(500); // strokes on the pad
  const before = await words('lenses');
  await page.getByRole('button', { name: 'one drawn by the model' }).first().press('Enter');
  await wordsOtherThan('lenses', before);
  expect(await page.locator('.place[data-place="lenses"] .share a').getAttribute('href')).toContain('picture=model-3'); // prettier-ignore
});

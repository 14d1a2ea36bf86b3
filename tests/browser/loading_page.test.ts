/** A visitor brings a model: dropped, pasted, refused, deleted. Every way ends in a picture or in a sentence with one action. */

import { cpSync, mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page, Route } from 'playwright';
import type { PreviewServer } from 'vite';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CELEBAHQ_256 } from '../bench/networks.ts';
import { sha256 } from '../helpers/model_server.ts';
import { launchBrowser, OUTPUT, serveSite } from './browser.ts';
import { watchPage } from './watch.ts';

const DIGITS = fileURLToPath(new URL('../../weights/digits/', import.meta.url));
const WEIGHTS = 'unet/diffusion_pytorch_model.safetensors';
const FILES = ['unet/config.json', WEIGHTS, 'scheduler/scheduler_config.json', 'labels.json'];
const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const bytesOf = (path: string): Buffer => readFileSync(join(DIGITS, path));
const PROMISES = FILES.map((path) => {
  const bytes = bytesOf(path);
  return { path, bytes: bytes.length, sha256: sha256(bytes) };
});

let server: PreviewServer;
let url: string;
let browser: Browser;
/** One for all; every test begins with an empty store and a fresh load. */
let page: Page;
let folder: string;
/** The first picture of digits as the page ships them: every way of bringing them must end in it. */
let shipped: string;
const errors: string[] = [];
/** Of any model's weights, in order. */
let weighed: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bring-'));
  ({ url, server } = await serveSite());
  browser = await launchBrowser(url);
  page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('request', (request) => {
    if (request.url().endsWith('.safetensors')) weighed.push(request.url());
  });
  await page.addInitScript(watchPage);
  await page.addInitScript(() => {
    (window as unknown as { finished: number }).finished = 0;
    document.addEventListener('finished', () => (window as unknown as { finished: number }).finished++);
  });
  await visit();
  shipped = await draw();
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  await page.evaluate(async () => {
    for (const name of await caches.keys()) await caches.delete(name);
  });
  await visit('&tab=model');
  weighed = [];
});
afterEach(async () => {
  await page.unrouteAll();
  expect(errors.splice(0)).toEqual([]); // whatever went wrong was typed
});

async function visit(more = ''): Promise<void> {
  await page.goto('about:blank');
  await page.goto(`${url}#v=1&model=digits&label=7&steps=1${more}`);
  await page.locator('#draw:enabled').waitFor({ timeout: 120_000 });
}

const finished = (): Promise<number> =>
  page.evaluate(() => (window as unknown as { finished: number }).finished);

/** Presses Draw, or what is named; the hash of the picture. */
async function draw(button = '#draw'): Promise<string> {
  const before = await finished();
  await page.click(button);
  await page.waitForFunction(
    (n) => (window as unknown as { finished: number }).finished > n,
    before,
    { timeout: 240_000 }, // prettier-ignore
  );
  return sha256(
    Buffer.from(
      await page.evaluate(() => (document.getElementById('canvas') as HTMLCanvasElement).toDataURL()),
    ),
  );
}

/** The error that the page shows, and whether it offers to try again. */
async function refusal(code: string): Promise<{ text: string; retry: boolean }> {
  await page.locator(`#message[data-code="${code}"]:visible`).waitFor({ timeout: 30_000 });
  expect(await page.textContent('#status')).toBe('');
  return { text: (await page.textContent('#message-text'))!, retry: await page.isVisible('#retry') };
}

async function paste(address: string, { enter = false } = {}): Promise<void> {
  await page.fill('#src', address);
  if (enter) await page.press('#src', 'Enter');
  else await page.click('#src-look');
}
const status = async (text: RegExp): Promise<void> =>
  page.locator('#status').filter({ hasText: text }).waitFor({ timeout: 30_000 });

const CORS = { 'access-control-allow-origin': '*' };
type Answers = Readonly<Record<string, Buffer | string | number>>;
/** A folder on the web, by path; what is not there is 404, a number is a status. */
async function serve(base: string, answers: Answers): Promise<void> {
  await page.route(`${base}**`, (route: Route) => {
    const { pathname, search } = new URL(route.request().url());
    const answer = answers[pathname.slice(new URL(base).pathname.length) + search] ?? 404;
    if (typeof answer === 'number') return route.fulfill({ status: answer, headers: CORS, body: 'no' });
    return route.fulfill({ headers: CORS, body: answer, contentType: 'application/octet-stream' });
  });
}
const HERE = 'https://models.example/mine/';
const whole: Answers = Object.fromEntries(FILES.map((path) => [path, bytesOf(path)]));
const manifest = JSON.stringify({ title: 'Mine', licence: 'MIT', files: PROMISES });

/** Drops what lies on this machine onto the page, as the system does. */
async function drop(path: string): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const data = { items: [], files: [path], dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
    await session.send('Input.dispatchDragEvent', { type, x: 200, y: 200, data });
  await session.detach();
}

describe('a folder of the disk', () => {
  it('is dropped, read and drawn with, without a request; pickles and pictures in it do not matter', async () => {
    const mine = join(folder, 'my digits');
    cpSync(DIGITS, mine, { recursive: true });
    writeFileSync(join(mine, 'unet/diffusion_pytorch_model.bin'), 'a pickle');
    await drop(mine);
    await status(/^my digits is open\.$/);
    expect(await page.textContent('#about')).toMatch(/^my digits · 1\.4 MB · about [\d.]+ MB of GPU memory/);
    expect(await draw()).toBe(shipped);
    expect(weighed).toEqual([]);
    expect(await page.textContent('#cached')).not.toContain('my digits'); // it is on the disk already
  });

  it('a flat one, chosen instead of dropped', async () => {
    const flat = join(folder, 'flat');
    mkdirSync(flat);
    for (const path of FILES) cpSync(join(DIGITS, path), join(flat, path.split('/').at(-1)!));
    await page.setInputFiles('#folder', flat);
    await status(/^flat is open\.$/);
    expect(await draw()).toBe(shipped);
  });

  it('one without a model, and one with a broken config: a sentence, and the model before stays', async () => {
    const none = join(folder, 'holiday');
    mkdirSync(none);
    writeFileSync(join(none, 'beach.txt'), 'sun');
    await drop(none);
    expect((await refusal('file-not-found')).text).toMatch(
      /no config\.json among the 1 files\. Drop a folder/,
    );
    const broken = join(folder, 'broken');
    cpSync(DIGITS, broken, { recursive: true });
    writeFileSync(join(broken, 'unet/config.json'), '{"_class_name": "UNet2DModel",');
    await drop(broken);
    expect((await refusal('unsupported-model')).text).toMatch(
      /config\.json of the folder broken is not JSON/,
    );
    const other = join(folder, 'other');
    cpSync(DIGITS, other, { recursive: true });
    writeFileSync(join(other, 'unet/config.json'), '{"_class_name": "UNet2DConditionModel"}');
    await drop(other);
    expect((await refusal('unsupported-model')).text).toMatch(/_class_name is "UNet2DConditionModel"/);
    expect(await page.textContent('#about')).toMatch(/^Digits/);
    expect(await page.isEnabled('#draw')).toBe(true);
  });
});

describe('an address', () => {
  it('of a folder: its size first, then a picture, then it is kept; deleted, it is downloaded again', async () => {
    await serve(HERE, { ...whole, 'manifest.json': manifest });
    await paste(HERE, { enter: true });
    await status(/^Mine: 1\.4 MB to download\. Draw starts the download\.$/);
    expect(weighed).toEqual([]);
    expect(await page.textContent('#about')).toMatch(
      /^Mine · 1\.4 MB · about [\d.]+ MB of GPU memory · MIT$/,
    );
    expect(await draw()).toBe(shipped);
    expect(weighed).toEqual([HERE + WEIGHTS]);
    const link = await page.inputValue('#link');

    // The link: nothing is asked of anyone before Look is pressed, and nothing is downloaded that is kept.
    await page.goto('about:blank');
    await page.goto(link);
    await status(/^This link names a model from elsewhere\./);
    await page.locator('#cached li').filter({ hasText: 'Mine' }).waitFor();
    expect(await page.textContent('#cached')).toMatch(/Mine, 1\.4 MB Delete/);
    await page.click('#src-look');
    await status(/^Mine/);
    expect(await page.textContent('#size')).toBe('');
    expect(await draw()).toBe(shipped);
    expect(weighed).toHaveLength(1);
    await page.screenshot({ path: `${OUTPUT}bring-model.png` });

    await page.click('#cached button[aria-label="Delete Mine"]');
    await expect.poll(() => page.textContent('#cached')).not.toContain('Mine');
    await page.goto('about:blank');
    await page.goto(link);
    await status(/^This link/);
    await page.click('#src-look');
    await status(/^Mine/);
    expect(await draw()).toBe(shipped);
    expect(weighed).toHaveLength(2);
  });

  it('of a folder without a manifest: a picture, and a notice that stays', async () => {
    await serve(HERE, whole);
    await paste(HERE);
    await status(/^mine\. Draw starts the download\.$/);
    expect(await draw()).toBe(shipped);
    expect(await page.textContent('#notice')).toMatch(
      /has no manifest\.json, so its files cannot be verified/,
    );
  });

  it('of a repository of Hugging Face, as the hub answers', async () => {
    const siblings = FILES.map((rfilename) => {
      const bytes = bytesOf(rfilename);
      return { rfilename, lfs: { sha256: sha256(bytes), size: bytes.length } };
    });
    const info = JSON.stringify({ sha: COMMIT, siblings, cardData: { license: 'apache-2.0' } });
    await serve('https://huggingface.co/', {
      'api/models/owner/name/revision/main?blobs=true': info,
      ...Object.fromEntries(FILES.map((path) => [`owner/name/resolve/${COMMIT}/${path}`, bytesOf(path)])),
    });
    await paste('huggingface:owner/name');
    await status(/^owner\/name: 1\.4 MB to download/);
    expect(await page.textContent('#notice')).toContain(`huggingface:owner/name@${COMMIT}`);
    expect(await page.textContent('#about')).toContain('apache-2.0');
    expect(await draw()).toBe(shipped);
  });

  it('where the browser keeps nothing: a picture, and a notice that stays', async () => {
    await serve(HERE, { ...whole, 'manifest.json': manifest });
    await page.evaluate(() => {
      CacheStorage.prototype.open = () => Promise.reject(new DOMException('refused', 'SecurityError'));
    });
    await paste(HERE);
    await status(/^Mine/);
    expect(await draw()).toBe(shipped);
    expect(await page.textContent('#notice')).toMatch(/keeps no data of this page/);
  });
});

describe('what cannot be had', () => {
  it('addresses that are none, and a repository that the hub does not show: the model before stays', async () => {
    await serve('https://huggingface.co/', { 'api/models/owner/nowhere/revision/main?blobs=true': 401 });
    await page.route('https://closed.example/**', (route) => route.abort());
    for (const [address, code, text] of [
      ['huggingface:celebahq', 'bad-option', /no address of a model\. Write huggingface:owner\/name/],
      ['google/ddpm-cifar10-32', 'bad-option', /Write huggingface:google\/ddpm-cifar10-32/],
      ['', 'bad-option', /An empty text is no address/],
      ['http://models.example/mine', 'download-failed', /over https only\. Use an address that begins with/],
      ['https://closed.example/mine', 'download-failed', /no connection came about, or the server lets no other page read it \(CORS\), 4 times\. Check the connection/],
      // As the hub answers for every name that it does not know.
      ['huggingface:owner/nowhere', 'download-failed', /^The model owner\/nowhere@main of huggingface\.co .* 401\. It does not exist or is not public/],
    ] as const) {
      await paste(address);
      expect(await refusal(code)).toEqual({ text: expect.stringMatching(text) as string, retry: code === 'download-failed' });
      expect(await page.isEnabled('#draw')).toBe(true);
      await page.evaluate(() => (document.getElementById('message')!.hidden = true));
    }
  }); // prettier-ignore

  it('503, when it is looked up and when it is downloaded; Try again goes on', async () => {
    await serve(HERE, { 'manifest.json': 503 });
    await paste(HERE);
    const { text, retry } = await refusal('download-failed');
    expect(text).toMatch(/could not be downloaded: the server answered 503, 4 times\. Try again later\.$/);
    expect(retry).toBe(true);
    await page.unrouteAll();
    await serve(HERE, { ...whole, 'manifest.json': manifest, [WEIGHTS]: 503 });
    await page.click('#retry');
    await status(/^Mine/);
    expect(await page.isVisible('#message')).toBe(false);
    await page.click('#draw');
    expect((await refusal('download-failed')).text).toContain(`${HERE}${WEIGHTS}`);
    await page.unrouteAll();
    await serve(HERE, { ...whole, 'manifest.json': manifest });
    expect(await draw('#retry')).toBe(shipped);
    expect(await page.isVisible('#message')).toBe(false);
  });

  it('a model too large for the adapter: what it needs and what there is, before its weights are asked for', async () => {
    const config = JSON.stringify({ ...CELEBAHQ_256, sample_size: 4096 });
    await serve(HERE, { 'config.json': config, 'diffusion_pytorch_model.safetensors': Buffer.alloc(16) });
    await paste(HERE);
    await status(/^mine/);
    expect(await page.textContent('#about')).toMatch(/about [\d,.]+ GB of GPU memory/);
    await page.click('#draw');
    const { text, retry } = await refusal('limits-too-small');
    expect(text).toMatch(/ needs [\d.]+ GiB .* (binds at most|are there).*\. Choose a smaller model/);
    expect(retry).toBe(false); // it would be the same
    expect(weighed).toEqual([]);
    await page.screenshot({ path: `${OUTPUT}bring-too-large.png` });
    await page.locator('input[name="model"][value="digits"]').check({ force: true });
    await page.locator('#about').filter({ hasText: 'Digits' }).waitFor();
    expect(await page.isVisible('#message')).toBe(false);
    expect(await page.isEnabled('#draw')).toBe(true);
  });
});

/** The built page in a real Chromium or Firefox, headed (under a virtual display), on a software adapter. */

import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium, firefox, type Browser, type Page } from 'playwright';
import { build, preview, type PreviewServer } from 'vite';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const OUTPUT = `${ROOT}tests/output/`;

/** From the shared notes on adapters: the flags with which compute, canvas and screenshots are all right. */
export const ARGS = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--ignore-gpu-blocklist',
  '--enable-unsafe-swiftshader',
  '--use-angle=swiftshader',
  '--enable-features=Vulkan',
  '--use-vulkan=swiftshader',
  '--disable-vulkan-surface',
  '--enable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Builds the site once and serves it. */
export async function serveSite(): Promise<{ url: string; server: PreviewServer }> {
  mkdirSync(OUTPUT, { recursive: true });
  const outDir = `${OUTPUT}site`;
  await build({ root: ROOT, logLevel: 'warn', build: { outDir, emptyOutDir: true } });
  const server = await preview({ root: ROOT, logLevel: 'warn', build: { outDir }, preview: { port: 0 } });
  return { url: server.resolvedUrls!.local[0]!, server };
}

export const BROWSERS = ['chromium', 'firefox'] as const;
export type BrowserName = (typeof BROWSERS)[number];

export interface LaunchOptions {
  readonly name?: BrowserName;
  /** Whether the visitor wants less motion. Chromium also takes it as an option of a page; Firefox only at the launch. */
  readonly reducedMotion?: boolean;
}

/** About one launch in six gives no adapter right after another browser was closed: three tries, then it fails. */
export async function launchBrowser(
  url: string,
  { name = 'chromium', reducedMotion = false }: LaunchOptions = {},
): Promise<Browser> {
  for (let attempt = 1; ; attempt++) {
    const browser = await (name === 'firefox' ? launchFirefox : launchChromium)(reducedMotion);
    const page = await browser.newPage();
    await page.goto(url);
    const found = await page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter()));
    await page.close();
    if (found) return browser;
    await browser.close();
    if (attempt === 3) throw new Error(`${name} finds no WebGPU adapter, in three launches.`);
  }
}

function launchChromium(reducedMotion: boolean): Promise<Browser> {
  const executablePath = process.env['CHROMIUM'];
  return chromium.launch({
    headless: false,
    args: reducedMotion ? [...ARGS, '--force-prefers-reduced-motion'] : ARGS,
    ...(executablePath ? { executablePath } : {}),
  });
}

/** A Firefox of the system, over WebDriver BiDi. On Linux its WebGPU is behind a preference. */
async function launchFirefox(reducedMotion: boolean): Promise<Browser> {
  const executablePath = process.env['FIREFOX'];
  if (!executablePath) throw new Error('No Firefox: name one in the variable FIREFOX.');
  const browser = await firefox.launch({
    channel: 'moz-firefox',
    headless: false,
    executablePath,
    firefoxUserPrefs: {
      'dom.webgpu.enabled': true,
      'gfx.webgpu.ignore-blocklist': true,
      'gfx.webrender.software': true,
      'ui.prefersReducedMotion': Number(reducedMotion),
    },
  });
  // Playwright emulates a colour scheme in each page by a command that this Firefox does not have yet.
  interface Session {
    send(method: string, params: unknown): Promise<unknown>;
  }
  interface Internals {
    readonly _connection: { toImpl(browser: unknown): { readonly _browserSession: Session } };
  }
  const session = (browser as unknown as Internals)._connection.toImpl(browser)._browserSession;
  const sessions = Object.getPrototypeOf(session) as Session & { softened?: boolean };
  if (!sessions.softened) {
    const { send } = sessions;
    sessions.softened = true;
    sessions.send = function (method, params) {
      const sent = send.call(this, method, params);
      return method === 'emulation.setMediaFeaturesOverride' ? sent.catch(() => ({})) : sent;
    };
  }
  return browser;
}

/** Records what the canvas shows at every step, in `window.frames`, and errors of the page. */
export async function openPage(
  browser: Browser,
  url: string,
  options = {},
): Promise<{ page: Page; errors: string[] }> {
  const page = await browser.newPage(options);
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (line) => {
    if (line.type() === 'error') errors.push(line.text());
  });
  await page.addInitScript(() => {
    const store = window as unknown as { frames: string[] };
    store.frames = [];
    document.addEventListener('step', (event) =>
      store.frames.push((event.target as HTMLCanvasElement).toDataURL()),
    );
  });
  await page.goto(url);
  return { page, errors };
}

export const frames = (page: Page): Promise<string[]> =>
  page.evaluate(() => (window as unknown as { frames: string[] }).frames);

/** Red of the pixels of a picture, row-major. */
export const pixels = (
  page: Page,
  dataUrl: string,
): Promise<{ width: number; height: number; data: number[] }> =>
  page.evaluate(async (source) => {
    const bitmap = await createImageBitmap(await (await fetch(source)).blob());
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext('2d')!;
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
    return {
      width: bitmap.width,
      height: bitmap.height,
      data: Array.from(data.filter((_, i) => i % 4 === 0)),
    };
  }, dataUrl);

/** A tab of a real Chromium for the bench: its own GPU where it has one, else SwiftShader; no network. */

import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium, type Browser, type Page } from 'playwright';
import { build } from 'vite';
import { ARGS } from '../browser/browser.ts';
import type { AdapterFigures } from './adapter.ts';
import type { Outcome, Spec } from './job.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const OUT = `${ROOT}tests/output/bench`;
/** What the page may read, by the first part of the path. */
const FOLDERS: Readonly<Record<string, string>> = {
  '/bench/': `${OUT}/`,
  '/ort/': `${ROOT}tests/bench/node_modules/onnxruntime-web/dist/`,
  '/files/shared/': `${ROOT}../shared/`,
  '/files/weights/': `${ROOT}weights/`,
};
const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
};
/** Isolated: clocks of 5 us instead of 100, and threads for ONNX Runtime. */
const ISOLATED = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};
/** A browser with a GPU needs no more than this (Linux: WebGPU is behind the first two). */
const GPU_ARGS = [
  '--enable-unsafe-webgpu',
  '--enable-features=Vulkan',
  '--ignore-gpu-blocklist',
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

function serve(): Promise<Server> {
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url!, 'http://x').pathname));
    if (path === '/') {
      response.writeHead(200, { 'Content-Type': 'text/html', ...ISOLATED });
      response.end('<!doctype html><title>bench</title>');
      return;
    }
    const prefix = Object.keys(FOLDERS).find((p) => path.startsWith(p));
    const file = prefix && FOLDERS[prefix]! + path.slice(prefix.length);
    if (!file || !existsSync(file) || !statSync(file).isFile()) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, {
      'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
      'Content-Length': statSync(file).size,
      ...ISOLATED,
    });
    createReadStream(file).pipe(response);
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

export interface Tab {
  readonly version: string;
  /** Runs in a page of its own; the same for all engines of the comparison. */
  run(spec: Spec): Promise<Outcome | null>;
  adapter(): Promise<AdapterFigures>;
  close(): Promise<void>;
}

export async function openTab(log: (line: string) => void): Promise<Tab> {
  await build({
    root: ROOT,
    configFile: false,
    logLevel: 'error',
    base: '/bench/',
    build: {
      outDir: OUT,
      emptyOutDir: true,
      target: 'esnext',
      rollupOptions: {
        input: `${ROOT}tests/bench/page.ts`,
        preserveEntrySignatures: 'strict',
        output: { entryFileNames: 'page.js' },
      },
    },
  });
  const server = await serve();
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const executablePath = process.env['CHROMIUM'];
  const launch = (args: string[]) =>
    chromium.launch({ headless: false, args, ...(executablePath ? { executablePath } : {}) });
  /** 'gpu', 'software' or null. */
  const adapterOf = async (browser: Browser): Promise<string | null> => {
    const page = await browser.newPage();
    await page.goto(url);
    const found = await page.evaluate(async () => {
      const info = (await navigator.gpu?.requestAdapter())?.info;
      if (!info) return null;
      return info.isFallbackAdapter ||
        /swiftshader|llvmpipe/i.test(`${info.architecture} ${info.description}`)
        ? 'software'
        : 'gpu';
    });
    await page.close();
    return found;
  };
  let browser = await launch(GPU_ARGS);
  if ((await adapterOf(browser)) !== 'gpu') {
    // About one launch in six gives no adapter right after another browser was closed.
    for (let attempt = 1; ; attempt++) {
      await browser.close();
      browser = await launch(ARGS);
      if (await adapterOf(browser)) break;
      if (attempt === 3) {
        await browser.close();
        server.close();
        throw new Error('Chromium finds no WebGPU adapter, in three launches.');
      }
    }
  }
  const inPage = async <R>(call: string): Promise<R> => {
    const page: Page = await browser.newPage();
    page.on('console', (line) => {
      if (line.type() === 'log') log(line.text());
      if (line.type() === 'error') log(`  [console] ${line.text().slice(0, 300)}`);
    });
    try {
      await page.goto(url);
      return await page.evaluate<R>(`import('/bench/page.js').then(({ bench }) => bench.${call})`);
    } finally {
      await page.close();
    }
  };
  return {
    version: browser.version(),
    run: (spec) => inPage(`run(${JSON.stringify(spec)})`),
    adapter: () => inPage('adapter()'),
    async close() {
      await browser.close();
      server.close();
    },
  };
}

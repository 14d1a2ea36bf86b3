/** The network and the noise in each browser itself, against PyTorch and against the CPU. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright';
import { createServer, type ViteDevServer } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { normals, STREAM_X_T } from '../../src/schedule/noise.ts';
import { readSafetensors, toFloat32, toIntegers } from '../../src/engine/formats/safetensors.ts';
import { expectClose, expectEqual } from '../helpers/array.ts';
import { BROWSERS, launchBrowser } from './browser.ts';
import type { Inside, PredictInput } from './inside.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

let server: ViteDevServer;
let url: string;

beforeAll(async () => {
  server = await createServer({ root: ROOT, configFile: false, logLevel: 'error', server: { port: 0 } });
  await server.listen();
  url = `${server.resolvedUrls!.local[0]!}weights/models.json`; // any page of this origin
});
afterAll(() => server?.close());

describe.each(BROWSERS)('in %s', (name) => {
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    browser = await launchBrowser(url, { name });
    page = await browser.newPage();
    await page.goto(url);
  });
  afterAll(() => browser?.close());

  /** Calls a function of inside.ts in the page. (As text: the test runner would rewrite an import.) */
  function call<K extends keyof Inside>(name: K, ...args: Parameters<Inside[K]>): Promise<number[]> {
    return page.evaluate<number[]>(
      `import('/tests/browser/inside.ts').then(({ inside }) => inside.${name}(...${JSON.stringify(args)}))`,
    );
  }

  it.each([
    ['tests/fixtures/unets/attention', 'tests/fixtures/unets/attention.safetensors'],
    ['tests/fixtures/unets/heads', 'tests/fixtures/unets/heads.safetensors'],
    ['tests/fixtures/unets/odd', 'tests/fixtures/unets/odd.safetensors'],
    ['weights/digits', 'tests/fixtures/digits/eps.safetensors'],
  ])('%s: within 2e-4 of PyTorch at five timesteps', async (folder, golden) => {
    const tensors = readSafetensors(readFileSync(ROOT + golden), golden);
    const labels = tensors.get('class_labels');
    const input: PredictInput = {
      folder,
      shape: tensors.get('sample')!.shape,
      sample: [...toFloat32(tensors.get('sample')!)],
      timestep: [...toFloat32(tensors.get('timestep')!)],
      labels: labels ? toIntegers(labels) : null,
    };
    expect(input.timestep).toHaveLength(5);
    const eps = await call('predict', input);
    expectClose(eps, toFloat32(tensors.get('eps')!), { atol: 2e-4, rtol: 0 }, 'eps');
  });

  it('the noise that a run starts from is the CPU’s, bit for bit', async () => {
    const x = await call('noise', 'weights/digits', 7);
    expectEqual(x, [...normals(7, STREAM_X_T, 0, 1024), ...normals(8, STREAM_X_T, 0, 1024)]);
  });
});

/** Every WGSL text that the engine makes for a device without subgroup operations compiles in Firefox, under naga. */

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFileSync } from 'node:fs';
import type { Browser, Page } from 'playwright';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { conditionsOf, engineTexts, FILES, type EngineTexts, type Text } from '../helpers/engine_texts.ts';
import { launchBrowser } from './browser.ts';

const DISPLAY = readFileSync(new URL('../../shaders/display.wgsl', import.meta.url), 'utf8');
const server = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<p>'));

let made: EngineTexts;
let browser: Browser;
let page: Page;

beforeAll(async () => {
  made = await engineTexts();
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  const url = `http://localhost:${(server.address() as AddressInfo).port}/`;
  browser = await launchBrowser(url, { name: 'firefox' });
  page = await browser.newPage();
  await page.goto(url);
});
afterAll(async () => {
  await browser?.close();
  server.close();
});

/** What the browser says against each text, as a compute pipeline; nothing for one that it takes. */
const refusals = (texts: readonly Text[]): Promise<string[]> =>
  page.evaluate(async (texts) => {
    const adapter = (await navigator.gpu.requestAdapter())!;
    const device = await adapter.requestDevice({ requiredFeatures: ['shader-f16'] });
    const complaints: string[] = [];
    for (const { name, code, constants } of texts) {
      device.pushErrorScope('validation');
      const module = device.createShaderModule({ code });
      const { messages } = await module.getCompilationInfo();
      const errors = messages.filter((m) => m.type === 'error').map((m) => `line ${m.lineNum}: ${m.message}`);
      try {
        await device.createComputePipelineAsync({ layout: 'auto', compute: { module, constants } });
      } catch (error) {
        errors.push(String(error));
      }
      const error = await device.popErrorScope();
      if (error) errors.push(error.message);
      if (errors.length > 0) complaints.push(`${name}: ${errors.join('; ')}`);
    }
    device.destroy();
    return complaints;
  }, texts);

it('the texts are those of every shader, with each of its conditions met and not met', () => {
  expect(FILES.map(([name]) => name).filter((name) => !made.files.has(name))).toEqual([]);
  const branches = FILES.flatMap(([file, text]) =>
    conditionsOf(text)
      .filter((name) => name !== 'QUADS') // of the device
      .flatMap((name) => [`${file} ${name}=true`, `${file} ${name}=false`]),
  );
  expect(branches.filter((branch) => !made.branches.has(branch))).toEqual([]);
  const used = made.texts.filter(({ code }) => /\bquad[A-Z]|\bsubgroup/.test(code.replace(/\/\/.*/g, '')));
  expect(used.map(({ name }) => name)).toEqual([]);
});

it('each compiles', async () => {
  expect(await refusals(made.texts)).toEqual([]);
});

it('what draws a canvas compiles', async () => {
  const complaint = await page.evaluate(async (code) => {
    const device = await (await navigator.gpu.requestAdapter())!.requestDevice();
    const module = device.createShaderModule({ code });
    const targets = [{ format: navigator.gpu.getPreferredCanvasFormat() }];
    return device
      .createRenderPipelineAsync({
        layout: 'auto',
        vertex: { module, entryPoint: 'cover' },
        fragment: { module, entryPoint: 'paint', targets },
      })
      .then(() => '', String);
  }, DISPLAY);
  expect(complaint).toBe('');
});

it('a text that Chromium takes and naga does not is refused', async () => {
  const text = made.texts.find(({ code }) => !code.startsWith('enable'))!;
  const fault = 'fn first(p: ptr<storage, array<T>>) -> T { return (*p)[0]; }';
  const refused = await refusals([{ ...text, code: `${text.code}\n${fault}` }]);
  expect(refused).toHaveLength(1);
  expect(refused[0]).toMatch(/space Storage/);
});

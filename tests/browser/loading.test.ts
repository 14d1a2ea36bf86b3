/** Models from the web in Chromium itself: whatever goes wrong, nothing bad is kept, and the end is a model or a typed error. */

import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import type { Browser, Page } from 'playwright';
import { createServer, type ViteDevServer } from 'vite';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { contents, drop, FILES, flipped, POINTER, PROMISES, range, serveModel, status, text, WEIGHTS, whole, type Answer, type ModelServer } from '../helpers/model_server.ts'; // prettier-ignore
import { launchBrowser } from './browser.ts';
import type { LoadingInside, Outcome } from './loading_inside.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BYTES = contents.get(WEIGHTS)!;
const TOTAL = PROMISES.reduce((sum, { bytes }) => sum + bytes, 0);
const half = BYTES.length >> 1;

let vite: ViteDevServer;
let server: ModelServer;
let browser: Browser;
let page: Page;
let home: string;

beforeAll(async () => {
  server = await serveModel();
  vite = await createServer({ root: ROOT, configFile: false, logLevel: 'error', server: { port: 0 } });
  await vite.listen();
  home = `${vite.resolvedUrls!.local[0]!}weights/models.json`; // any page of this origin
  browser = await launchBrowser(home);
  page = await browser.newPage();
  await page.goto(home);
});
afterAll(async () => {
  await browser?.close();
  await vite?.close();
  server?.close();
});

/** Calls a function of loading_inside.ts in the page. (As text: the test runner would rewrite an import.) */
function call<K extends keyof LoadingInside>(
  name: K,
  ...args: Parameters<LoadingInside[K]>
): Promise<Awaited<ReturnType<LoadingInside[K]>>> {
  return page.evaluate(
    `import('/tests/browser/loading_inside.ts').then(({ inside }) => inside.${name}(...${JSON.stringify(args)}))`,
  );
}
const load = (...options: Parameters<LoadingInside['load']> extends [string, ...infer O] ? O : never) =>
  call('load', server.url, ...options);

const loaded = (outcome: Outcome) => {
  expect(outcome).toMatchObject({ code: null, message: '', progress: [TOTAL, TOTAL] });
  expect(outcome.parameters).toBeGreaterThan(1000);
};

beforeEach(async () => {
  server.answers = [];
  await call('deleteCached');
  server.requests.length = 0;
});
afterEach(async () => {
  expect((await call('stored')).bad).toEqual([]); // whatever happened
});

it('a first visit downloads and draws; the next one needs no network; then it is deleted', async () => {
  const first = await load({ draw: true });
  loaded(first);
  expect(first).toMatchObject({ steps: 1, notices: [] });
  expect(await call('stored')).toEqual({ entries: FILES.length, bad: [] });
  await page.goto(home);
  loaded(await load());
  expect(server.requests).toHaveLength(1);
  expect(await call('cachedModels')).toMatchObject([{ title: 'Odd', bytes: TOTAL, key: expect.stringMatching(/^[0-9a-f]{64}$/) as string }]);
  await call('deleteCached', (await call('cachedModels'))[0]!.key);
  expect(await call('cachedModels')).toEqual([]);
  expect(await call('stored')).toEqual({ entries: 0, bad: [] });
  loaded(await load());
  expect(server.requests).toHaveLength(2);
}); // prettier-ignore

describe('a connection that breaks', () => {
  it.each([0, 1, half, BYTES.length - 1])('after %i bytes, once and always', async (after) => {
    server.answers = [drop(after), whole];
    loaded(await load());
    await call('deleteCached');
    server.answers = [drop(after)];
    expect(await load()).toMatchObject({ code: 'download-failed', message: expect.stringMatching(/4 times/) as string });
    expect((await call('stored')).entries).toBe(1); // the config, which came whole
  }); // prettier-ignore

  it('goes on where it stopped, where the server serves ranges', async () => {
    server.answers = [drop(half, { 'Accept-Ranges': 'bytes', ETag: '"a"' }), range('"a"')];
    loaded(await load());
    expect(server.requests[1]).toMatch(/^bytes=\d+-$/);
    await call('deleteCached');
    server.requests.length = 0;
    server.answers = [drop(half, { 'Accept-Ranges': 'bytes', ETag: '"a"' }), range('"b"'), range('"b"')];
    loaded(await load());
    expect(server.requests[2]).toBe(''); // another file: from the start
  });
});

describe('a wrong answer', () => {
  const zipped = (length: number): Answer => (_, response, bytes) => {
    const body = gzipSync(bytes);
    response.writeHead(200, { 'Content-Encoding': 'gzip', 'Content-Length': length || body.length }).end(body);
  }; // prettier-ignore

  it.each<[string, Answer, string]>([
    ['HTML with status 200', text('<!doctype html><p>Sign in', 'text/html'), 'integrity-failed'],
    ['a Git LFS pointer', text(POINTER, 'text/plain'), 'integrity-failed'],
    ['a wrong hash', flipped, 'integrity-failed'],
    ['403', status(403), 'download-failed'],
    ['429', status(429), 'download-failed'],
    ['503', status(503), 'download-failed'],
    ['404', status(404), 'file-not-found'],
    ['gzip with the length of the file', zipped(BYTES.length), 'download-failed'],
    ['gzip with a length too short', zipped(100), 'integrity-failed'],
  ])('%s', async (_, answer, code) => {
    server.answers = [answer];
    expect(await load()).toMatchObject({ code });
    expect((await call('stored')).entries).toBe(1);
    server.answers = [];
    loaded(await load());
  });

  it('once only: 429, 503, a wrong hash', async () => {
    for (const answer of [status(429, { 'Retry-After': '1' }), status(503), flipped]) {
      await call('deleteCached');
      server.answers = [answer, whole];
      loaded(await load());
    }
  });

  it('gzip as it should be', async () => {
    server.answers = [zipped(0)];
    loaded(await load());
  });

  it('a folder without a manifest is used and not kept; a web page in its place is no model', async () => {
    const bare = server.url.replace('/model/', '/model/none/');
    expect(await call('load', bare)).toMatchObject({ code: 'file-not-found', notices: ['unverified'] });
    expect((await call('stored')).entries).toBe(0);
  });
});

describe('storage', () => {
  it.each(['flip', 'cut'] as const)(
    'a poisoned entry (%s) is found, deleted and fetched once more',
    async (how) => {
      loaded(await load());
      expect(await call('poison', how)).toBe(FILES.length);
      loaded(await load());
      expect(server.requests).toHaveLength(2);
      expect(await call('stored')).toEqual({ entries: FILES.length, bad: [] });
      await call('poison', how);
      server.answers = [flipped]; // and now the server is wrong as well
      expect(await load()).toMatchObject({ code: 'integrity-failed' });
      expect((await call('stored')).entries).toBe(1);
    },
  );

  it('a full disk: the model runs, with a notice', async () => {
    const session = await page.context().newCDPSession(page);
    const origin = new URL(home).origin;
    await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 20_000 });
    const outcome = await load();
    await session.send('Storage.overrideQuotaForOrigin', { origin });
    loaded(outcome);
    expect(outcome.notices).toEqual(['storage-full']);
  });

  it.each(['SecurityError', 'none'] as const)('refused (%s): the model runs, with a notice', async (name) => {
    await call('refuse', name);
    const outcome = await load();
    expect(await call('cachedModels')).toEqual([]);
    await call('refuse');
    loaded(outcome);
    expect(outcome.notices).toEqual(['storage-refused']);
    expect(await call('stored')).toEqual({ entries: 0, bad: [] });
  });
});

it('abort at every phase: the error says so, and the next load works', async () => {
  const slow: Answer = (_, response, bytes) => {
    response.writeHead(200, { 'Content-Length': bytes.length });
    const piece = Math.ceil(bytes.length / 8);
    for (let i = 0; i < 8; i++)
      setTimeout(() => {
        response.write(bytes.subarray(i * piece, (i + 1) * piece));
        if (i === 7) response.end();
      }, i * 15);
  };
  const silent: Answer = () => {};
  const config = PROMISES[0]!.bytes;
  const cases: [string, Answer, { ms?: number; received?: number }, boolean][] = [
    ['before anything', whole, { ms: 0 }, false],
    ['with the config', whole, { received: config }, true],
    ['before the answer', silent, { ms: 150 }, true],
    ['with the first bytes', slow, { received: config + 1 }, true],
    ['amid the bytes', slow, { received: config + half }, true],
    ['with the last byte: hashing, storing and uploading follow', whole, { received: TOTAL }, true],
    ['amid the back-off', status(503, { 'Retry-After': '2' }), { ms: 150 }, true],
    ...[5, 20, 40, 60, 90, 120, 160, 200].map((ms): [string, Answer, { ms: number }, boolean] => [`after ${ms} ms`, slow, { ms }, false]),
  ]; // prettier-ignore
  for (const [name, answer, abort, sure] of cases) {
    await call('deleteCached');
    server.answers = [answer];
    const { code } = await load({ abort });
    if (sure) expect(code, name).toBe('aborted');
    else expect([null, 'aborted'], name).toContain(code);
    expect((await call('stored')).bad, name).toEqual([]);
    server.answers = [];
    loaded(await load());
  }
});

it('two at the same time: one download', async () => {
  server.answers = [(_, response, bytes) => void setTimeout(() => response.end(bytes), 300)];
  const both = await Promise.all([load(), load()]);
  both.forEach(loaded);
  expect(server.requests).toHaveLength(1);
});

/** What can go wrong on the way, against a server on this machine: every case ends in the right bytes or a typed error. */

import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { allowed, download } from '../../src/loading/download.ts';
import { isModelFile } from '../../src/engine/formats/files.ts';
import { wantedFiles } from '../../src/engine/formats/load.ts';
import { openSource } from '../../src/loading/source.ts';
import { contents, drop, flipped, POINTER, PROMISES, range, serveModel, status, text, WEIGHTS, whole, type Answer, type ModelServer } from '../helpers/model_server.ts'; // prettier-ignore

const BYTES = contents.get(WEIGHTS)!;
const promise = PROMISES[1]!;
const half = BYTES.length >> 1;
let server: ModelServer;
beforeAll(async () => void (server = await serveModel()));
afterAll(() => server.close());
beforeEach(() => {
  server.answers = [];
  server.requests.length = 0;
});

const timing = { backOff: 2, stall: 300, patience: 1500 };
const get = (options: Partial<Parameters<typeof download>[1]> = {}) =>
  download(new URL(WEIGHTS, server.url), { label: 'the weights', promise, timing, ...options });
const right = (bytes: Uint8Array | null) => expect(BYTES.equals(bytes!)).toBe(true);
const fails = async (code: string, what: RegExp, options = {}) => {
  const error: unknown = await get(options).then(
    () => null,
    (e: unknown) => e,
  );
  expect(error).toMatchObject({ code, what: expect.stringMatching(what) as string });
};

const zipped = (length?: number): Answer => (_, response, bytes) => {
  const body = gzipSync(bytes);
  const headers = { 'Content-Encoding': 'gzip', ...(length === undefined ? {} : { 'Content-Length': length || body.length }) };
  response.writeHead(200, headers).end(body);
}; // prettier-ignore

describe('a connection that breaks', () => {
  it.each([0, 1, half, BYTES.length - 1])('after %i bytes, once: the file comes', async (after) => {
    server.answers = [drop(after), whole];
    right(await get());
    expect(server.requests).toEqual(['', '']);
  });

  it.each([0, 1, half, BYTES.length - 1])('after %i bytes, always: four attempts, then an error', async (after) => {
    server.answers = [drop(after)];
    await fails('download-failed', /4 times/);
    expect(server.requests).toHaveLength(4);
  });

  it('goes on where it stopped, on a server with ranges and the same ETag', async () => {
    server.answers = [drop(half, { 'Accept-Ranges': 'bytes', ETag: '"a"' }), range('"a"')];
    const seen: number[] = [];
    right(await get({ onProgress: (received, total) => (seen.push(received), expect(total).toBe(BYTES.length)) }));
    expect(server.requests).toEqual(['', `bytes=${half}-`]);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b)); // never back
    expect(seen.at(-1)).toBe(BYTES.length);
  });

  it('starts again when the ETag is another, or weak, or ranges are not served', async () => {
    server.answers = [drop(half, { 'Accept-Ranges': 'bytes', ETag: '"a"' }), range('"b"'), range('"b"')];
    right(await get());
    expect(server.requests).toEqual(['', `bytes=${half}-`, '']);
    for (const headers of [{ 'Accept-Ranges': 'bytes', ETag: 'W/"a"' }, { ETag: '"a"' }, { 'Accept-Ranges': 'bytes' }]) {
      server.requests.length = 0;
      server.answers = [drop(half, headers as Record<string, string>), range('"a"')];
      right(await get());
      expect(server.requests).toEqual(['', '']);
    }
  });

  it('a server that answers a range with the whole file, or with 416', async () => {
    const first = drop(half, { 'Accept-Ranges': 'bytes', ETag: '"a"' });
    server.answers = [first, whole];
    right(await get());
    server.answers = [first, status(416), whole];
    right(await get());
  });

  it('a server that falls silent', async () => {
    server.answers = [(_, response, bytes) => void response.writeHead(200).write(bytes.subarray(0, 10)), whole];
    right(await get());
    server.answers = [() => {}];
    await fails('download-failed', /fell silent, 4 times/);
  });

  it('no server', async () => {
    await expect(download(new URL('http://127.0.0.1:9/x.json'), { label: 'x', timing })).rejects.toMatchObject({ code: 'download-failed', what: 'x could not be downloaded: no connection came about, 4 times.' });
  });
}); // prettier-ignore

describe('answers that are none', () => {
  it.each([429, 503, 500, 502, 408])('%i once, then the file', async (code) => {
    server.answers = [status(code), whole];
    right(await get());
  });

  it.each([429, 503])('%i always', async (code) => {
    server.answers = [status(code)];
    await fails('download-failed', new RegExp(`answered ${code}, 4 times`));
  });

  it('Retry-After is honoured, unless it asks for too much', async () => {
    server.answers = [status(429, { 'Retry-After': '1' }), whole];
    const began = performance.now();
    right(await get());
    expect(performance.now() - began).toBeGreaterThan(950);
    server.answers = [status(503, { 'Retry-After': '3600' })];
    server.requests.length = 0;
    await fails('download-failed', /answered 503/);
    expect(server.requests).toHaveLength(1);
  });

  it.each([401, 403])('%i is not tried again', async (code) => {
    server.answers = [status(code)];
    await fails('download-failed', new RegExp(`answered ${code}`));
    expect(server.requests).toHaveLength(1);
  });

  it('404: promised, an error; else null', async () => {
    server.answers = [status(404)];
    await fails('file-not-found', /promised/);
    expect(await get({ promise: null })).toBe(null);
  });
});

describe('bytes that are not the promised ones are fetched once more, and never given out', () => {
  it.each([
    ['a web page', text('<!doctype html><p>Sign in', 'text/html; charset=utf-8'), /web page/],
    ['a web page without its type', text('\n<html>', 'application/octet-stream'), /web page/],
    ['a Git LFS pointer', text(POINTER, 'text/plain'), /Git LFS pointer/],
    ['one bit', flipped, /hash/],
    ['too few', text('abc', 'application/octet-stream'), /3 bytes/],
    ['too many', ((_, response, bytes) => void response.end(Buffer.concat([bytes, bytes]))) as Answer, /more than/],
    ['nothing', text('', 'application/octet-stream'), /0 bytes/],
  ] as [string, Answer, RegExp][])('%s', async (_, answer, what) => {
    server.answers = [answer];
    await fails('integrity-failed', what);
    expect(server.requests).toHaveLength(2);
    server.answers = [answer, whole];
    right(await get());
  });

  it('without a promise, a web page counts as missing and a pointer is named', async () => {
    server.answers = [text('<!doctype html>', 'text/html')];
    expect(await get({ promise: null })).toBe(null);
    server.answers = [text(POINTER, 'text/plain')];
    await fails('integrity-failed', /pointer/, { promise: null });
  });
});

describe('gzip', () => {
  it.each([undefined, 0])('as it should be (length %s)', async (length) => {
    server.answers = [zipped(length)];
    right(await get());
    right(await get({ promise: null }));
  });

  it('with the length of the file instead of the body', async () => {
    server.answers = [zipped(BYTES.length)];
    await fails('download-failed', /times/);
  });
});

describe('abort', () => {
  it.each<[string, Answer[], number]>([
    ['before the answer', [() => {}], 50],
    ['amid the body', [(_, response, bytes) => void response.writeHead(200).write(bytes.subarray(0, 10))], 50],
    ['amid the back-off', [status(503, { 'Retry-After': '1' })], 50],
    ['before it starts', [whole], -1],
  ])('%s', async (_, answers, after) => {
    server.answers = answers;
    const abort = new AbortController();
    if (after < 0) abort.abort();
    else setTimeout(() => abort.abort(), after);
    const began = performance.now();
    await expect(get({ signal: abort.signal, timing: {} })).rejects.toMatchObject({ code: 'aborted' });
    expect(performance.now() - began).toBeLessThan(600);
  });

  it('of one user does not disturb another, and there is one download', async () => {
    server.answers = [(_, response, bytes) => void setTimeout(() => response.end(bytes), 200)];
    const [first, second] = await Promise.all([openSource(server.url), openSource(server.url)]);
    const abort = new AbortController();
    const reads = [first.files.read(WEIGHTS, abort.signal), second.files.read(WEIGHTS)] as const;
    setTimeout(() => abort.abort(), 50);
    await expect(reads[0]).rejects.toMatchObject({ code: 'aborted' });
    right(await reads[1]);
    expect(server.requests).toHaveLength(1);
  });

  it('of all users ends the download', async () => {
    let closed = false;
    server.answers = [(request) => void request.on('close', () => (closed = true))];
    const source = await openSource(server.url);
    const abort = new AbortController();
    const reads = [source.files.read(WEIGHTS, abort.signal), source.files.read(WEIGHTS, abort.signal)];
    setTimeout(() => abort.abort(), 50);
    for (const read of reads) await expect(read).rejects.toMatchObject({ code: 'aborted' });
    await expect.poll(() => closed).toBe(true);
    server.answers = [whole];
    right(await source.files.read(WEIGHTS));
  });
});

describe('what is never asked for', () => {
  it.each(['a.bin', 'a.pt', 'a.ckpt', 'model.py', '../a.json', 'a/../../b.json', '/etc/x.json', 'a//b.json', 'https://x.json', './a.json', 'a\\b.json', '%2e%2e/a.json'])('%s', (path) => {
    expect(isModelFile(path)).toBe(false);
  });

  it('http, unless it is this machine', () => {
    for (const good of ['https://a.org/x', 'http://localhost:1/x', 'http://127.0.0.1/x', 'http://[::1]/x']) allowed(new URL(good), 'x');
    for (const bad of ['http://a.org/x', 'ftp://a.org/x', 'file:///x', 'http://localhost.evil.org/x', 'http://127.evil.org/x'])
      expect(() => allowed(new URL(bad), 'x')).toThrow(/https only/);
  });

  it.each(['', 'google/ddpm-cifar10-32', 'javascript:alert(1)', 'ftp://a.org/model', 'huggingface:', 'huggingface:a', 'huggingface:../x', 'huggingface:a/b@../c', 'huggingface:a/b/c'])('the source %j', async (source) => {
    await expect(openSource(source)).rejects.toMatchObject({ code: 'bad-option' });
  });

  it('of a listing, what a model needs', () => {
    const w = 'diffusion_pytorch_model';
    expect(wantedFiles(['README.md', 'unet/config.json', `unet/${w}.bin`, `unet/${w}.safetensors`, `unet/${w}.fp16.safetensors`, 'vae/config.json', 'scheduler/scheduler_config.json'])).toEqual(['unet/config.json', 'scheduler/scheduler_config.json', `unet/${w}.safetensors`]);
    expect(wantedFiles(['config.json', `${w}.fp16.safetensors`, 'scheduler_config.json'])).toEqual(['config.json', 'scheduler_config.json', `${w}.fp16.safetensors`]);
    const shards = [`${w}-00001-of-00002.safetensors`, `${w}-00002-of-00002.safetensors`];
    expect(wantedFiles(['config.json', ...shards, `${w}.safetensors.index.json`])).toEqual(['config.json', `${w}.safetensors.index.json`, ...shards]);
  });
}); // prettier-ignore

describe('files from a disk', () => {
  const file = (path: string, bytes: Buffer) => {
    const made = new File([new Uint8Array(bytes)], path.split('/').at(-1)!);
    Object.defineProperty(made, 'webkitRelativePath', { value: path.includes('/') ? path : '' });
    return made;
  };
  const [config, weights] = [contents.get('unet/config.json')!, BYTES];
  const bare = WEIGHTS.slice(5);

  it.each([
    ['a folder', [file('odd/unet/config.json', config), file(`odd/${WEIGHTS}`, weights), file('odd/README.md', config)], 'unet/'],
    ['its files', [file('config.json', config), file(bare, weights)], ''],
    ['a folder with others beside', [file('odd/vae/config.json', Buffer.from('{}')), file('odd/unet/config.json', config), file(`odd/${WEIGHTS}`, weights)], 'unet/'],
  ])('%s', async (_, files, folder) => {
    const source = await openSource(files);
    expect(source).toMatchObject({ verified: true, bytes: config.length + weights.length });
    right(await source.files.read(`${folder}${bare}`));
    expect(await source.files.read('README.md')).toBe(null);
    const again = await openSource(files);
    expect(again.key).toBe(source.key);
  });

  it('without a config', async () => {
    await expect(openSource([file('a/model.bin', weights)])).rejects.toMatchObject({ code: 'file-not-found' });
    await expect(openSource([])).rejects.toMatchObject({ code: 'file-not-found' });
  });
}); // prettier-ignore

/** Sources of models, against a server on this machine. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { openSource, type Notice } from '../../src/loading/source.ts';

const ROOT = new URL('../../', import.meta.url);
const FIXTURE = 'tests/fixtures/unets/odd/';
const read = (path: string) => readFileSync(new URL(path, ROOT));
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const gitBlob = (bytes: Uint8Array) => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

type Answer = (request: IncomingMessage, response: ServerResponse) => void;
let server: Server;
let origin: URL;
/** By path; what is not here is 404. */
let routes: Record<string, Buffer | string | Answer> = {};
let log: string[] = [];
beforeAll(async () => {
  server = createServer((request, response) => {
    const path = decodeURI(request.url!);
    log.push(path);
    const answer = routes[path];
    if (answer === undefined) response.writeHead(404).end();
    else if (typeof answer === 'function') answer(request, response);
    else response.end(answer);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
});
afterAll(() => void server.close());
beforeEach(() => ((routes = {}), (log = [])));

const FILES = ['unet/config.json', 'unet/diffusion_pytorch_model.safetensors'];
const put = (folder: string) => FILES.forEach((path) => (routes[`${folder}${path}`] = read(`${FIXTURE}${path}`)));
const manifest = () => ({
  title: 'Odd',
  licence: 'MIT',
  files: FILES.map((path) => ({ path, bytes: read(FIXTURE + path).length, sha256: sha256(read(FIXTURE + path)) })),
});
const same = (bytes: Uint8Array | null, wanted: Buffer) => expect(wanted.equals(bytes!)).toBe(true);
const timing = { backOff: 1, stall: 500, patience: 100 };

it('a bundled model, with progress to the last byte', async () => {
  routes['/weights/models.json'] = read('weights/models.json');
  for (const path of ['unet/config.json', 'unet/diffusion_pytorch_model.safetensors', 'labels.json', 'scheduler/scheduler_config.json'])
    routes[`/weights/digits/${path}`] = read(`weights/digits/${path}`);
  const seen: [number, number | null][] = [];
  const source = await openSource('digits', { base: new URL('weights/', origin), cached: false, onProgress: (...of) => seen.push(of) });
  expect(source).toMatchObject({ title: expect.stringContaining('Digits') as string, verified: true, licence: expect.stringContaining('MIT') as string });
  for (const path of ['unet/config.json', 'scheduler/scheduler_config.json', 'labels.json', 'unet/diffusion_pytorch_model.safetensors'])
    same(await source.files.read(path), read(`weights/digits/${path}`));
  expect(await source.files.read('README.md')).toBe(null);
  expect(seen.at(-1)).toEqual([source.bytes, source.bytes]);
  await expect(openSource('letters', { base: new URL('weights/', origin) })).rejects.toMatchObject({ code: 'bad-option', action: 'Choose digits or avatars.' });
}); // prettier-ignore

it('a folder without a manifest works, with a notice', async () => {
  put('/odd/');
  const notices: Notice[] = [];
  const source = await openSource(new URL('odd', origin), { onNotice: (n) => notices.push(n) });
  expect(source).toMatchObject({ title: 'odd', bytes: null, verified: false });
  expect(notices.map((n) => n.code)).toEqual(['unverified']);
  same(await source.files.read(FILES[1]!), read(FIXTURE + FILES[1]!));
  await expect(openSource(new URL('none/', origin))).rejects.toMatchObject({ code: 'file-not-found' });
});

it('a folder with a manifest is verified', async () => {
  put('/odd/');
  routes['/odd/manifest.json'] = JSON.stringify(manifest());
  const source = await openSource(new URL('odd/', origin).href, { cached: false, timing });
  expect(source).toMatchObject({ title: 'Odd', licence: 'MIT', verified: true });
  same(await source.files.read(FILES[0]!), read(FIXTURE + FILES[0]!));
  routes[`/odd/${FILES[1]}`] = Buffer.from(read(FIXTURE + FILES[1]!)).fill(1, 5000, 5001);
  await expect(source.files.read(FILES[1]!)).rejects.toMatchObject({ code: 'integrity-failed' });
});

it('a repository of Hugging Face: its commit, hashes of both kinds', async () => {
  const commit = '0123456789abcdef0123456789abcdef01234567';
  put(`/owner/name/resolve/${commit}/`);
  const [config, weights] = FILES.map((path) => read(FIXTURE + path)) as [Buffer, Buffer];
  const siblings = [
    { rfilename: 'README.md', size: 3, blobId: 'a'.repeat(40) },
    { rfilename: FILES[0], size: config.length, blobId: gitBlob(config) },
    { rfilename: FILES[1], size: weights.length, blobId: 'b'.repeat(40), lfs: { sha256: sha256(weights), size: weights.length, pointerSize: 134 } },
    { rfilename: 'unet/diffusion_pytorch_model.bin', size: 5, blobId: 'c'.repeat(40) },
  ];
  const info = JSON.stringify({ sha: commit, siblings, cardData: { license: 'apache-2.0' } });
  for (const revision of ['main', commit]) routes[`/api/models/owner/name/revision/${revision}?blobs=true`] = info;
  const notices: Notice[] = [];
  const options = { hub: origin, cached: false, onNotice: (n: Notice) => notices.push(n) };
  const source = await openSource('huggingface:owner/name', options);
  expect(source).toMatchObject({ title: 'owner/name', licence: 'apache-2.0', bytes: config.length + weights.length, verified: true });
  expect(notices).toMatchObject([{ code: 'moving-revision', message: expect.stringContaining(commit) as string }]);
  for (const [i, path] of FILES.entries()) same(await source.files.read(path), [config, weights][i]!);
  expect(await source.files.read('unet/diffusion_pytorch_model.bin')).toBe(null);
  const again = await openSource(`https://huggingface.co/owner/name/tree/${commit}/unet`, options);
  expect(again.key).toBe(source.key);
  expect(notices).toHaveLength(1);
  await expect(openSource('huggingface:owner/other', options)).rejects.toMatchObject({ code: 'file-not-found' });
}); // prettier-ignore

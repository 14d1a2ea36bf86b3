/** Models from the web on the command line, and the manifest that it writes for them; a server on this machine. */

import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { main } from '../../src/apps/cli/main.ts';
import { nodeGpu } from '../../src/apps/cli/node_gpu.ts';
import { FILES, flipped, serveModel, sha256, status, text, WEIGHTS, type ModelServer } from '../helpers/model_server.ts'; // prettier-ignore

const FIXTURE = fileURLToPath(new URL('../fixtures/unets/attention', import.meta.url));
let folder: string;
/** Misbehaves as it is told. */
let server: ModelServer;
/** Has what lies in `folder`, and answers as the hub's API does. */
let disk: Server;
let origin: string;
const COMMIT = '0123456789abcdef0123456789abcdef01234567';

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'web-'));
  cpSync(FIXTURE, folder, { recursive: true });
  server = await serveModel();
  disk = createServer((request, response) => {
    const path = request.url!.replace('/model/', '/').replace(`/owner/name/resolve/${COMMIT}/`, '/');
    if (path === '/api/models/owner/name/revision/main?blobs=true') {
      const siblings = FILES.map((rfilename) => {
        const bytes = readFileSync(join(folder, rfilename));
        return { rfilename, lfs: { sha256: sha256(bytes), size: bytes.length } };
      });
      response.end(JSON.stringify({ sha: COMMIT, siblings }));
    } else if (existsSync(join(folder, path))) response.end(readFileSync(join(folder, path)));
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => disk.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(disk.address() as AddressInfo).port}/`;
});
afterAll(() => {
  server.close();
  disk.close();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(() => vi.unstubAllEnvs());

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation((part) => ((out += String(part)), true)),
    vi.spyOn(process.stderr, 'write').mockImplementation((part) => ((err += String(part)), true)),
  ];
  try {
    return { code: await main(args), out, err };
  } finally {
    spies.forEach((spy) => spy.mockRestore());
  }
}
interface About {
  parameters: number;
  weightBytes: number;
  bufferBytes: number;
  largestBinding: number;
}
const inspect = async (model: string): Promise<About & { err: string }> => {
  const { code, out, err } = await run('inspect', '--model', model);
  expect(err).not.toContain('error');
  expect(code).toBe(0);
  return { ...(JSON.parse(out) as About), err };
};

it('every command of a process has the same instance of Dawn: the devices of an earlier one must not outlive theirs', async () => {
  expect(await nodeGpu()).toBeDefined();
  expect(await nodeGpu()).toBe(await nodeGpu());
});

it('an address is the folder that is there, with a notice where nothing verifies it', async () => {
  const local = await inspect(FIXTURE);
  const { err, ...web } = await inspect(`${origin}model`);
  expect(err).toMatch(/^notice: .* has no manifest\.json/);
  for (const key of ['parameters', 'weightBytes', 'bufferBytes', 'largestBinding'] as const) {
    expect(web[key]).toBeGreaterThan(1000);
    expect(web[key]).toBe(local[key]);
  }
  expect((await inspect(server.url)).err).toBe(''); // it has a manifest
});

it('a repository of a hub, with its commit named', async () => {
  vi.stubEnv('HF_ENDPOINT', origin);
  const { err, parameters } = await inspect('huggingface:owner/name');
  expect(err).toMatch(new RegExp(`^notice: .*huggingface:owner/name@${COMMIT}`));
  expect(parameters).toBe((await inspect(FIXTURE)).parameters);
});

describe('errors are typed, on one line, with exit code 1', () => {
  const bad = async (model: string): Promise<string> => {
    const { code, out, err } = await run('inspect', '--model', model);
    expect([code, out]).toEqual([1, '']);
    return err;
  };
  it.each([
    ['a name of nothing', 'huggingface:one-word', /^error bad-option: .*owner\/name/],
    ['http to elsewhere', 'http://models.example/x', /^error download-failed: .*https only/],
    ['nobody there', 'https://127.0.0.1:1/model', /^error download-failed: /],
  ])('%s', async (_, model, message) => expect(await bad(model)).toMatch(message), 20_000);

  it('a hub that does not know the name, and an address of it that is none', async () => {
    vi.stubEnv('HF_ENDPOINT', origin);
    expect(await bad('huggingface:owner/other')).toMatch(
      /^error file-not-found: The model owner\/other@main/,
    );
    vi.stubEnv('HF_ENDPOINT', 'my-mirror');
    expect(await bad('huggingface:owner/name')).toMatch(/^error bad-option: HF_ENDPOINT is my-mirror/);
  });

  it.each([
    ['503', status(503, { 'Retry-After': '3600' }), /^error download-failed: .*503.*3600 seconds/],
    ['403', status(403), /^error download-failed: .*403/],
    ['a web page', text('<!doctype html>', 'text/html'), /^error integrity-failed: .*web page/],
    ['a wrong hash', flipped, /^error integrity-failed: /],
  ])('%s', async (_, answer, message) => {
    server.answers = [answer];
    expect(await bad(server.url)).toMatch(message);
    server.answers = [];
  });
});

describe('manifest', () => {
  it('lists what is read, with hashes, and makes a folder on the web verifiable', async () => {
    writeFileSync(join(folder, 'pickle.bin'), 'never read');
    const made = await run('manifest', '--model', folder, '--title', 'Mine', '--licence', 'MIT');
    expect(made).toMatchObject({ code: 0, err: '' });
    const list = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as { files: object[] };
    const config = JSON.parse(readFileSync(join(FIXTURE, 'unet/config.json'), 'utf8')) as { in_channels: number; sample_size: number }; // prettier-ignore
    const shape = [config.in_channels, config.sample_size, config.sample_size];
    expect(list).toMatchObject({ title: 'Mine', licence: 'MIT', shape });
    expect(list.files).toEqual(
      FILES.map((path) => {
        const bytes = readFileSync(join(FIXTURE, path));
        return { path, bytes: bytes.length, sha256: sha256(bytes) };
      }),
    );
    expect((await inspect(`${origin}model/`)).err).toBe('');
    const bytes = readFileSync(join(folder, WEIGHTS));
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(join(folder, WEIGHTS), bytes);
    expect(await run('inspect', '--model', `${origin}model/`)).toMatchObject({ code: 1, err: expect.stringMatching(/^error integrity-failed/) as string }); // prettier-ignore
  });

  it.each(['/nowhere', FIXTURE.replace(/attention$/, '')])('%s is no model', async (path) => {
    const { code, err } = await run('manifest', '--model', path);
    expect([code, err]).toEqual([1, expect.stringMatching(/^error file-not-found: /)]);
  });
});

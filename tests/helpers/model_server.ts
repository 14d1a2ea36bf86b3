/** A server on this machine that holds a model and misbehaves as it is told. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Answer = (request: IncomingMessage, response: ServerResponse, bytes: Buffer) => void;

const FOLDER = new URL('../fixtures/unets/attention/', import.meta.url);
export const WEIGHTS = 'unet/diffusion_pytorch_model.safetensors';
export const FILES = ['unet/config.json', WEIGHTS];
export const contents = new Map(FILES.map((path) => [path, readFileSync(new URL(path, FOLDER))]));
export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
export const PROMISES = FILES.map((path) => ({
  path,
  bytes: contents.get(path)!.length,
  sha256: sha256(contents.get(path)!),
}));

export interface ModelServer {
  /** Of the folder. */
  readonly url: string;
  /** How the weights are answered, one entry a request; the last one stays. Empty: as they should be. */
  answers: Answer[];
  /** Requests of the weights: their Range header, or ''. */
  readonly requests: string[];
  close(): void;
}

export async function serveModel(): Promise<ModelServer> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    response.setHeader('Access-Control-Allow-Origin', '*');
    response.setHeader('Access-Control-Expose-Headers', '*');
    response.setHeader('Cache-Control', 'no-store');
    const path = request.url!.replace(/^\/model\//, '');
    const bytes = contents.get(path);
    if (path === 'manifest.json')
      response.end(JSON.stringify({ title: 'Odd', licence: 'MIT', files: PROMISES }));
    else if (path === 'page')
      response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>page</title>');
    else if (!bytes) response.writeHead(404).end();
    else if (path !== WEIGHTS) response.end(bytes);
    else {
      requests.push(request.headers.range ?? '');
      const answer = own.answers.length > 1 ? own.answers.shift()! : (own.answers[0] ?? whole);
      answer(request, response, bytes);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const own: ModelServer = {
    url: `http://127.0.0.1:${port}/model/`,
    answers: [],
    requests,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  return own;
}

export const whole: Answer = (_, response, bytes) => void response.end(bytes);

/** Says how long it is, and breaks off. */
export const drop =
  (after: number, headers: Record<string, string> = {}): Answer =>
  (_, response, bytes) => {
    response.writeHead(200, { 'Content-Length': bytes.length, ...headers });
    response.flushHeaders();
    const end = () => setTimeout(() => response.destroy(), 20);
    if (after === 0) end();
    else response.write(bytes.subarray(0, after), end);
  };

/** Serves ranges, as a good server does. */
export const range =
  (etag: string): Answer =>
  (request, response, bytes) => {
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? -1);
    const headers = { 'Accept-Ranges': 'bytes', ETag: etag };
    if (from < 0) response.writeHead(200, { ...headers, 'Content-Length': bytes.length }).end(bytes);
    else
      response
        .writeHead(206, {
          ...headers,
          'Content-Range': `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
          'Content-Length': bytes.length - from,
        })
        .end(bytes.subarray(from));
  };

export const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (_, response) =>
    void response.writeHead(code, headers).end('no');

export const text =
  (body: string, type: string): Answer =>
  (_, response) =>
    void response.writeHead(200, { 'Content-Type': type }).end(body);

export const flipped: Answer = (_, response, bytes) => {
  const wrong = Buffer.from(bytes);
  wrong[wrong.length >> 1]! ^= 1;
  response.end(wrong);
};

export const POINTER = `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256(contents.get(WEIGHTS)!)}\nsize ${contents.get(WEIGHTS)!.length}\n`;

/** Pages of all kinds around the built package, on a server that adds what headers a test wants. */

import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OUTPUT } from '../browser/browser.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Of the package, as package.json has it. */
export const { version: VERSION } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  version: string;
};
export const PACKAGE = join(OUTPUT, 'package');

const TYPES: Record<string, string> = {
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.html': 'text/html',
};

export interface Site {
  readonly url: string;
  /** A page with this body; `head` replaces the script of the package. */
  page(name: string, body: string, options?: { head?: string; headers?: Record<string, string> }): string;
  readonly server: Server;
}

/** Builds the package into PACKAGE. */
export const buildPackage = (): void =>
  void execFileSync(process.execPath, [join(ROOT, 'tools/package.mjs'), PACKAGE], { cwd: ROOT });

/** Builds the package and serves it at /pkg/, and once more, as another version, at /other/. */
export async function serveElement(): Promise<Site> {
  buildPackage();
  const pages = new Map<string, { html: string; headers: Record<string, string> }>();
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url!, 'http://localhost');
    const page = pages.get(pathname);
    if (page) {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', ...page.headers });
      response.end(page.html);
      return;
    }
    const file = join(PACKAGE, pathname.replace(/^\/(pkg|other)\//, ''));
    if (!/^\/(pkg|other)\//.test(pathname) || !statSync(file, { throwIfNoEntry: false })?.isFile()) {
      response.writeHead(404).end();
      return;
    }
    let bytes: Buffer | string = readFileSync(file);
    if (pathname.startsWith('/other/') && file.endsWith('.js'))
      bytes = bytes.toString().replaceAll(`\`${VERSION}\``, '`9.9.9`').replaceAll(`"${VERSION}"`, '"9.9.9"');
    response.writeHead(200, {
      'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
      'access-control-allow-origin': '*', // as every CDN
    });
    response.end(bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  const { port } = server.address() as { port: number };
  const url = `http://localhost:${port}/`;
  return {
    url,
    server,
    page(name, body, { head = '<script type="module" src="/pkg/define.js"></script>', headers = {} } = {}) {
      const html = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${name}</title><link rel="icon" href="data:,">${head}</head><body><main><h1>${name}</h1>${body}</main></body></html>`;
      pages.set(`/${name}`, { html, headers });
      return `${url}${name}`;
    },
  };
}

/** Every relative link of the documents leads to a file, and ARCHITECTURE.md names files that exist. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const under = (folder: string): string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((path) => join(folder, path));
const documents = [...readdirSync(ROOT), ...['docs', 'examples', 'tools', 'weights'].flatMap(under)].filter(
  (path) => path.endsWith('.md') && !path.includes('node_modules') && !path.includes('train/runs'),
);

it.each(documents)('%s', (path) => {
  const text = readFileSync(join(ROOT, path), 'utf8');
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!);
  const local = links.filter((link) => !/^([a-z]+:|#)/.test(link)).map((link) => link.replace(/#.*/, ''));
  expect(local.filter((link) => !existsSync(join(ROOT, dirname(path), link)))).toEqual([]);
});

it('ARCHITECTURE.md names files that are there', () => {
  const text = readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8').replace(
    /<!-- floors -->[^]*<!-- \/floors -->/,
    '',
  );
  const files = [...under('src'), ...under('shaders')];
  const named = [...text.matchAll(/`((?:[\w-]+\/)*[\w-]+\.(?:ts|wgsl))`/g)].map(([, name]) => name!);
  expect(named.length).toBeGreaterThan(8);
  expect(named.filter((name) => !files.some((file) => file === name || file.endsWith(`/${name}`)))).toEqual(
    [],
  );
});

/**
 * npm run build:package: the modules, the one file for CDNs, the types, the custom-elements manifest; into dist/, or the
 * folder that is named.
 */

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { manifest } from './manifest.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const outDir = resolve(root, process.argv[2] ?? 'dist');
const configFile = join(root, 'vite.package.config.ts');
for (const mode of ['production', 'cdn'])
  await build({ root, configFile, mode, logLevel: 'warn', build: { outDir } });

// Types: one file a module. Their imports name the modules, as every resolver knows them.
const types = join(outDir, 'types');
rmSync(types, { recursive: true, force: true });
execFileSync(process.execPath, [
  join(root, 'node_modules/typescript/bin/tsc'),
  '-p',
  join(root, 'tsconfig.package.json'),
  '--outDir',
  types,
]);
for (const entry of readdirSync(types, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const path = join(entry.parentPath, entry.name);
  writeFileSync(
    path,
    readFileSync(path, 'utf8').replace(/((?:from|import\()\s*['"]\.[^'"]*)\.ts(['"])/g, '$1.js$2'),
  );
}
writeFileSync(join(outDir, 'custom-elements.json'), `${JSON.stringify(manifest(root), null, 1)}\n`);

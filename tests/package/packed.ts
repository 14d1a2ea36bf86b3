/** The package as npm packs it, installed into an app of its own. dist/ of the repository stays as it is. */

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const run = (command: string, args: string[], cwd = ROOT): string =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

export interface Packed {
  /** An app with nothing but the package, and React. */
  readonly app: string;
  readonly tarball: string;
  /** The package in the app. */
  readonly installed: string;
  remove(): void;
}

/** @param dist a folder that holds the build already; else it is built */
export function pack(dist?: string): Packed {
  const app = mkdtempSync(join(tmpdir(), 'package-'));
  const staged = join(app, 'staged');
  mkdirSync(staged);
  for (const file of ['package.json', 'README.md', 'LICENSE']) cpSync(join(ROOT, file), join(staged, file));
  if (dist) cpSync(dist, join(staged, 'dist'), { recursive: true });
  else run(process.execPath, ['tools/package.mjs', join(staged, 'dist')]);
  const [packed] = JSON.parse(
    run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', app], staged),
  ) as { filename: string }[];
  const tarball = join(app, packed!.filename);
  const installed = join(app, 'node_modules/diffusion-sampler');
  mkdirSync(installed, { recursive: true });
  mkdirSync(join(app, 'node_modules/@types'));
  run('tar', ['xzf', tarball, '--strip-components=1', '-C', installed]);
  for (const name of ['react', 'react-dom', '@types/react', 'csstype', 'scheduler'])
    symlinkSync(join(ROOT, 'node_modules', name), join(app, 'node_modules', name));
  writeFileSync(join(app, 'package.json'), '{"type":"module"}');
  return { app, tarball, installed, remove: () => rmSync(app, { recursive: true, force: true }) };
}

/** The example of a section of docs/embed.md. */
export function example(section: string): string {
  const text = readFileSync(join(ROOT, 'docs/embed.md'), 'utf8').split(`\n## ${section}\n`)[1]!;
  const lines = text.split(/\n## /)[0]!.split('\n');
  return lines.flatMap((line) => (/^ {4}|^$/.test(line) ? [line.slice(4)] : [])).join('\n');
}

/** What gpu:pack and its command lines promise, as far as it can be told without packing: `npm run gpu:dry` does the rest. */

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { AROUND, CARRY, commands, LIMITS, onDisk, PACK, ROOT, tracked } from '../../tools/gpu/paths.mjs';
import { PLAN } from '../../tools/gpu/plan.ts';

/** Node and the programs, packed: 31.2 MiB on 26 November 2026. */
const ARCHIVES = 36 * 2 ** 20;
const TRAIN = `${ROOT}tools/gpu/train/`;
const MANIFESTS = readdirSync(TRAIN).filter((name) => name.endsWith('.json'));

interface Part {
  readonly data?: { readonly program: string; readonly args: string[]; readonly file: string };
  readonly train: string[];
}
interface Manifest extends Part {
  readonly run: string;
  readonly pack: { readonly programs?: Record<string, string>; readonly npm?: string };
  readonly small: Part;
}
const manifest = (name: string) => JSON.parse(readFileSync(TRAIN + name, 'utf8')) as Manifest;
const ignored = (path: string): boolean => spawnSync('git', ['check-ignore', '-q', path], { cwd: ROOT }).status === 0; // prettier-ignore

it('the tree and the pack travel in one call', () => {
  const tree = onDisk(tracked());
  expect(tree).toBeGreaterThan(2 ** 20);
  const packed = CARRY.every((path) => existsSync(`${ROOT}${path}`)) ? onDisk(CARRY) : ARCHIVES;
  expect(tree + packed, `${tree} bytes of tree, ${packed} of pack`).toBeLessThan(LIMITS.travels);
});

it('what is carried, and where it is unpacked, git ignores', () => {
  for (const path of [...CARRY, 'gpu-pack/run/bin/node', 'gpu-pack/resume/x.safetensors']) {
    expect(`${ROOT}${path}`).toContain(PACK);
    expect(ignored(path), path).toBe(true);
  }
});

it('every test file of the plan is there, and none of the tests of kernels is missing from it', () => {
  for (const { file } of PLAN) expect(existsSync(ROOT + file.slice(1)), file).toBe(true);
  const planned = PLAN.map(({ file }) => file);
  for (const folder of ['ops', 'unet', 'hardware'])
    for (const name of readdirSync(`${ROOT}tests/${folder}`))
      if (name.endsWith('.test.ts')) expect(planned).toContain(`/tests/${folder}/${name}`);
});

describe.each(MANIFESTS)('%s', (name) => {
  const model = name.replace('.json', '');
  const told = manifest(name);

  it('its commands fit: in length, in time each, and in time together with the start', () => {
    const all = commands(model);
    let seconds = AROUND;
    for (const { command, timeout_s } of all) {
      expect(command.length).toBeLessThanOrEqual(LIMITS.command);
      expect(timeout_s).toBeLessThanOrEqual(LIMITS.longest);
      const own = Number(/--seconds (\d+)/.exec(command)![1]);
      expect(own, 'it ends before it is ended').toBeLessThanOrEqual(timeout_s - 20);
      seconds += timeout_s;
    }
    expect(seconds).toBeLessThanOrEqual(LIMITS.total);
  });

  it('names scripts that are there, and takes the minutes that are left', () => {
    for (const path of Object.values(told.pack.programs ?? {})) expect(existsSync(ROOT + path), path).toBe(true);
    if (told.pack.npm) expect(existsSync(`${ROOT}${told.pack.npm}/package-lock.json`)).toBe(true);
    expect(ignored(`${told.run}/last.pt`)).toBe(true);
    for (const part of [told, { ...told, ...told.small }]) {
      expect(existsSync(ROOT + part.train[0]!), part.train[0]).toBe(true);
      expect(part.train).toContain('{minutes}');
      if (part.data) expect(ignored(part.data.file)).toBe(true);
      if (part.data) expect(Object.keys(told.pack.programs ?? {})).toContain(part.data.program);
    }
  });
}); // prettier-ignore

it('the launcher needs nothing but Python', () => {
  const script = `${ROOT}tools/gpu/device.py`;
  expect(statSync(script).isFile()).toBe(true);
  // -I -S: without site-packages.
  const help = execFileSync('python3', ['-I', '-S', script, '--help'], { encoding: 'utf8' });
  expect(help).toContain('measure');
});

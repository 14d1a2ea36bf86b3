/**
 * npm run docs:floors: draws the floors from the code, by dependency-cruiser, into ARCHITECTURE.md. With `--check` writes
 * nothing, and fails if the drawing is not the one that the code has.
 */

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const DOCUMENT = join(root, 'ARCHITECTURE.md');
const { names, pattern } = createRequire(import.meta.url)('../.dependency-cruiser.cjs').FLOORS;

const floorOf = (path) => names.find((floor) => new RegExp(pattern(floor)).test(path));

/** Folder of a file, as the drawing shows it; null if it is not on a floor. */
function nodeOf(path) {
  const floor = floorOf(path);
  return floor ? { floor, folder: dirname(path).replace(/^src\/?/, '') || floor } : null;
}

/** All imports between folders of src, as `from to`. */
function imports() {
  const bin = join(root, 'node_modules/.bin/depcruise');
  const json = execFileSync(bin, ['src', '--output-type', 'json'], { cwd: root, maxBuffer: 2 ** 28 });
  const found = new Map();
  for (const { source, dependencies } of JSON.parse(json).modules)
    for (const { resolved } of dependencies) {
      const [from, to] = [nodeOf(source), nodeOf(resolved)];
      if (!from || !to || source.startsWith('shaders/') || resolved.startsWith('shaders/')) continue;
      const id = ({ floor, folder }) => `${floor}:${folder}`;
      for (const node of [from, to])
        if (!found.has(id(node))) found.set(id(node), { ...node, to: new Set() });
      if (id(from) !== id(to)) found.get(id(from)).to.add(id(to));
    }
  return found;
}

/** Removes edges that follow from others, so that the drawing stays legible. */
function reduce(nodes) {
  const reaches = (from, to, seen = new Set()) =>
    [...nodes.get(from).to].some((next) => {
      if (next === to) return true;
      if (seen.has(next)) return false;
      seen.add(next);
      return reaches(next, to, seen);
    });
  for (const [from, { to }] of nodes)
    for (const target of [...to]) {
      to.delete(target);
      if (!reaches(from, target)) to.add(target);
    }
}

function draw() {
  const nodes = imports();
  reduce(nodes);
  const name = (id) => id.replace(/\W/g, '_');
  const ids = [...nodes.keys()].sort();
  const floors = [...names].reverse().flatMap((floor) => {
    const here = ids.filter((id) => nodes.get(id).floor === floor);
    if (here.length === 0) return [];
    return [
      `  subgraph ${floor}`,
      ...here.map((id) => `    ${name(id)}["${nodes.get(id).folder}"]`),
      '  end',
    ];
  });
  const edges = ids.flatMap((from) =>
    [...nodes.get(from).to].sort().map((to) => `  ${name(from)} --> ${name(to)}`),
  );
  return [
    'Drawn from the code. An arrow is an import; imports that follow from others are left out.',
    '',
    '```mermaid',
    'flowchart TB',
    ...floors,
    ...edges,
    '```',
  ].join('\n');
}

const before = readFileSync(DOCUMENT, 'utf8');
const after = before.replace(
  /<!-- floors -->[^]*<!-- \/floors -->/,
  () => `<!-- floors -->\n\n${draw()}\n\n<!-- /floors -->`,
);
if (process.argv.includes('--check')) {
  if (after !== before) {
    console.error('The drawing in ARCHITECTURE.md is not the one of the code: run npm run docs:floors.');
    process.exit(1);
  }
} else writeFileSync(DOCUMENT, after);

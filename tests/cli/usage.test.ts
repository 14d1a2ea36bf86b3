/** The help, docs/cli.md and the options that the commands take: three places, one content. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { COMMANDS } from '../../src/apps/cli/main.ts';
import { USAGE } from '../../src/apps/cli/usage.ts';

const DOCS = fileURLToPath(new URL('../../docs/cli.md', import.meta.url));

/** The part of the help that a command has, by its name. */
const sections = new Map(
  USAGE.split(/^(?=[a-z])/m).map((text) => [/^[\w-]+/.exec(text)?.[0] ?? '', text] as const),
);

it.each(Object.entries(COMMANDS))('the help of %s has its options, and no other', (name, { options }) => {
  const section = sections.get(name) ?? '';
  const named = new Set([...section.matchAll(/--([a-z][a-z-]*)/g)].map(([, flag]) => flag!).concat('model'));
  // The output of invert and noise is for --noise and --begin of sample.
  const mentioned = { invert: ['noise'], noise: ['noise', 'begin'] }[name] ?? [];
  expect([...named].filter((flag) => !mentioned.includes(flag)).sort()).toEqual(Object.keys(options!).sort());
});

it('docs/cli.md has the help (npm test -- tests/cli/usage.test.ts -u writes it)', async () => {
  const block = `<!-- usage -->\n\n${USAGE.trimEnd().replace(/^(?=.)/gm, '    ')}\n\n<!-- /usage -->`;
  const text = readFileSync(DOCS, 'utf8').replace(/<!-- usage -->[^]*<!-- \/usage -->/, () => block);
  expect(text).toContain(block);
  await expect(text).toMatchFileSnapshot(DOCS);
});

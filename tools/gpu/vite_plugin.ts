/** Gives gpu.html its checks: `virtual:gpu-checks` is tools/gpu/page.ts, bundled with the tests that it runs. */

import { readdirSync, readFileSync } from 'node:fs';
import type { Plugin } from 'vite';
import { bundleForPage, ROOT } from './bundle.mjs';

const NAME = 'virtual:gpu-checks';

/** Fixtures that the tests of the page read, by path in the repository. */
const FIXTURES = /^(configs|openai|improved|lecture|keras)\.|^digits\/eps\.|^unets\/.*\.(json|safetensors)$/;
const fixtures = (): string[] =>
  readdirSync(`${ROOT}tests/fixtures`, { recursive: true, encoding: 'utf8' })
    .filter((path) => FIXTURES.test(path))
    .map((path) => `tests/fixtures/${path}`)
    .sort();

/** Files of the bundled models: the site has them at the same paths. */
function weights(): string[] {
  const models = JSON.parse(readFileSync(`${ROOT}weights/models.json`, 'utf8')) as {
    name: string;
    files: { path: string }[];
  }[];
  const files = models.flatMap(({ name, files }) => files.map(({ path }) => `weights/${name}/${path}`));
  return ['weights/models.json', ...files];
}

export function gpuChecks(): Plugin {
  let building = false;
  return {
    name: 'gpu-checks',
    configResolved({ command }) {
      building = command === 'build';
    },
    resolveId: (id) => (id === NAME ? `\0${NAME}` : null),
    async load(id) {
      if (id !== `\0${NAME}`) return null;
      const files = `export const files = ${JSON.stringify([...fixtures(), ...weights()])};`;
      // Vite serves the repository as it is; in a built site its files lie in a folder.
      return `${await bundleForPage()}\n${files}\nexport const base = ${JSON.stringify(building ? './gpu-files/' : './')};`;
    },
    generateBundle() {
      for (const path of fixtures())
        this.emitFile({ type: 'asset', fileName: `gpu-files/${path}`, source: readFileSync(ROOT + path) });
    },
  };
}

// Loads a TypeScript module of this folder through Vite's module runner, which also resolves the .wgsl imports.
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';

export async function runTypeScript(name) {
  const { module } = await runnerImport(fileURLToPath(new URL(name, import.meta.url)), {
    configFile: false,
    root: fileURLToPath(new URL('../..', import.meta.url)),
    logLevel: 'error',
  });
  return module;
}

// Runs the TypeScript command line through Vite's module runner, which also resolves the .wgsl imports.
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';

const { module } = await runnerImport(fileURLToPath(new URL('./main.ts', import.meta.url)), {
  configFile: false,
  root: fileURLToPath(new URL('../../..', import.meta.url)),
  logLevel: 'error',
});
process.exit(await module.main(process.argv.slice(2)));

// `npm run bench [-- --only digits|cifar10]`: prepares the machine's adapter, then runs bench.ts through Vite's runner.
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';
import { prepareMachine } from '../setup/machine.mjs';

process.env['MESA_SHADER_CACHE_DISABLE'] = 'true'; // a cold start is one without the driver's cache
Object.assign(process.env, prepareMachine({ browser: false }).env);
const { module } = await runnerImport(fileURLToPath(new URL('./bench.ts', import.meta.url)), {
  configFile: false,
  root: fileURLToPath(new URL('../..', import.meta.url)),
  logLevel: 'error',
});
process.exit(await module.main(process.argv.slice(2)));

// `npm run bench:large [-- f16]`: large.ts through Vite's runner, on the adapter that `npm test` would take.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';
import { prepareMachine } from '../setup/machine.mjs';

const args = process.argv.slice(2);
if (!process.env['BENCH_PREPARED']) {
  const { env, wrapper } = prepareMachine();
  const [command, ...rest] = [...wrapper, process.execPath, fileURLToPath(import.meta.url), ...args];
  const { status } = spawnSync(command, rest, {
    stdio: 'inherit',
    env: { ...process.env, ...env, BENCH_PREPARED: '1' },
  });
  process.exit(status ?? 1);
}
const { module } = await runnerImport(fileURLToPath(new URL('large.ts', import.meta.url)), {
  configFile: false,
  root: fileURLToPath(new URL('../..', import.meta.url)),
  logLevel: 'error',
});
process.exit(await module.large(args[0] ?? 'f32'));

// `npm run bench [-- OPTIONS]`: prepares the machine, installs the rivals, and runs bench.ts through Vite's runner.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';
import { prepareMachine } from '../setup/machine.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const args = process.argv.slice(2);
process.env['MESA_SHADER_CACHE_DISABLE'] = 'true'; // a cold start is one without the driver's cache

if (!process.env['BENCH_PREPARED'] && !args.includes('--help')) {
  if (!existsSync(`${HERE}node_modules/.package-lock.json`)) {
    console.error('[setup] npm ci --prefix tests/bench: the rivals (220 MB)');
    const { status } = spawnSync('npm', ['ci', '--prefix', HERE, '--ignore-scripts'], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    if (status !== 0) process.exit(1);
  }
  const say = console.log;
  console.log = console.error; // stdout is for the results
  const { env, wrapper } = prepareMachine();
  console.log = say;
  const [command, ...rest] = [...wrapper, process.execPath, fileURLToPath(import.meta.url), ...args];
  const { status } = spawnSync(command, rest, {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...env, BENCH_PREPARED: '1' },
  });
  process.exit(status ?? 1);
}
const { module } = await runnerImport(`${HERE}bench.ts`, {
  configFile: false,
  root: fileURLToPath(new URL('../..', import.meta.url)),
  logLevel: 'error',
});
process.exit(await module.main(args, (name) => import(name)));

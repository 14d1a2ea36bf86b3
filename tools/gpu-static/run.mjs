// Runs any command on a compile-only GPU: node tools/gpu-static/run.mjs FAMILY -- COMMAND...
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { layerEnvironment } from './layer.mjs';

const [family, dashes, command, ...args] = process.argv.slice(2);
if (!family || dashes !== '--' || !command) {
  console.error(
    'usage: node tools/gpu-static/run.mjs FAMILY -- COMMAND...   (FAMILY: navi21, navi31, vega10 ...)',
  );
  process.exit(2);
}
let env;
try {
  env = layerEnvironment(family, {
    out: process.env['GPU_STATIC_OUT'],
    folder: process.env['GPU_STATIC_DIR'],
  });
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
const child = spawn(command, args, { stdio: 'inherit', env: { ...process.env, ...env } });
child.on('error', (error) => {
  console.error(`${command} did not start: ${error.message}`);
  process.exit(127);
});
child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));

// `npm run gpu:dry [-- MODEL]`: all that a lent machine would do, here, at a small scale, on a software adapter. In a
// copy of the tree, without a network, without Node, npm and this checkout: only Python (the variable PYTHON; it needs
// PyTorch) and what gpu:pack packed. Prints the packed size, each step's time, and what came back.
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { prepareMachine } from '../../tests/setup/machine.mjs';
import { pack } from './pack.mjs';
import { CARRY, commands, LIMITS, ROOT, tracked } from './paths.mjs';

const model = process.argv[2] ?? 'avatars-64';
const python = execFileSync('sh', ['-c', `command -v "${process.env['PYTHON'] ?? 'python3'}"`], { encoding: 'utf8' }).trim(); // prettier-ignore
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
/** Mesa keeps compiled shaders there: a second run takes minutes less. */
const CACHES = process.env['XDG_CACHE_HOME'] ?? `${homedir()}/.cache`;
const faults = [];
const check = (right, what) => {
  if (!right) faults.push(what);
  console.log(`  ${right ? 'ok   ' : 'FAULT'} ${what}`);
};

if (spawnSync(python, ['-c', 'import torch, safetensors, huggingface_hub']).status !== 0) {
  console.error(
    `${python} has no PyTorch with safetensors and huggingface_hub: name one that has, in PYTHON.`,
  );
  process.exit(1);
}
const { env: machine } = prepareMachine({ browser: false });
const driver = machine.VK_DRIVER_FILES ?? process.env['VK_DRIVER_FILES'];

console.log('\n=== pack');
let since = Date.now();
const made = process.argv.includes('--packed') ? JSON.parse(readFileSync(`${ROOT}gpu-pack/pack.json`, 'utf8')) : await pack(model); // prettier-ignore
const times = [['pack', (Date.now() - since) / 1000]];
for (const [name, bytes] of Object.entries(made.sizes)) console.log(`  ${name}: ${mib(bytes)}`);
check(made.travels <= LIMITS.travels, `${mib(made.travels)} travel, of ${mib(LIMITS.travels)}`);
for (const { command } of commands(model)) check(command.length <= LIMITS.command, `${command.length} characters of a command`); // prettier-ignore

/** A copy of what would travel. */
function copy(name) {
  const folder = join(base, name);
  for (const path of [...tracked(), ...CARRY]) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    const from = `${ROOT}${path}`;
    if (lstatSync(from).isFile()) copyFileSync(from, join(folder, path));
  }
  return folder;
}

/** Runs a command there as on a bare machine: no network, and nothing to be seen of Node, npm and this checkout. */
function bare(title, folder, args, variables = {}) {
  console.log(`\n=== ${title}`);
  const out = join(base, `out-${title.replace(/\W+/g, '-')}`);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out);
  const hidden = ['node', 'npm', 'npx', 'pip', 'pip3'].flatMap((name) =>
    (process.env['PATH'] ?? '').split(':').map((place) => `${place}/${name}`),
  );
  const script = [
    ...hidden.filter(existsSync).map((path) => `mount --bind /dev/null "$(readlink -f ${path})" || true`),
    `mount -t tmpfs none "${ROOT}"`,
    'command -v node && node --version && exit 99', // it is hidden, so it does not run
    'exec "$@"',
  ].join('\n');
  const root = process.getuid() === 0 ? [] : ['--map-root-user'];
  const began = Date.now();
  const { status } = spawnSync('unshare', [...root, '--net', '--mount', '--', 'sh', '-c', script, 'sh', python, ...args], {
    cwd: folder,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: base, XDG_CACHE_HOME: CACHES, OUT: out, ...(driver ? { VK_DRIVER_FILES: driver } : {}), ...variables },
  }); // prettier-ignore
  const seconds = (Date.now() - began) / 1000;
  times.push([title, seconds]);
  const files = readdirSync(out);
  const bytes = files.map((file) => lstatSync(join(out, file)).size);
  console.log(`  came back: ${files.map((file, i) => `${file} (${mib(bytes[i])})`).join(', ')}`);
  check(files.length <= LIMITS.files, `${files.length} files come back, of ${LIMITS.files}`);
  check(files.every((file, i) => LIMITS.name.test(file) && bytes[i] <= LIMITS.file), `each at most ${mib(LIMITS.file)}, named plainly`); // prettier-ignore
  check(bytes.reduce((a, b) => a + b, 0) <= LIMITS.together, `at most ${mib(LIMITS.together)} together`);
  return { out, status, seconds, files };
}

const read = (path) => (existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : null);
const base = mkdtempSync(join(tmpdir(), 'gpu-dry-'));
try {
  const first = copy('first');
  const device = (...args) => ['tools/gpu/device.py', ...args, '--small', '--software', '--patience', '60'];

  const measured = bare('measure', first, device('measure', '--seconds', '1500', '--prove', '300', '--train', model, '--files', 'ops/linear')); // prettier-ignore
  check(measured.status === 0, `it ended with ${measured.status}`);
  const prove = read(`${measured.out}/prove.json`);
  check(prove?.finished && prove.passes[0]?.files.flatMap((f) => f.tests).filter((t) => t.state === 'passed').length > 20, 'prove.json has tests that passed'); // prettier-ignore
  const bench = read(`${measured.out}/bench.json`);
  check(bench?.figures?.peak.f32 > 0 && bench.items.some((i) => i.outcome?.timings.length > 1), 'bench.json has a peak, and engines side by side'); // prettier-ignore

  const trained = bare('train', first, device('train', model, '--seconds', '150'));
  check(trained.status === 0, `it ended with ${trained.status}`);
  const pieces = trained.files.filter((file) => /-\d\d\.safetensors$/.test(file));
  check(pieces.length > 0, `${pieces.length} pieces of a checkpoint came back`);

  const second = copy('second'); // another machine, which gets the pieces
  mkdirSync(`${second}/gpu-pack/resume`);
  for (const piece of pieces) copyFileSync(`${trained.out}/${piece}`, `${second}/gpu-pack/resume/${piece}`);
  const resumed = bare('no driver: train at once, from the pieces', second, device('measure', '--seconds', '150', '--train', model), { VK_DRIVER_FILES: '/nowhere.json' }); // prettier-ignore
  check(resumed.files.includes('no-driver.txt'), 'it says why no driver answered');
  const log = (result) => {
    const file = `${result.out}/${model}-log.jsonl`;
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').length : 0;
  };
  console.log(`  rows of the log: ${log(trained)} and ${log(resumed)}`);
  const imagesOf = (result) => {
    const piece = result.files.find((file) => /-00\.safetensors$/.test(file));
    if (!piece) return 0;
    const bytes = readFileSync(`${result.out}/${piece}`);
    return Number(JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString()).__metadata__.images); // prettier-ignore
  };
  check(imagesOf(resumed) > imagesOf(trained), `${imagesOf(trained)} images, then ${imagesOf(resumed)}`);
} finally {
  if (process.argv.includes('--keep')) console.log(`\nkept: ${base}`);
  else rmSync(base, { recursive: true, force: true });
}

console.log('\n=== times');
for (const [title, seconds] of times) console.log(`  ${title.padEnd(44)}${seconds.toFixed(0).padStart(5)} s`);
mkdirSync(`${ROOT}tests/output`, { recursive: true });
writeFileSync(`${ROOT}tests/output/gpu-dry.json`, JSON.stringify({ made, times, faults }, null, 1));
console.log(`\n${faults.length === 0 ? 'The dry run is right.' : `${faults.length} faults:\n${faults.join('\n')}`}`); // prettier-ignore
process.exit(faults.length === 0 ? 0 : 1);

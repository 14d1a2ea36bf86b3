// `npm run gpu:pack [-- MODEL]`: makes gpu-pack/, all that a bare Linux machine (x86-64) with Python and a GPU's driver
// needs to prove, to measure and to train, and prints the command lines.
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { createRequire } from 'node:module';
import { basename, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleForNode, commit } from './bundle.mjs';
import { AROUND, CACHE, CARRY, commands, LIMITS, onDisk, PACK, ROOT, tracked } from './paths.mjs';

const say = (text) => console.log(`[pack] ${text}`);
const STAGE = `${CACHE}/stage`;

/** Shared libraries that a driver, or Dawn, may miss on a bare machine; each is used only if the machine has none. */
const LIBRARIES = ['libvulkan.so.1', 'libX11.so.6', 'libXext.so.6', 'libxcb.so.1', 'libXau.so.6', 'libXdmcp.so.6', 'libbsd.so.0', 'libmd.so.0', 'libstdc++.so.6', 'libgcc_s.so.1']; // prettier-ignore

function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'], ...options });
  if (error || status !== 0)
    throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? `exit code ${status}`}`);
}

/** A tar.xz of what is in a folder. */
function archive(folder, file) {
  run('tar', ['-C', folder, '--sort=name', '--owner=0', '--group=0', '-cf', `${file}.tar`, '.']);
  run('xz', ['-6', '-T2', '-f', `${file}.tar`]);
  copyFileSync(`${file}.tar.xz`, file);
  rmSync(`${file}.tar.xz`);
}

/** Without what only a debugger reads. */
function strip(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
  chmodSync(to, 0o755);
  if (spawnSync('strip', [to]).status !== 0) say(`${basename(to)} is not stripped: no binutils here`);
}

/** This very Node: packed once for each version. */
function packNode() {
  const kept = `${CACHE}/node-${process.version}-${statSync(process.execPath).size}.tar.xz`;
  if (!existsSync(kept)) {
    say(`node ${process.version}: packed for the first time (a minute)`);
    const folder = `${CACHE}/node`;
    rmSync(folder, { recursive: true, force: true });
    strip(process.execPath, `${folder}/bin/node`);
    archive(folder, kept);
    rmSync(folder, { recursive: true });
  }
  copyFileSync(kept, `${PACK}/node.tar.xz`);
}

function packLibraries() {
  const ldconfig = ['/sbin/ldconfig', '/usr/sbin/ldconfig'].find(existsSync) ?? 'ldconfig';
  const known = execFileSync(ldconfig, ['-p'], { encoding: 'utf8' });
  for (const name of LIBRARIES) {
    const line = known.split('\n').find((l) => l.trim().startsWith(`${name} `) && l.includes('x86-64'));
    const path = line?.split('=> ')[1];
    if (!path) throw new Error(`${name} is not on this machine (Debian: libvulkan1, libx11-6, libxext6)`);
    mkdirSync(`${STAGE}/lib`, { recursive: true });
    copyFileSync(realpathSync(path), `${STAGE}/lib/${name}`);
  }
}

function packPackage(folder, name) {
  const from = `${folder}/node_modules/${name}`;
  cpSync(from, `${STAGE}/node_modules/${name}`, { recursive: true, dereference: true });
}

function packWheels(wheels) {
  for (const wheel of wheels) {
    const folder = `${CACHE}/wheels/${wheel}`;
    if (!existsSync(folder)) {
      const made = `${folder}.part`;
      rmSync(made, { recursive: true, force: true });
      run('python3', ['-m', 'pip', 'install', '-q', '--no-deps', '--no-compile', '--only-binary=:all:', '--target', made, wheel]); // prettier-ignore
      run('mv', [made, folder]);
    }
    cpSync(folder, `${STAGE}/site`, { recursive: true });
  }
}

/** Installs an npm folder's packages if they are not there. */
export function installed(folder) {
  if (existsSync(`${folder}/node_modules/.package-lock.json`)) return;
  say(`npm ci --prefix ${folder.slice(ROOT.length)}`);
  run('npm', ['ci', '--prefix', folder, '--ignore-scripts']);
}

export async function pack(model) {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error('The pack is made on Linux on x86-64, as its binaries are this machine’s.');
  const manifest = `${ROOT}tools/gpu/train/${model}.json`;
  if (!existsSync(manifest)) throw new Error(`There is no tools/gpu/train/${model}.json.`);
  const { pack: needs } = JSON.parse(readFileSync(manifest, 'utf8'));
  mkdirSync(PACK, { recursive: true });
  rmSync(STAGE, { recursive: true, force: true });
  installed(`${ROOT}tests/bench`);
  const npm = needs.npm ? `${ROOT}${needs.npm}` : null;
  if (npm) installed(npm);
  const packages = needs.packages ?? [];
  const programs = { prove: 'tools/gpu/prove.ts', bench: 'tools/gpu/bench.ts', ...needs.programs };
  await bundleForNode(programs, `${STAGE}/app`, packages);
  packages.forEach((name) => packPackage(npm, name));
  const webgpu = dirname(fileURLToPath(import.meta.resolve('webgpu')));
  mkdirSync(`${STAGE}/node_modules/webgpu`, { recursive: true });
  for (const file of ['package.json', 'index.js', 'LICENSE.md'])
    copyFileSync(`${webgpu}/${file}`, `${STAGE}/node_modules/webgpu/${file}`);
  const binary = 'dist/linux-x64/dawn.node';
  strip(`${webgpu}/${binary}`, `${STAGE}/node_modules/webgpu/${binary}`);
  packLibraries();
  packWheels(needs.wheels ?? []);
  archive(STAGE, `${PACK}/app.tar.xz`);
  packNode();
  const files = tracked();
  const sizes = {
    tree: onDisk(files),
    ...Object.fromEntries(CARRY.map((path) => [path, onDisk([path])])),
  };
  const travels = Object.values(sizes).reduce((a, b) => a + b, 0);
  const dawn = createRequire(import.meta.url)('webgpu/package.json').version;
  const made = { commit: commit(), model, node: process.version, dawn, sizes, travels };
  writeFileSync(`${PACK}/pack.json`, JSON.stringify(made, null, 1));
  return made;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const model = process.argv[2] ?? 'avatars-64';
  const { sizes, travels } = await pack(model);
  const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  for (const [name, bytes] of Object.entries(sizes)) say(`${name.padEnd(24)}${mib(bytes).padStart(10)}`);
  say(`${'travels'.padEnd(24)}${mib(travels).padStart(10)} of ${mib(LIMITS.travels)}`);
  if (travels > LIMITS.travels) throw new Error('That is more than travels in one call.');
  console.log('\nPaste, in this order:\n');
  for (const { what, ...call } of commands(model)) console.log(`# ${what}\n${JSON.stringify(call)}\n`);
  const seconds = commands(model).reduce((sum, c) => sum + c.timeout_s, AROUND);
  console.log(`${seconds} s at most, with about ${AROUND} s for the start and the transfers.`);
}

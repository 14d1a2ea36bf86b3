// Finds what the tests and benchmarks need of a machine, and installs what is missing: a WebGPU adapter for
// Node (with 16-bit floats where possible), a Chromium, and a display for it; for the tests also a Firefox, and a
// compiler for GPUs that are not there. Nothing is changed outside the
// system's package manager (Debian and Ubuntu) or Playwright's own browser folder (everywhere else).
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright';
import { layerEnvironment } from '../../tools/gpu-static/layer.mjs';

const say = (text) => console.log(`[setup] ${text}`);
const has = (command) => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0;

/** The adapter under `env`, as {name, f16}; null where Dawn finds none or its driver crashes. */
function adapterUnder(env) {
  const probe = fileURLToPath(new URL('./adapter.mjs', import.meta.url));
  const { stdout } = spawnSync(process.execPath, [probe], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
  });
  try {
    return JSON.parse(stdout.trim().split('\n').at(-1));
  } catch {
    return null;
  }
}

// --- Debian and Ubuntu ----------------------------------------------------------------------------------------

const root = process.getuid?.() === 0;
const apt = has('apt-get') && (root || spawnSync('sudo', ['-n', 'true']).status === 0);
let listsAreFresh = false;

function asRoot(command, args) {
  const argv = root ? [command, ...args] : ['sudo', '-n', command, ...args];
  say(argv.join(' '));
  const run = spawnSync(argv[0], argv.slice(1), {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  return run.status === 0;
}

function install(packages, suite) {
  if (!apt) return false;
  if (!listsAreFresh) listsAreFresh = asRoot('apt-get', ['update', '-q']);
  const from = suite ? ['-t', suite] : [];
  return asRoot('apt-get', ['install', '-qy', '--no-install-recommends', ...from, ...packages]);
}

/** Where apt takes packages from: files of stanzas (`*.sources`) and files of lines (`*.list`). */
function packageSources() {
  const folder = '/etc/apt/sources.list.d';
  const names = existsSync(folder) ? readdirSync(folder).map((name) => `${folder}/${name}`) : [];
  const read = (ending) =>
    ['/etc/apt/sources.list', ...names]
      .filter((path) => path.endsWith(ending) && existsSync(path))
      .map((path) => readFileSync(path, 'utf8'));
  const stanzas = read('.sources').flatMap((text) => text.split(/\n\s*\n/));
  const lines = read('.list').flatMap((text) => [...text.matchAll(/^deb +(?:\[(.*)\] +)?(\S+) +(\S+) /gm)]);
  return [
    ...stanzas.map((stanza) => {
      const field = (key) => new RegExp(`^${key}:\\s*(.+)$`, 'm').exec(stanza)?.[1];
      return { uri: field('URIs'), suites: field('Suites')?.split(/\s+/) ?? [], key: field('Signed-By') };
    }),
    ...lines.map(([, options = '', uri, suite]) => {
      return { uri, suites: [suite], key: /signed-by=(\S+)/.exec(options)?.[1] };
    }),
  ];
}

/** Adds Debian's own backports suite, from the mirror and with the key that the machine already uses. */
function addBackports() {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  const codename = /^VERSION_CODENAME=(\w+)/m.exec(release)?.[1];
  if (!apt || !/^ID=debian$/m.test(release) || !codename) return null;
  const suite = `${codename}-backports`;
  const sources = packageSources();
  if (sources.some(({ suites }) => suites.includes(suite))) return suite;
  const source = sources.find(({ suites }) => suites.includes(codename));
  if (!source) return null;
  const stanza = ['Types: deb', `URIs: ${source.uri}`, `Suites: ${suite}`, 'Components: main'];
  if (source.key) stanza.push(`Signed-By: ${source.key}`);
  const made = `${process.env['TMPDIR'] ?? '/tmp'}/${suite}.sources`;
  writeFileSync(made, stanza.join('\n') + '\n');
  if (!asRoot('cp', [made, `/etc/apt/sources.list.d/${suite}.sources`])) return null;
  listsAreFresh = false;
  return suite;
}

// --- what is needed -------------------------------------------------------------------------------------------

const ICD_FOLDERS = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d'];
const SWIFTSHADER = ['/usr/lib/chromium', '/usr/lib64/chromium-browser', '/opt/google/chrome'];

function lavapipe() {
  for (const folder of ICD_FOLDERS.filter(existsSync)) {
    const icd = readdirSync(folder).find((n) => /^lvp_icd.*\.json$/.test(n));
    if (icd) return { VK_DRIVER_FILES: `${folder}/${icd}` };
  }
  return null;
}

/** The environment in which Node has the best adapter: the machine's own, else lavapipe, else SwiftShader. */
function findAdapter() {
  let weak = null;
  const consider = (env) => {
    const adapter = env && adapterUnder(env);
    if (adapter?.f16) return { env, ...adapter };
    if (adapter) weak ??= { env, ...adapter };
    return null;
  };
  let best = consider({}) ?? consider(lavapipe());
  if (!best && process.platform === 'linux') {
    say(`no WebGPU adapter with 16-bit floats yet${weak ? ` (found: ${weak.name})` : ''}`);
    const suite = addBackports();
    if (suite ? install(['mesa-vulkan-drivers'], suite) : install(['mesa-vulkan-drivers']))
      best = consider(lavapipe());
  }
  for (const folder of SWIFTSHADER) {
    const VK_DRIVER_FILES = `${folder}/vk_swiftshader_icd.json`;
    if (!best && existsSync(VK_DRIVER_FILES)) best = consider({ VK_DRIVER_FILES });
  }
  return best ?? weak;
}

function findChromium() {
  const known = [
    process.env['CHROMIUM'],
    '/usr/bin/chromium',
    '/usr/bin/google-chrome',
    chromium.executablePath(),
  ];
  const found = () => known.find((path) => path && existsSync(path));
  if (found()) return found();
  if (existsSync('/etc/debian_version') && install(['chromium']) && found()) return found();
  say('playwright install chromium');
  spawnSync(
    fileURLToPath(new URL('../../node_modules/.bin/playwright', import.meta.url)),
    ['install', 'chromium'],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  return found();
}

/** Debian's Firefox; elsewhere one that is there already, since Playwright's own build is not what visitors have. */
function findFirefox() {
  const known = [
    process.env['FIREFOX'],
    '/usr/bin/firefox-esr',
    '/usr/bin/firefox',
    '/Applications/Firefox.app/Contents/MacOS/firefox',
    'C:/Program Files/Mozilla Firefox/firefox.exe',
  ];
  const found = () => known.find((path) => path && existsSync(path));
  if (!found() && existsSync('/etc/debian_version')) install(['firefox-esr']);
  return found();
}

/**
 * Mesa's RADV, which compiles for GPUs that are not there, and what builds the layer of tools/gpu-static. Debian 12's own
 * Mesa does not know navi31, so it comes from backports.
 *
 * @throws Error if a part can be neither found nor installed
 */
function prepareCompiler() {
  let problem = '';
  const works = () => {
    try {
      const adapter = adapterUnder(layerEnvironment('navi31'));
      if (adapter?.f16 && /navi31/i.test(adapter.name)) return adapter;
      problem = `found: ${adapter?.name ?? 'no adapter'}`;
    } catch (error) {
      problem = error.message;
    }
    return null;
  };
  let adapter = works();
  if (!adapter && install(['gcc', 'libc6-dev', 'libvulkan1', 'libvulkan-dev'])) adapter = works();
  if (!adapter) {
    const suite = addBackports();
    if (suite ? install(['mesa-vulkan-drivers'], suite) : install(['mesa-vulkan-drivers'])) adapter = works();
  }
  if (!adapter)
    throw new Error(
      `No compiler for GPUs that are not there: install gcc, libc6-dev, libvulkan-dev and mesa-vulkan-drivers (Mesa 25 or later, on Linux). ${problem}`,
    );
  say(`compile-only GPU: ${adapter.name}`);
}

/**
 * Prepares the machine.
 *
 * @returns {{env: Record<string, string>, wrapper: string[]}} the environment for child processes, and the
 *   command that goes before theirs (`xvfb-run` where there is no display)
 * @throws when a part can be neither found nor installed, with its name
 */
export function prepareMachine({ browser = true, firefox = false, compiler = false } = {}) {
  const env = { XDG_RUNTIME_DIR: process.env['XDG_RUNTIME_DIR'] ?? '/tmp' };
  const wrapper = [];
  if (browser) {
    const executable = findChromium();
    if (!executable) throw new Error('No Chromium: install one, or name it in the variable CHROMIUM.');
    env.CHROMIUM = executable;
    say(`browser: ${executable}`);
    if (process.platform === 'linux' && !process.env['DISPLAY']) {
      if (!(has('xvfb-run') && has('xauth')) && !install(['xvfb', 'xauth']))
        throw new Error('No display: start one and set DISPLAY, or install xvfb and xauth.');
      wrapper.push('xvfb-run', '-a', '-s', '-screen 0 1600x1200x24');
    }
  }
  if (firefox) {
    const executable = findFirefox();
    if (!executable) throw new Error('No Firefox: install one, or name it in the variable FIREFOX.');
    env.FIREFOX = executable;
    say(`browser: ${executable}`);
  }
  const adapter = findAdapter();
  if (!adapter)
    throw new Error('No WebGPU adapter for Node: install a Vulkan driver (Mesa 23 or later has lavapipe).');
  Object.assign(env, adapter.env);
  say(
    `adapter: ${adapter.name}${adapter.f16 ? ', with 16-bit floats' : ', WITHOUT 16-bit floats: those tests cannot run'}`,
  );
  if (compiler) prepareCompiler();
  return { env, wrapper };
}

/**
 * `npm run gpu:prove`: runs the tests of kernels, networks and runs on this machine's adapter, one process a test file, so
 * that a driver that crashes takes one file with it. Writes prove.json and prove.txt as it goes.
 */

import { fork, type ChildProcess } from 'node:child_process';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { F16_ON_NVIDIA, failure, nodeGpu, setToggles } from './dawn.ts';
import { factsOf, type Facts } from './facts.ts';
import { PLAN, type PlanItem } from './plan.ts';
import { count, proveText, type FileResult, type Pass, type ProveReport } from './report.ts';
import { runFile, type Tested } from './runner.ts';

declare const __COMMIT__: string;

const FILES: Record<string, () => Promise<unknown>> = import.meta.glob([
  '/tests/ops/*.test.ts',
  '/tests/unet/*.test.ts',
  '/tests/cli/cli.test.ts',
  '/tests/player/player.test.ts',
  '/tests/scheduler/noise.test.ts',
]);

const HELP = `prove [OPTIONS]

  --out FOLDER      for prove.json and prove.txt (default: tests/output/gpu)
  --seconds S       after which no further test is begun (default: 110)
  --workers N       test files at a time (default: 4, or half of the cores)
  --files TEXT      only test files whose names have this in them
  --only PATTERN    only tests whose names match
  --toggles NAMES   toggles of Dawn for the first pass, with commas; -NAME switches one off
  --second WHEN     the pass with f16 on NVIDIA: auto (if the first has no f16), always, never (default: auto)
  --facts           only the adapter's facts, as JSON on stdout; exit code 3 if there is no adapter
The exit code is 1 if a test fails, 3 if there is no adapter.`;

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    seconds: { type: 'string', default: '110' },
    workers: { type: 'string', default: String(Math.max(1, Math.min(4, cpus().length >> 1))) },
    files: { type: 'string', default: '' },
    only: { type: 'string' },
    toggles: { type: 'string', default: '' },
    second: { type: 'string', default: 'auto' },
    facts: { type: 'boolean', default: false },
    worker: { type: 'string' },
    deadline: { type: 'string' },
    root: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
const root = values.root
  ? pathToFileURL(`${values.root}/`).href
  : new URL('../../', pathToFileURL(process.argv[1]!)).href;
(globalThis as { gpuRoot?: string }).gpuRoot = root;
const toggles = values.toggles.split(',').filter(Boolean);
const now = (): number => Date.now();

type Message = { begin: string } | { end: Tested } | { facts: Facts | null; failure: string };

/** In a process of its own: one test file, or the adapter's facts. */
async function work(file: string): Promise<void> {
  const send = (message: Message): void => void process.send!(message);
  setToggles(toggles);
  if (file === 'facts') {
    const entry = await nodeGpu();
    try {
      send({ facts: entry ? await factsOf(entry) : null, failure });
    } catch (error) {
      send({ facts: null, failure: String(error) });
    }
  } else {
    const deadline = Number(values.deadline);
    await runFile(
      file,
      FILES[file]!, // the plan's files are all there: a test compares them
      {
        begin: (name) => send({ begin: name }),
        end: (test) => send({ end: test }),
        stop: () => now() > deadline,
      },
      values.only ? new RegExp(values.only) : undefined,
    );
  }
  process.disconnect!();
  setTimeout(() => process.exit(0), 50); // Dawn keeps the process alive
}

async function printFacts(): Promise<void> {
  const { facts, reason } = await askFacts(toggles);
  console.log(JSON.stringify(facts ?? { failure: reason }, null, 1));
  process.exit(facts ? 0 : 3);
}

/**
 * Runs one worker to its end, which is never: a test that tells nothing for so long is stopped.
 * @returns what broke it, if anything did
 */
function worker(args: string[], silence: number, listen: (message: Message) => void): Promise<string | null> {
  return new Promise((resolve) => {
    const child: ChildProcess = fork(fileURLToPath(pathToFileURL(process.argv[1]!)), args, {
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    let said = '';
    let timer: NodeJS.Timeout;
    let stopped = '';
    const wait = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        stopped = `told nothing for ${silence / 1000} s, and was stopped`;
        child.kill('SIGKILL');
      }, silence);
    };
    wait();
    child.stderr!.on('data', (text: Buffer) => (said = (said + text.toString()).slice(-2000)));
    child.on('message', (message) => {
      wait();
      listen(message as Message);
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      const ended = stopped || (signal ? `ended by ${signal}` : code ? `ended with code ${code}` : '');
      resolve(ended ? `${ended}${said ? `; it said: ${said.trim().slice(-600)}` : ''}` : null);
    });
  });
}

const inherited = (names: readonly string[]): string[] => [
  ...(values.root ? ['--root', values.root] : []),
  ...(names.length ? ['--toggles', names.join(',')] : []),
];

async function askFacts(names: readonly string[]): Promise<{ facts: Facts | null; reason: string }> {
  let facts: Facts | null = null;
  let reason = '';
  const broken = await worker(['--worker', 'facts', ...inherited(names)], 20_000, (m) => {
    if ('facts' in m) [facts, reason] = [m.facts, m.failure];
  });
  return { facts, reason: reason || (broken ?? (facts ? '' : 'Dawn found no adapter')) };
}

async function runItem(
  item: PlanItem,
  names: readonly string[],
  deadline: number,
  only?: string,
): Promise<FileResult> {
  const since = now();
  const tests: Tested[] = [];
  let running: string | null = null;
  const pattern = only ?? item.only?.source ?? values.only;
  const args = ['--worker', item.file, '--deadline', String(deadline), ...inherited(names)];
  const broken = await worker([...args, ...(pattern ? ['--only', pattern] : [])], 90_000, (m) => {
    if ('begin' in m) running = m.begin;
    if ('end' in m) {
      tests.push(m.end);
      running = null;
    }
  });
  const at = running === null ? '' : ` in "${running as string}"`;
  return {
    group: item.group,
    file: item.file.slice(1),
    seconds: (now() - since) / 1000,
    tests,
    ...(broken ? { broken: broken + at } : {}),
  };
}

async function runPass(
  title: string,
  names: readonly string[],
  deadline: number,
  save: (pass: Pass) => void,
  only?: string,
): Promise<Pass> {
  const since = now();
  const { facts, reason } = await askFacts(names);
  const pass: Pass = {
    title,
    toggles: names,
    facts,
    ...(facts ? {} : { failure: reason }),
    files: [],
    seconds: 0,
  };
  save(pass);
  if (!facts) return pass;
  console.log(`[prove] ${title}: ${facts.engine.name}, open after ${((now() - since) / 1000).toFixed(1)} s`);
  const queue = PLAN.filter(({ file }) => file.includes(values.files));
  const lane = async (): Promise<void> => {
    for (let item = queue.shift(); item; item = queue.shift()) {
      const result =
        now() > deadline
          ? { group: item.group, file: item.file.slice(1), seconds: 0, tests: [{ name: 'all', state: 'not run', ms: 0, share: null }] satisfies Tested[] } // prettier-ignore
          : await runItem(item, names, deadline, only);
      pass.files.push(result);
      pass.seconds = (now() - since) / 1000;
      save(pass);
      const n = count([result]);
      console.log(`[prove] ${result.file}: ${n.passed} passed, ${n.failed} failed, ${n['not offered']} not offered, ${n['not run']} not run; ${result.seconds.toFixed(1)} s`); // prettier-ignore
      for (const { name, state, message } of result.tests)
        if (state === 'failed')
          console.log(`[prove]   FAILED ${name}: ${message?.split('\n')[0]?.slice(0, 200)}`);
      if (result.broken) console.log(`[prove]   BROKEN: ${result.broken.slice(0, 300)}`);
    }
  };
  await Promise.all(Array.from({ length: Number(values.workers) }, lane));
  return pass;
}

async function main(): Promise<number> {
  const out = values.out ?? fileURLToPath(new URL('tests/output/gpu', root));
  mkdirSync(out, { recursive: true });
  const report: ProveReport = {
    kind: 'prove',
    date: new Date().toISOString(),
    commit: __COMMIT__,
    host: {
      processor: `${cpus()[0]?.model.trim()} x ${cpus().length}`,
      system: `${process.platform} ${release()}`,
      runtime: `Node ${process.version}, Dawn`,
    },
    passes: [],
    finished: false,
  };
  const write = (name: string, text: string): void => {
    writeFileSync(`${out}/${name}.part`, text);
    renameSync(`${out}/${name}.part`, `${out}/${name}`); // whole, whenever the process is stopped
  };
  const save = (pass?: Pass): void => {
    if (pass && !report.passes.includes(pass)) report.passes.push(pass);
    write('prove.json', JSON.stringify(report));
    write('prove.txt', proveText(report));
  };
  const began = now();
  const deadline = began + Number(values.seconds) * 1000;
  const first = await runPass('as in a browser', toggles, deadline, save);
  const missing = first.facts !== null && !first.facts.engine.f16;
  if (values.second === 'always' || (values.second === 'auto' && missing && first.facts))
    await runPass('with f16 on NVIDIA', [...toggles, F16_ON_NVIDIA], Math.max(deadline, now() + 15_000), save, 'f16'); // prettier-ignore
  report.finished = true;
  save();
  console.log(`\n${proveText(report)}`);
  const n = count(report.passes.flatMap(({ files }) => files));
  return first.facts ? (n.failed ? 1 : 0) : 3;
}

if (values.help) console.log(HELP);
else if (values.worker) await work(values.worker);
else if (values.facts) await printFacts();
else process.exit(await main());

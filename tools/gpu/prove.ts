/**
 * `npm run gpu:prove`: runs the tests of kernels, networks and runs on this machine's adapter, one process a test file, so
 * that a driver that crashes takes one file with it. Writes prove.json and prove.txt as it goes.
 */

import { fork, type ChildProcess } from 'node:child_process';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { F16_ON_NVIDIA, failure, nodeGpu, setToggles } from './dawn.ts';
import { factsOf, type Facts } from './facts.ts';
import { PLAN, type PlanItem } from './plan.ts';
import { count, proveText, type FileResult, type Pass, type ProveReport } from './report.ts';
import { runFile, type Tested } from './runner.ts';

declare const __COMMIT__: string;
/** The repository's folder as an address: the bundles find its files by it. */
const root = process.env['GPU_ROOT']!;

const FILES: Record<string, () => Promise<unknown>> = import.meta.glob([
  '/tests/ops/*.test.ts',
  '/tests/unet/*.test.ts',
  '/tests/hardware/*.test.ts',
  '/tests/cli/cli.test.ts',
  '/tests/player/player.test.ts',
  '/tests/schedule/noise.test.ts',
]);

const HELP = `prove [OPTIONS]

  --out FOLDER      for prove.json and prove.txt (default: tests/output/gpu)
  --seconds S       after which no further test is begun (default: 110)
  --workers N       test files at a time (default: 4, or half of the cores)
  --files TEXT      only test files whose names have this in them
  --only PATTERN    only tests whose names match
  --toggles NAMES   toggles of Dawn for the first pass, with commas; -NAME switches one off
  --silence S       after which a test that tells nothing is stopped, with its file (default: 60)
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
    silence: { type: 'string', default: '60' },
    second: { type: 'string', default: 'auto' },
    facts: { type: 'boolean', default: false },
    worker: { type: 'string' },
    deadline: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
const toggles = values.toggles.split(',').filter(Boolean);
const now = (): number => Date.now();
/** Milliseconds that a test may go on after the end of the time. */
const GRACE = 15_000;
/** Of the time, the share of the first pass if a second one follows. */
const FIRST = 0.7;

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
 * Runs one worker to its end. It is stopped if it tells nothing for `silence` milliseconds, and at the time `last`.
 * @returns what broke it, if anything did
 */
function worker(
  args: string[],
  silence: number,
  last: number,
  listen: (message: Message) => void,
): Promise<string | null> {
  return new Promise((resolve) => {
    const child: ChildProcess = fork(process.argv[1]!, args, {
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    let said = '';
    let timer: NodeJS.Timeout;
    let stopped = '';
    const wait = (): void => {
      clearTimeout(timer);
      const left = last - now();
      timer = setTimeout(
        () => {
          stopped = silence < left ? `told nothing for ${silence / 1000} s, and was stopped` : 'time was up';
          child.kill('SIGKILL');
        },
        Math.max(0, Math.min(silence, left)),
      );
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

const inherited = (names: readonly string[]): string[] =>
  names.length ? ['--toggles', names.join(',')] : [];

async function askFacts(names: readonly string[]): Promise<{ facts: Facts | null; reason: string }> {
  let facts: Facts | null = null;
  let reason = '';
  const broken = await worker(['--worker', 'facts', ...inherited(names)], 20_000, Infinity, (m) => {
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
  const silence = Number(values.silence) * 1000;
  const chosen = pattern ? ['--only', pattern] : [];
  const broken = await worker([...args, ...chosen], silence, deadline + GRACE, (m) => {
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
  deadlineOf: (facts: Facts) => number,
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
  const deadline = deadlineOf(facts);
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
  const after = (share: number): number => began + Number(values.seconds) * 1000 * share;
  const follows = (facts: Facts | null): boolean =>
    facts !== null && (values.second === 'always' || (values.second === 'auto' && !facts.engine.f16));
  const first = await runPass('as in a browser', toggles, (facts) => after(follows(facts) ? FIRST : 1), save);
  if (follows(first.facts))
    await runPass('with f16 on NVIDIA', [...toggles, F16_ON_NVIDIA], () => after(1), save, 'f16');
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

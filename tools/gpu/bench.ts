/** `npm run gpu:bench`: the plan of bench_plan.ts on this machine's adapter. Writes bench.json and bench.txt as it goes. */

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { adapterFigures, type Place } from '../../tests/bench/job.ts';
import { NETWORKS } from '../../tests/bench/networks.ts';
import { loadRival } from '../../tests/bench/rivals.ts';
import { measure } from './bench_items.ts';
import { idOf, planOf, type BenchReport, type PlanOptions } from './bench_plan.ts';
import { benchText } from './bench_text.ts';
import { F16_ON_NVIDIA, FINE_CLOCK, failure, nodeGpu, setToggles } from './dawn.ts';
import { diskFiles } from './engine.ts';
import { factsOf } from './facts.ts';

declare const __COMMIT__: string;
/** The repository's folder as an address: the bundles find its files by it. */
const root = process.env['GPU_ROOT']!;

const HELP = `bench [OPTIONS]

  --out FOLDER     for bench.json and bench.txt (default: tests/output/gpu); what is measured there is not measured again
  --seconds S      after which nothing further is begun (default: 225)
  --each S         for the timed rounds of one comparison (default: 4)
  --steps N        of a timed run (default: as many as the slowest engine makes in a second)
  --size SIZE      full, short (two networks) or smoke (one of each kind, to see that all runs); default full
  --shapes N       of a table of convolutions, the most costly (default: all)
  --items TEXT     only items whose names have this in them
  --toggles NAMES  further toggles of Dawn; +f16 is short for f16 on NVIDIA
The exit code is 1 if an engine disagrees with ours, 3 if there is no adapter.`;

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    seconds: { type: 'string', default: '225' },
    each: { type: 'string', default: '4' },
    steps: { type: 'string' },
    size: { type: 'string', default: 'full' },
    shapes: { type: 'string', default: 'Infinity' },
    items: { type: 'string', default: '' },
    toggles: { type: 'string', default: '' },
    help: { type: 'boolean', default: false },
  },
});

const at = (path: string): string => fileURLToPath(new URL(path, root));

/** Models of weights/ that the plan does not name. */
function others(): string[] {
  const models = JSON.parse(readFileSync(at('weights/models.json'), 'utf8')) as { name: string }[];
  return models.map(({ name }) => name).filter((name) => !NETWORKS.includes(name));
}

function placeOf(entry: GPU): Place {
  const define = (name: string, value: unknown): void => {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  };
  // tfjs looks for a browser's globals.
  define('navigator', {
    gpu: entry,
    userAgent: `Node ${process.version}`,
    hardwareConcurrency: cpus().length,
  });
  define('self', globalThis);
  define('window', globalThis);
  return {
    gpu: () => Promise.resolve(entry),
    load: loadRival,
    open: (path) => Promise.resolve(diskFiles(at(path))),
    ortBase: '',
  };
}

async function main(): Promise<number> {
  const out = values.out ?? at('tests/output/gpu');
  const say = (line: string): void => console.log(`[bench] ${line}`);
  mkdirSync(out, { recursive: true });
  const toggles = values.toggles
    .split(',')
    .filter(Boolean)
    .map((name) => (name === '+f16' ? F16_ON_NVIDIA : name));
  toggles.push(FINE_CLOCK);
  setToggles(toggles);
  const report: BenchReport = {
    kind: 'bench',
    date: new Date().toISOString(),
    commit: __COMMIT__,
    host: {
      processor: `${cpus()[0]?.model.trim()} x ${cpus().length}`,
      system: `${process.platform} ${release()}`,
      runtime: `Node ${process.version}, Dawn`,
    },
    toggles,
    facts: null,
    figures: null,
    items: [],
    finished: false,
  };
  const write = (name: string, text: string): void => {
    writeFileSync(`${out}/${name}.part`, text);
    renameSync(`${out}/${name}.part`, `${out}/${name}`); // whole, whenever the process is stopped
  };
  const save = (): void => {
    write('bench.json', JSON.stringify(report));
    write('bench.txt', benchText(report));
  };
  const deadline = performance.now() + Number(values.seconds) * 1000;
  const expired = (): boolean => performance.now() > deadline;
  const entry = await nodeGpu();
  try {
    report.facts = entry ? await factsOf(entry) : null;
  } catch (error) {
    say(String(error));
  }
  if (!entry || !report.facts) {
    say(`no adapter${failure ? ` (${failure})` : ''}`);
    save();
    return 3;
  }
  const place = placeOf(entry);
  // Measured before on the same adapter by the same commit: kept, so that a run that was stopped goes on.
  const before = existsSync(`${out}/bench.json`)
    ? (JSON.parse(readFileSync(`${out}/bench.json`, 'utf8')) as BenchReport)
    : null;
  if (before?.commit === report.commit && before.facts?.engine.name === report.facts.engine.name) {
    report.items.push(...before.items.filter(({ failure }) => !failure));
    report.figures = before.figures;
  }
  report.figures ??= await adapterFigures(place);
  save();
  const { f16 } = report.facts.engine;
  const size = values.size as PlanOptions['size'];
  const plan = planOf({ f16, others: others(), tfjs: true, size });
  for (const item of plan.filter((one) => idOf(one).includes(values.items))) {
    const id = idOf(item);
    if (report.items.some((done) => done.id === id)) continue;
    if (expired()) {
      report.items.push({ id, seconds: 0, failure: 'no time was left' });
      continue;
    }
    const effort = {
      seconds: Number(values.each),
      rounds: 7,
      steps: values.steps ? Number(values.steps) : null,
      shapes: Number(values.shapes),
    };
    const measured = await measure(item, place, effort, say, expired);
    report.items.push(measured);
    save();
    say(`${id}: ${measured.failure ?? 'measured'}, ${measured.seconds.toFixed(0)} s`);
  }
  report.finished = !report.items.some(({ failure }) => failure === 'no time was left');
  save();
  console.log(`\n${benchText(report)}`);
  const wrong = report.items.some((item) => item.outcome?.failures.some((f) => f.mismatch));
  return wrong ? 1 : 0;
}

if (values.help) console.log(HELP);
else process.exit(await main());

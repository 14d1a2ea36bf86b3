/** `npm run bench`: which comparisons, where, and the tables. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { diskFiles } from '../../src/apps/cli/files.ts';
import { nodeGpu } from '../../src/apps/cli/node_gpu.ts';
import type { AdapterFigures } from './adapter.ts';
import { openTab } from './browser.ts';
import { VARIANTS } from './engine.ts';
import { adapterFigures, ENGINES, runSpec, type Outcome, type Place, type Spec } from './job.ts';
import { LAYERS, NETWORKS } from './networks.ts';
import { byKind, roofline } from './roofline.ts';
import { updates, type Cost } from './updates.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PLACES = ['chromium', 'node'];
const HELP = `npm run bench -- [OPTIONS]

  --networks NAMES   of ${[...NETWORKS, ...Object.keys(LAYERS)].join(' ')},
                     "layers" for all single layers, "all" but celebahq-256 (default: digits,small32)
  --batches NUMBERS  images at a time (default: 1)
  --places NAMES     of ${PLACES.join(' ')} (default: both)
  --engines NAMES    of ${ENGINES.join(' ')} (default: all; on a software adapter without +capture);
                     ours+WAY and ours-f16+WAY, too: rule, tuned, ${VARIANTS.join(', ')}
  --rounds N         timed rounds (default: 7; ends earlier after --seconds, but not before three)
  --seconds S        for the rounds of one comparison (default: 40)
  --steps N          steps of a timed run (default: what the slowest engine makes in a second)
  --layers           also what every kind of layer takes in our engine, beside its roofline
  --updates          also what x_t -> x_{t-1} costs by itself, for every sampler
  --json             the results as JSON on stdout, the tables on stderr
Results also go to tests/output/bench.json. The exit code is 1 when two engines disagree.`;

interface Report {
  readonly date: string;
  readonly host: string;
  readonly places: {
    readonly place: string;
    readonly runtime: string;
    readonly figures: AdapterFigures;
    readonly outcomes: Outcome[];
    readonly updates?: Record<string, Cost[]>;
  }[];
}

async function nodePlace(load: Place['load']): Promise<Place> {
  const entry = await nodeGpu();
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
    load,
    open: (path) => Promise.resolve(diskFiles(`${ROOT}${path}`)),
    ortBase: pathToFileURL(`${ROOT}tests/bench/node_modules/onnxruntime-web/dist/`).href,
  };
}

/** @param load Node's own import: Vite's runner is closed by the time that the rivals are loaded */
export async function main(args: string[], load: Place['load']): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      networks: { type: 'string', default: 'digits,small32' },
      batches: { type: 'string', default: '1' },
      places: { type: 'string', default: PLACES.join() },
      engines: { type: 'string' },
      rounds: { type: 'string', default: '7' },
      seconds: { type: 'string', default: '40' },
      steps: { type: 'string' },
      layers: { type: 'boolean', default: false },
      updates: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const say = values.json ? console.error : console.log;
  const layers = Object.keys(LAYERS);
  const names = values.networks
    .split(',')
    .flatMap((name) =>
      name === 'all'
        ? [...NETWORKS.filter((n) => n !== 'celebahq-256'), ...layers]
        : name === 'layers'
          ? layers
          : [name],
    );
  for (const name of names)
    if (![...NETWORKS, ...layers].includes(name)) throw new Error(`There is no network ${name}. See --help.`);
  const batches = values.batches.split(',').map(Number);
  const report: Report = {
    date: new Date().toISOString(),
    host: `${cpus()[0]?.model.trim()} x ${cpus().length}, ${process.platform}`,
    places: [],
  };
  say(`host: ${report.host}`);
  /** After every comparison: a run that is ended early keeps what it has. */
  const save = (): string => {
    const json = JSON.stringify(report, null, 1);
    mkdirSync(`${ROOT}tests/output`, { recursive: true });
    writeFileSync(`${ROOT}tests/output/bench.json`, json);
    return json;
  };
  let failed = false;
  for (const place of values.places.split(',')) {
    const here = place === 'node' ? await nodePlace(load) : null;
    const tab = here ? null : await openTab(say);
    try {
      const figures = here ? await adapterFigures(here) : await tab!.adapter();
      const runtime = tab ? `Chromium ${tab.version}` : `Node ${process.version}`;
      const outcomes: Outcome[] = [];
      report.places.push({ place, runtime, figures, outcomes });
      printAdapter(runtime, figures, say);
      // Graph capture saves script and submits, which a software adapter does not notice: there it costs patience only.
      const suits = (e: string): boolean =>
        (figures.peak.f16 !== null || e !== 'ours-f16') && !(figures.software && e.endsWith('+capture'));
      const engines = values.engines?.split(',') ?? ENGINES.filter(suits);
      for (const name of names)
        for (const batch of batches) {
          const spec: Spec = {
            name,
            batch,
            engines,
            protocol: {
              rounds: Number(values.rounds),
              seconds: Number(values.seconds),
              profile: values.layers,
              steps: values.steps ? Number(values.steps) : null,
            },
          };
          const outcome = here ? await runSpec(spec, here, say) : await tab!.run(spec);
          if (!outcome) {
            say(`${name}: its checkpoint is not here`);
            continue;
          }
          outcomes.push(outcome);
          save();
          print(outcome, figures, say);
          failed ||= outcome.failures.some((f) => f.mismatch || f.engine === 'ours');
        }
      if (here && values.updates) {
        const digits = outcomes.filter((o) => o.name === 'digits');
        Object.assign(report.places.at(-1)!, { updates: await updates(here, digits, say) });
      }
    } finally {
      await tab?.close();
    }
  }
  const json = save();
  if (values.json) console.log(json);
  return failed ? 1 : 0;
}

function printAdapter(runtime: string, f: AdapterFigures, say: (line: string) => void): void {
  const software = f.software ? ' (software: a stand-in, its ratios are not a GPU’s)' : '';
  const f16 = f.peak.f16 === null ? '' : `, f16 ${f.peak.f16.toFixed(1)}`;
  say(`\n${runtime}, adapter: ${f.adapter}${software}`);
  say(
    `measured: multiply-adds f32 ${f.peak.f32.toFixed(1)}${f16} GFLOP/s; copy ${f.bandwidth.copy.toFixed(1)}, read ${f.bandwidth.read.toFixed(1)} GB/s; ` +
      `dispatch ${f.dispatchMicroseconds.toFixed(1)} us; empty submit ${f.submitMs.toFixed(2)} ms, read-back ${f.readBackMs.toFixed(2)} ms\n`,
  );
}

function print(o: Outcome, figures: AdapterFigures, say: (line: string) => void): void {
  const number = (x: number): string => x.toFixed(x < 10 ? 2 : x < 100 ? 1 : 0);
  const head = ['engine', 'ms', 'quartiles', 'ours is', 'GFLOP/s', 'of peak', 'of roof', 'dispatches', 'submits', 'script', 'longest', 'MB', 'cold s']; // prettier-ignore
  const mine = o.timings.find((t) => t.engine === 'ours');
  const rows = o.timings.map((t) => {
    const roof = roofline(o.layers, figures, t.counts.dispatches);
    const gflops = (roof.gflop / t.ms) * 1000;
    return [
      t.engine,
      number(t.ms / o.repeats),
      `${number(t.quartiles[0] / o.repeats)}-${number(t.quartiles[1] / o.repeats)}`,
      !mine || t === mine ? '' : `${(t.ms / mine.ms).toFixed(1)}x`,
      number(gflops),
      `${((100 * gflops) / figures.peak.f32).toFixed(0)} %`,
      `${((100 * roof.ms) / t.ms).toFixed(0)} %`,
      String(t.counts.dispatches),
      String(t.counts.submits),
      t.scriptMs === null ? '' : t.scriptMs.toFixed(2),
      number(t.longestSubmitMs),
      (t.bytes / 1e6).toFixed(1),
      t.coldStart.toFixed(1),
    ];
  });
  const { gflop } = roofline(o.layers, figures, 0);
  const unit = o.repeats > 1 ? `ms a layer, of ${o.repeats} in a row` : 'ms a step';
  say(
    `\n${o.name}, batch ${o.batch}: ${(o.parameters / 1e6).toFixed(2)} M parameters, ${gflop.toFixed(2)} GFLOP; ${unit}, ${o.timings[0]?.rounds ?? 0} rounds of ${o.timings[0]?.steps ?? 0}`,
  );
  table([head, ...rows], say);
  for (const { engine, dispatched } of o.timings)
    if (dispatched) {
      const kinds = byKind(o.layers, dispatched, figures);
      const total = kinds.reduce((sum, { ms }) => sum + ms, 0);
      const percent = (x: number): string => `${(100 * x).toFixed(0)} %`;
      say(`\n${engine}, every dispatch by itself: ${number(total)} ms`);
      table(
        [
          ['layers', 'of', 'GFLOP', 'dispatches', 'ms', 'share', 'GFLOP/s', 'of roof'],
          ...kinds.map((k) => [
            k.kind,
            k.layers ? String(k.layers) : '',
            k.gflop ? k.gflop.toFixed(3) : '',
            String(k.dispatches),
            number(k.ms),
            percent(k.ms / total),
            k.gflop ? number((k.gflop / k.ms) * 1000) : '',
            percent(k.roofMs / k.ms),
          ]),
        ],
        say,
      );
    }
  for (const f of o.failures) say(`${f.engine}: ${f.mismatch ? 'MISMATCH, ' : ''}${f.failure}`);
  say('');
}

function table(rows: readonly (readonly string[])[], say: (line: string) => void): void {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((r) => r[i]!.length)));
  for (const cells of rows)
    say(cells.map((cell, i) => (i ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join('  '));
}

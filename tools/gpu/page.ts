/** What gpu.html runs: the same checks and measurements as in Node, in one page, one test file after the other. */

import { httpFiles } from './engine.ts';
import { adapterFigures, type Place } from '../../tests/bench/job.ts';
import { measure } from './bench_items.ts';
import { idOf, planOf, type BenchReport } from './bench_plan.ts';
import { resultText } from './bench_text.ts';
import { factsOf } from './facts.ts';
import { putFile } from './page_files.ts';
import { PLAN } from './plan.ts';
import { count, proveText, type FileResult, type Pass, type ProveReport } from './report.ts';
import { runFile, type Tested } from './runner.ts';

declare const __COMMIT__: string;

const FILES: Record<string, () => Promise<unknown>> = import.meta.glob([
  '/tests/ops/*.test.ts',
  '/tests/unet/golden.test.ts',
  '/tests/unet/configs.test.ts',
  '/tests/hardware/own.test.ts',
  '/tests/hardware/branch.test.ts',
  '/tests/schedule/noise.test.ts',
]);

export interface Report {
  readonly prove: ProveReport;
  readonly bench: BenchReport;
}

export interface Watch {
  /** After every test and every measurement: the report so far, how far it is (0 to 1), and what is being done. */
  progress(report: Report, done: number, doing: string): void;
  /** True ends the run before the next test. */
  stopped(): boolean;
}

export interface Options {
  /** Addresses of files of the repository. */
  address(path: string): string;
  /** Files that the tests read. */
  readonly files: readonly string[];
  /** Only test files whose names have this in them, and one network measured once: for the test of the page. */
  readonly only: string;
}

/** How much of the whole the tests are. */
const TESTS = 0.8;

export function emptyReport(host: Readonly<Record<string, string>>): Report {
  const common = { date: new Date().toISOString(), commit: __COMMIT__, host, finished: false };
  return {
    prove: { kind: 'prove', ...common, passes: [] },
    bench: { kind: 'bench', ...common, toggles: [], facts: null, figures: null, items: [] },
  };
}

/** @throws what the engine's openGpu throws, DiffusionError: there is nothing to report then */
export async function run(report: Report, options: Options, watch: Watch): Promise<void> {
  const since = performance.now();
  const entry = globalThis.navigator?.gpu;
  const facts = await factsOf(entry);
  const pass: Pass = { title: 'in this browser', toggles: [], facts, files: [], seconds: 0 };
  report.prove.passes.push(pass);
  report.bench.facts = facts;
  watch.progress(report, 0, 'fetching what the tests compare with');
  await Promise.all(
    options.files.map(async (path) => {
      const response = await fetch(options.address(path));
      if (!response.ok) throw new Error(`${path}: status ${response.status}`);
      putFile(path, await response.arrayBuffer());
    }),
  );
  const plan = PLAN.filter(({ file }) => FILES[file] && file.includes(options.only));
  for (const [i, { group, file }] of plan.entries()) {
    const tests: Tested[] = [];
    const result = { group, file: file.slice(1), seconds: 0, tests };
    pass.files.push(result);
    const began = performance.now();
    const tell = (name: string): void => {
      pass.seconds = (performance.now() - since) / 1000;
      watch.progress(report, (TESTS * i) / plan.length, `${group}: ${name}`);
    };
    await runFile(file, FILES[file]!, {
      begin: tell,
      end: (test) => void tests.push(test),
      stop: () => watch.stopped(),
    });
    (result as { seconds: FileResult['seconds'] }).seconds = (performance.now() - began) / 1000;
  }
  pass.seconds = (performance.now() - since) / 1000;
  report.prove.finished = !watch.stopped();
  await bench(report, entry, options, watch);
}

async function bench(report: Report, entry: GPU, options: Options, watch: Watch): Promise<void> {
  const place: Place = {
    gpu: () => Promise.resolve(entry),
    load: () => Promise.reject(new Error('no other engine is in this page')),
    open: (path) => Promise.resolve(httpFiles(options.address(`${path}/`))),
    ortBase: '',
  };
  if (watch.stopped()) return;
  watch.progress(report, TESTS, 'measuring the adapter');
  report.bench.figures = await adapterFigures(place);
  const { f16 } = report.bench.facts!.engine;
  const plan = planOf({ f16, others: [], tfjs: false, size: 'short' }).slice(0, options.only ? 1 : Infinity);
  for (const [i, item] of plan.entries()) {
    if (watch.stopped()) return;
    watch.progress(report, TESTS + ((1 - TESTS) * (i + 1)) / (plan.length + 1), `measuring ${idOf(item)}`);
    const effort = options.only
      ? { seconds: 0, rounds: 1, steps: 1, shapes: 1 }
      : { seconds: 4, rounds: 5, steps: null, shapes: Infinity };
    report.bench.items.push(await measure(item, place, effort, () => {}, watch.stopped));
  }
  report.bench.finished = true;
  watch.progress(report, 1, 'done');
}

/** A page of plain text. */
export const textOf = ({ prove, bench }: Report): string =>
  prove.passes.length ? `${proveText(prove)}\n${resultText(bench)}` : `${proveText(prove)}\nNO ADAPTER\n`;

export const countOf = (report: Report): ReturnType<typeof count> =>
  count(report.prove.passes.flatMap(({ files }) => files));

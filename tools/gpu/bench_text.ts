/** The report of `gpu:bench` as plain text. */

import { byKind, roofline } from '../../tests/bench/roofline.ts';
import type { AdapterFigures } from '../../tests/bench/adapter.ts';
import type { Outcome } from '../../tests/bench/job.ts';
import type { BenchReport, Measured } from './bench_plan.ts';
import type { ConvRow } from './conv_table.ts';
import { adapterLines } from './report.ts';

const ms = (x: number): string => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(3));

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, c) => Math.max(...rows.map((row) => row[c]?.length ?? 0)));
  return rows.map(
    (row) =>
      '  ' +
      row
        .map((cell, c) => (c === 0 ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!)))
        .join('  ')
        .trimEnd(),
  );
}

function networkLines({ timings, failures, layers }: Outcome, figures: AdapterFigures | null): string[] {
  const own = timings[0];
  const lines = timings.length
    ? table([
        ['engine', 'ms a step', 'quartiles', 'ours is', 'of roof', 'dispatches', 'script ms', 'cold s', 'error'],
        ...timings.map((t) => [
          t.engine,
          ms(t.ms),
          `${ms(t.quartiles[0])}-${ms(t.quartiles[1])}`,
          t === own ? '' : `${(t.ms / own!.ms).toFixed(2)}x`,
          figures ? `${((roofline(layers, figures, t.counts.dispatches).ms / t.ms) * 100).toFixed(0)} %` : '',
          String(t.counts.dispatches),
          t.scriptMs === null ? '' : ms(t.scriptMs),
          t.coldStart.toFixed(1),
          t.error === null ? '' : t.error.toExponential(1),
        ]),
      ])
    : []; // prettier-ignore
  for (const t of timings) if (t.note) lines.push(`  ${t.engine}: ${t.note}`);
  for (const f of failures)
    lines.push(`  ${f.engine}: ${f.mismatch ? 'MISMATCH' : 'did not run'}: ${f.failure}`);
  const dispatched = own?.dispatched;
  if (dispatched && figures) {
    const total = dispatched.reduce((sum, d) => sum + d.ms, 0);
    lines.push(`  layers of ${own.engine}, each dispatch by itself: ${ms(total)} ms in all`);
    lines.push(
      ...table([
        ['kind', 'layers', 'dispatches', 'ms', 'share', 'GFLOP/s', 'of roof'],
        ...byKind(layers, dispatched, figures).map((r) => [
          r.kind,
          String(r.layers),
          String(r.dispatches),
          ms(r.ms),
          `${((r.ms / total) * 100).toFixed(0)} %`,
          r.gflop && r.ms ? (r.gflop / (r.ms / 1000)).toFixed(0) : '',
          r.ms ? `${((r.roofMs / r.ms) * 100).toFixed(0)} %` : '',
        ]),
      ]),
    );
  }
  return lines;
}

function convLines(rows: readonly ConvRow[], figures: AdapterFigures | null): string[] {
  const names = [...new Set(rows.flatMap((r) => Object.keys(r.ms)))] as (keyof ConvRow['ms'])[];
  const best = (r: ConvRow): string =>
    names.reduce((a, b) => ((r.ms[b] ?? Infinity) < (r.ms[a] ?? Infinity) ? b : a));
  const peak = figures?.peak.f32;
  const lines = table([
    ['shape', 'rule', 'best', ...names, 'GFLOP/s', 'of peak'],
    ...rows.map((r) => {
      const rate = r.gflop / (Math.min(...Object.values(r.ms)) / 1000);
      return [r.shape, r.rule, best(r), ...names.map((n) => (r.ms[n] === undefined ? '' : ms(r.ms[n]))), rate.toFixed(0), peak ? `${((rate / peak) * 100).toFixed(0)} %` : '']; // prettier-ignore
    }),
  ]);
  for (const r of rows) {
    for (const [name, error] of Object.entries(r.error))
      if (!(error <= 1e-2)) lines.push(`  WRONG ${r.shape} ${name}: differs by ${error}`);
    for (const failure of r.failures ?? []) lines.push(`  FAILED ${r.shape} ${failure}`);
  }
  return lines;
}

function itemLines(item: Measured, figures: AdapterFigures | null): string[] {
  const head = ['', `== ${item.id} (${item.seconds.toFixed(0)} s)`];
  if (item.failure) return [...head, `  NOT MEASURED: ${item.failure}`];
  if (item.rows) return [...head, ...convLines(item.rows, figures)];
  return [...head, ...networkLines(item.outcome!, figures)];
}

/** Milliseconds; "ours is" counts from the first line of each table; every table is of one run on one card. */
export function benchText(report: BenchReport): string {
  const { facts } = report;
  const lines = [
    `bench     ${report.date}, commit ${report.commit}${report.finished ? '' : ', NOT FINISHED'}`,
    `host      ${Object.values(report.host).join('; ')}`,
    ...(report.toggles.length ? [`toggles   ${report.toggles.join(', ')}`] : []),
    ...(facts ? adapterLines(facts) : ['NO ADAPTER']),
  ];
  return `${lines.join('\n')}\n${resultText(report)}`;
}

/** The results alone. */
export function resultText({ figures: f, items }: BenchReport): string {
  const lines: string[] = [];
  if (f)
    lines.push(
      `peak      f32 ${f.peak.f32.toFixed(0)} GFLOP/s, f16 ${f.peak.f16?.toFixed(0) ?? 'none'}; copy ${f.bandwidth.copy.toFixed(0)} GB/s, read ${f.bandwidth.read.toFixed(0)}; dispatch ${f.dispatchMicroseconds.toFixed(2)} us; submit ${ms(f.submitMs)} ms; read-back ${ms(f.readBackMs)} ms`,
    );
  lines.push(...items.flatMap((item) => itemLines(item, f)));
  return lines.join('\n') + '\n';
}

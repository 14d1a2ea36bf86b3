/** The report of `gpu:prove`: its form, and the page of text that is made of it. */

import type { Facts } from './facts.ts';
import type { State, Tested } from './runner.ts';

export interface FileResult {
  readonly group: string;
  readonly file: string;
  readonly seconds: number;
  readonly tests: Tested[];
  /** What ended the process that ran it, if anything did. */
  readonly broken?: string;
}

export interface Pass {
  readonly title: string;
  /** Dawn's toggles that browsers do not set. */
  readonly toggles: readonly string[];
  readonly facts: Facts | null;
  /** Why there are no facts. */
  readonly failure?: string;
  readonly files: FileResult[];
  seconds: number;
}

export interface ProveReport {
  readonly kind: 'prove';
  readonly date: string;
  readonly commit: string;
  /** Processor, system, browser or Node. */
  readonly host: Readonly<Record<string, string>>;
  readonly passes: Pass[];
  finished: boolean;
}

export const STATES: readonly State[] = ['passed', 'failed', 'not offered', 'not run'];

export function count(files: readonly FileResult[]): Record<State, number> {
  const out: Record<State, number> = { passed: 0, failed: 0, 'not offered': 0, 'not run': 0 };
  for (const { tests, broken } of files) {
    for (const { state } of tests) out[state]++;
    if (broken) out.failed++;
  }
  return out;
}

const counted = (files: readonly FileResult[]): string => {
  const n = count(files);
  return STATES.filter((state) => state === 'passed' || n[state] > 0)
    .map((state) => `${n[state]} ${state}`)
    .join(', ');
};

/** The largest share of a tolerance, as percent. */
function worst(files: readonly FileResult[]): string {
  const shares = files.flatMap(({ tests }) =>
    tests.flatMap((t) => (t.state === 'passed' && t.share !== null ? [t.share] : [])),
  );
  return shares.length ? `, at most ${Math.round(Math.max(...shares) * 100)} % of a tolerance used` : '';
}

const LIMITS = ['maxStorageBufferBindingSize', 'maxBufferSize', 'maxStorageBuffersPerShaderStage', 'maxComputeWorkgroupStorageSize', 'maxComputeInvocationsPerWorkgroup']; // prettier-ignore

export function adapterLines({ info, features, limits, engine, openMs }: Facts): string[] {
  const said = Object.entries(info).filter(([, value]) => value !== '');
  return [
    `adapter   ${said.map(([key, value]) => `${key} ${value}`).join('; ') || 'says nothing of itself'}`,
    `engine    ${engine.name}; ${engine.isSoftware ? 'software' : 'hardware'}; f16 ${engine.f16 ? 'yes' : 'no'}; quads ${engine.quads ? 'yes' : 'no'}; smallest subgroup ${engine.subgroup}; open after ${openMs} ms`,
    `features  ${features.join(' ')}`,
    `limits    ${LIMITS.map((key) => `${key} ${limits[key]}`).join('; ')}`,
  ];
}

/** A page of plain text. */
export function proveText(report: ProveReport): string {
  const lines = [
    `prove     ${report.date}, commit ${report.commit}${report.finished ? '' : ', NOT FINISHED'}`,
    `host      ${Object.values(report.host).join('; ')}`,
  ];
  for (const pass of report.passes) {
    const with_ = pass.toggles.length
      ? ` (Dawn's toggles ${pass.toggles.join(', ')}: browsers do not set them)`
      : '';
    lines.push('', `== ${pass.title}${with_}`);
    if (!pass.facts) {
      lines.push(`NO ADAPTER: ${pass.failure ?? 'unknown'}`);
      continue;
    }
    lines.push(...adapterLines(pass.facts));
    lines.push(`result    ${counted(pass.files)}; ${pass.seconds.toFixed(0)} s`);
    for (const group of new Set(pass.files.map((f) => f.group))) {
      const files = pass.files.filter((f) => f.group === group);
      if (files.some(({ tests, broken }) => tests.length || broken))
        lines.push(`  ${group}: ${counted(files)}${worst(files)}`);
    }
    for (const { file, tests, broken } of pass.files) {
      if (broken) lines.push(`BROKEN ${file}: ${broken}`);
      for (const t of tests)
        if (t.state === 'failed')
          lines.push(`FAILED ${file}: ${t.name}`, `       ${t.message?.split('\n')[0]}`);
    }
  }
  return lines.join('\n') + '\n';
}

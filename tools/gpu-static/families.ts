/** Compiles kernels for AMD's GPUs that are not there, each family in a process of its own, and reads what the driver says. */

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve as resolvePath } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DType } from '../../src/core/tensor.ts';
import type { Job, Refusal, Result } from './compile.ts';
import { analyse, type Isa } from './isa.ts';
import type { Launch } from './kernels.ts';
import { layerEnvironment, OUTPUT } from './layer.mjs';

/** The networks whose kernels are compiled: the two that the project ships, and a DDPM for CIFAR-10 without its weights. */
export const NETWORKS: readonly string[] = ['digits', 'avatars', 'cifar10'];
export const DTYPES: readonly DType[] = ['f32', 'f16'];

/** One pipeline, as the driver's compiler made it. */
export interface Row {
  /** As in `conv2d f32 PLAIN BIAS QUADS @32`: the invocations of its workgroup last. */
  readonly kernel: string;
  /** Lanes that run in step. */
  readonly subgroup: number;
  /** Vector registers a lane. */
  readonly vgprs: number;
  /** Scalar registers before scheduling. */
  readonly sgprs: number;
  /** Registers that found no place, vector and scalar. */
  readonly spills: number;
  /** Bytes of memory a wave for what has no place in registers. */
  readonly scratch: number;
  /** Bytes of workgroup memory. */
  readonly lds: number;
  /** Subgroups that a SIMD holds at most. */
  readonly waves: number;
  /** Bytes of machine code. */
  readonly code: number;
  readonly instructions: number;
  /** In cycles, by the compiler's own model, which guesses how often a loop turns. */
  readonly latency: number;
  readonly inverseThroughput: number;
  /** All that the driver says, by its own names. */
  readonly statistics: Readonly<Record<string, number>>;
  /** Hash of the SPIR-V. */
  readonly spirv: string;
  /** What its loops do; only with `assembly`. */
  readonly isa?: Isa;
}

export interface Compiled {
  readonly family: string;
  /** The driver's name of the GPU. */
  readonly device: string;
  /** Mesa's version. */
  readonly driver: string;
  readonly rows: readonly Row[];
  readonly refused: readonly Refusal[];
  /** Kernels that were neither refused nor reported by the driver: a fault of this tool. */
  readonly missing: readonly string[];
  readonly launches: readonly Launch[];
}

export interface CompileOptions {
  readonly networks?: readonly string[];
  readonly dtypes?: readonly DType[];
  /** Files of WGSL instead of networks. */
  readonly wgsl?: readonly string[];
  /** The loops of every kernel, from its assembly: takes four times as long. */
  readonly assembly?: boolean;
  /** Folder that keeps SPIR-V and assembly; one that is removed again by default. */
  readonly folder?: string;
}

/** A line of the layer's report. */
interface Line {
  readonly device: string;
  readonly driver: string;
  readonly module: string;
  readonly spirv: string;
  readonly workgroup: number;
  readonly statistics: Readonly<Record<string, number>>;
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Milliseconds that a family may take. */
const LIMIT = 300_000;

/** Runs a command under the layer. @returns its exit status, and what it wrote to stdout and stderr */
export function runUnder(
  env: Readonly<Record<string, string>>,
  command: string,
  args: readonly string[],
): Promise<{ status: number | string; output: string }> {
  return new Promise((resolve, reject) => {
    const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe'];
    const child = spawn(command, args, { cwd: ROOT, env: { ...process.env, ...env }, timeout: LIMIT, stdio });
    let output = '';
    const take = (data: Buffer): void => void (output += data.toString());
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ status: code ?? signal ?? 'unknown', output }));
  });
}

/** On GFX10 and later RADV counts subgroups of 32 lanes, whatever size the kernel has. */
const wavesOf = (family: string, s: Line['statistics']): number =>
  /vega|raven|renoir|polaris|fiji|tonga|gfx9/.test(family)
    ? s['Subgroups per SIMD']!
    : s['Subgroups per SIMD']! / (s['Subgroup size']! / 32);

function rowOf(family: string, { module, spirv, workgroup, statistics: s }: Line, folder: string): Row {
  const file = `${folder}/${spirv}.Assembly.txt`;
  const kernel = module.replace(/^.*Dawn_ShaderModule_?/, '');
  return {
    kernel: `${kernel} @${workgroup}`,
    subgroup: s['Subgroup size']!,
    vgprs: s['VGPRs']!,
    sgprs: s['Pre-Sched SGPRs']!,
    spills: s['Spilled VGPRs']! + s['Spilled SGPRs']!,
    scratch: s['Scratch size']!,
    lds: s['LDS size']!,
    waves: wavesOf(family, s),
    code: s['Code size']!,
    instructions: s['Instructions']!,
    latency: s['Latency']!,
    inverseThroughput: s['Inverse Throughput']!,
    statistics: s,
    spirv,
    ...(existsSync(file) ? { isa: analyse(readFileSync(file, 'utf8')) } : {}),
  };
}

/**
 * Compiles for one family.
 *
 * @param family as RADV_FORCE_FAMILY names it
 * @throws Error if RADV or a compiler is missing, the family is unknown, or the process ends before its time
 */
export async function compileFor(family: string, options: CompileOptions = {}): Promise<Compiled> {
  if (options.folder) return compileInto(resolvePath(options.folder), family, options, true);
  mkdirSync(OUTPUT, { recursive: true });
  const folder = mkdtempSync(join(OUTPUT, `${family}-`));
  try {
    return await compileInto(folder, family, options, false);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function compileInto(
  folder: string,
  family: string,
  { networks = NETWORKS, dtypes = DTYPES, wgsl = [], assembly = false }: CompileOptions,
  keep: boolean,
): Promise<Compiled> {
  mkdirSync(folder, { recursive: true });
  const [report, out] = [`${folder}/pipelines.jsonl`, `${folder}/result.json`];
  rmSync(report, { force: true });
  rmSync(out, { force: true });
  const env = layerEnvironment(family, { out: report, folder: keep || assembly ? folder : '', assembly });
  const job: Job = { out, networks, dtypes, wgsl };
  const args = ['tools/gpu-static/compile.mjs', JSON.stringify(job)];
  const { status, output } = await runUnder(env, process.execPath, args);
  if (!existsSync(out)) {
    const last = output.trim().split('\n').slice(-8).join('\n');
    throw new Error(`Nothing was compiled for ${family} (exit ${status}): ${last}`);
  }
  const { adapter, asked, refused, launches } = JSON.parse(readFileSync(out, 'utf8')) as Result;
  const lines = existsSync(report) ? readFileSync(report, 'utf8').trim().split('\n') : [];
  const parsed = lines.map((line) => JSON.parse(line) as Line);
  // A kernel is compiled once on a device, under the label of its shader module.
  const rows = new Map<string, Row>();
  for (const line of parsed) {
    const row = rowOf(family, line, folder);
    const before = rows.get(row.kernel);
    if (before && before.spirv !== row.spirv) throw new Error(`Two kernels have the name ${row.kernel}.`);
    rows.set(row.kernel, row);
  }
  const known = new Set([...rows.keys()].flatMap((kernel) => [kernel, kernel.replace(/ @\d+$/, '')]));
  for (const { kernel } of refused) known.add(kernel);
  return {
    family,
    device: parsed[0]?.device ?? adapter,
    driver: parsed[0]?.driver ?? '',
    rows: [...rows.values()].sort((a, b) => (a.kernel < b.kernel ? -1 : 1)),
    refused,
    missing: asked.filter((kernel) => !known.has(kernel)),
    launches,
  };
}

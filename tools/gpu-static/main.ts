/** The command line of `npm run gpu:static`. */

import { parseArgs } from 'node:util';
import { excessOf, faultsOf, readBudget, writeBudget } from './budget.ts';
import { compileFor, DTYPES, NETWORKS, type Compiled, type CompileOptions, type Row } from './families.ts';
import { orderOf } from './isa.ts';
import type { Launch } from './kernels.ts';
import { OUTPUT } from './layer.mjs';
import { modelText, timesOf, uncounted } from './model.ts';
import { sharesOf } from './share.ts';
import { readFileSync } from 'node:fs';

const USAGE = `npm run gpu:static -- [table|share|order KERNEL|model] [options]

  table            registers, workgroup memory, spills, ... of every kernel (the default)
  share            the share of the peak rate of multiply-adds that issue alone allows
  order KERNEL     the order of loads, waits and multiply-adds of kernels with this in their name
  model            a rough time of one step of each network, by a model

  --families A,B   AMD's GPUs, as RADV_FORCE_FAMILY names them: default navi21,navi31
  --networks A,B   digits,avatars,cifar10 (the default), small32
  --dtypes A,B     default f32,f16
  --wgsl FILE      a WGSL file instead of the networks; may be repeated. A line "// constants: A=1 B=2" gives overrides
  --loops          table: the loops of every kernel too
  --json           data on stdout instead of text
  --out DIR        keeps SPIR-V, NIR and assembly in DIR/FAMILY
  --check          table: compares navi31 with the committed budget
  --write-budget   table: writes the budget anew, from navi31
  --variant NAME   model: rule (the default), "all tiled-32" ..., fall-back
  --card NAME      model: a card other than the family's own (rembrandt, ...)
  --latency N      model: cycles of a load from L2, default 400
  --list           model: the 25 longest dispatches too`;

const OPTIONS = {
  families: { type: 'string' },
  networks: { type: 'string', default: NETWORKS.join(',') },
  dtypes: { type: 'string', default: DTYPES.join(',') },
  wgsl: { type: 'string', multiple: true, default: [] as string[] },
  loops: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  out: { type: 'string' },
  check: { type: 'boolean', default: false },
  'write-budget': { type: 'boolean', default: false },
  variant: { type: 'string', default: 'rule' },
  card: { type: 'string' },
  latency: { type: 'string' },
  list: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;
const parse = (argv: string[]) => parseArgs({ args: argv, options: OPTIONS, allowPositionals: true });
type Values = ReturnType<typeof parse>['values'];

const COLUMNS: readonly (readonly [string, (row: Row) => number | undefined])[] = [
  ['lanes', (r) => r.subgroup],
  ['VGPRs', (r) => r.vgprs],
  ['SGPRs', (r) => r.sgprs],
  ['spills', (r) => r.spills],
  ['scratch', (r) => r.scratch],
  ['LDS', (r) => r.lds],
  ['waves', (r) => r.waves],
  ['code', (r) => r.code],
  ['instr.', (r) => r.instructions],
  ['VALU', (r) => r.statistics['VALU']],
  ['SALU', (r) => r.statistics['SALU']],
  ['VMEM', (r) => r.statistics['VMEM']],
  ['SMEM', (r) => r.statistics['SMEM']],
  ['VOPD', (r) => r.statistics['VOPD']],
  ['latency', (r) => r.latency],
  ['inv.thr.', (r) => r.inverseThroughput],
];

/** Rows of text; the first column is flush left. */
function grid(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, k) => Math.max(...rows.map((row) => row[k]!.length)));
  return rows
    .map((row) => row.map((cell, k) => (k ? cell.padStart(widths[k]!) : cell.padEnd(widths[k]!))).join('  '))
    .join('\n');
}

function tableText({ device, driver, rows }: Compiled, loops: boolean): string {
  const table = grid([
    ['kernel', ...COLUMNS.map(([name]) => name)],
    ...rows.map((row) => [row.kernel, ...COLUMNS.map(([, value]) => String(value(row) ?? ''))]),
  ]);
  const all = rows.flatMap(({ kernel, isa }) =>
    (isa?.loops ?? []).map(({ blocks, depth, inner, own }) => {
      const counts = Object.entries(own).map(([kind, n]) => `${kind} ${n}`);
      return `${kernel}  ${blocks} depth ${depth}${inner ? '' : ' (has loops inside)'}: ${counts.join(', ')}`;
    }),
  );
  const tail = loops
    ? `\n\nLoops (instructions of a turn, without those of loops inside):\n${all.join('\n')}`
    : '';
  return `${device}, Mesa ${driver}: ${rows.length} kernels\n${table}${tail}\n`;
}

const print = (text: string): void => void process.stdout.write(`${text}\n`);

function share(compiled: readonly Compiled[], { json }: Values): void {
  const shares = compiled.flatMap(sharesOf);
  if (json) return print(JSON.stringify(shares, null, 1));
  if (!shares.length) return print('No kernel here multiplies matrices in a loop.');
  const columns = Object.keys(shares[0]!).filter(
    (key) => key !== 'kernel',
  ) as (keyof (typeof shares)[number])[];
  print(
    grid([['kernel', ...columns], ...shares.map((s) => [s.kernel, ...columns.map((key) => String(s[key]))])]),
  );
}

/** @throws Error if no kernel has this in its name */
function order(compiled: readonly Compiled[], part: string, { json, out }: Values): void {
  const found = compiled.flatMap(({ family, rows }) =>
    rows
      .filter(({ kernel }) => kernel.includes(part))
      .map(({ kernel, spirv }) => ({
        ...{ family, kernel },
        blocks: orderOf(readFileSync(`${out}/${family}/${spirv}.Assembly.txt`, 'utf8')),
      })),
  );
  if (!found.length) throw new Error(`No kernel has "${part}" in its name.`);
  if (json) print(JSON.stringify(found, null, 1));
  else for (const { family, kernel, blocks } of found) print(`${family} ${kernel}\n${blocks.join('\n')}\n`);
}

/** @throws Error for a variant or a card that there is not */
function model(compiled: readonly Compiled[], { json, variant, card, latency, list }: Values): void {
  const all = compiled.flatMap((of) => {
    const steps = new Map<string, Launch[]>();
    for (const launch of of.launches.filter((l) => l.variant === variant && l.recording === 'step')) {
      const name = `${launch.network} ${launch.dtype}`;
      steps.set(name, [...(steps.get(name) ?? []), launch]);
    }
    if (!steps.size)
      throw new Error(
        `There is no variant "${variant}": see CONV_VARIANTS of src/engine/kernels/conv_variants.ts.`,
      );
    return [...steps].map(([name, launches]) => {
      for (const kernel of uncounted(launches)) console.error(`The model leaves out the loops of ${kernel}.`);
      const options = { ...(card ? { card } : {}), ...(latency ? { latency: Number(latency) } : {}) };
      return { family: of.family, name, times: timesOf(of, launches, options) };
    });
  });
  if (json) print(JSON.stringify(all, null, 1));
  else
    for (const { family, name, times } of all)
      print(`${modelText(`${name}, ${variant}, ${family}`, times, card ?? family, list)}\n`);
}

async function table(compiled: readonly Compiled[], values: Values): Promise<string[]> {
  // Without the launches, which are thousands: `model --json` has those of a step, with their times.
  if (values.json)
    print(JSON.stringify(compiled, (key, value: unknown) => (key === 'launches' ? undefined : value), 1));
  else for (const of of compiled) print(tableText(of, values.loops));
  const checked = compiled.find(({ family }) => family === readBudget().family);
  if (values['write-budget'] && checked) {
    await writeBudget(checked);
    console.error(
      `The budget has ${checked.rows.length} kernels now (${checked.family}, Mesa ${checked.driver}).`,
    );
  }
  return values.check && checked ? excessOf(checked, readBudget()) : [];
}

/** The values of an option with commas. @throws Error for one that there is not */
function listed<T extends string>(option: string, value: string, known: readonly T[]): T[] {
  return value.split(',').map((name) => {
    const found = known.find((other) => other === name);
    if (!found) throw new Error(`--${option} has no ${name}: choose from ${known.join(', ')}.`);
    return found;
  });
}

/** @returns the exit status: 1 for a refused shader, a spill or scratch memory, and with --check for what is above the budget */
async function run(argv: string[]): Promise<number> {
  const { values, positionals } = parse(argv);
  const [command = 'table', kernel] = positionals;
  if (
    values.help ||
    !['table', 'share', 'order', 'model'].includes(command) ||
    (command === 'order' && !kernel)
  ) {
    print(USAGE);
    return values.help ? 0 : 2;
  }
  const budget = values.check || values['write-budget'];
  const families = budget ? [readBudget().family] : (values.families ?? 'navi21,navi31').split(',');
  const assembly = command !== 'table' || values.loops || values.out !== undefined;
  if (command === 'order') values.out ??= `${OUTPUT}/order`;
  const chosen: CompileOptions = budget
    ? {} // of all kernels
    : {
        networks: listed('networks', values.networks, [...NETWORKS, 'small32']),
        dtypes: listed('dtypes', values.dtypes, DTYPES),
        wgsl: values.wgsl,
      };
  const compiled: Compiled[] = [];
  for (const family of families) {
    compiled.push(
      await compileFor(family, {
        ...chosen,
        assembly,
        ...(values.out ? { folder: `${values.out}/${family}` } : {}),
      }),
    );
  }
  let excess: string[] = [];
  if (command === 'share') share(compiled, values);
  else if (command === 'order') order(compiled, kernel!, values);
  else if (command === 'model') model(compiled, values);
  else excess = await table(compiled, values);
  const faults = [...compiled.flatMap(faultsOf), ...excess];
  for (const fault of faults) console.error(fault);
  return faults.length ? 1 : 0;
}

/** @returns the exit status */
export async function main(argv: string[]): Promise<number> {
  try {
    return await run(argv);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return 1;
  }
}

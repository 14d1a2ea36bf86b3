/**
 * A rough time of every dispatch of one step of a network, from the counts of instructions. A model, not a measurement: no
 * DRAM, no cache misses, no conflicts in workgroup memory. It ranks; what it assumes is in ASSUME and CARDS.
 */

import type { Compiled, Row } from './families.ts';
import type { Counts, Loop } from './isa.ts';
import type { Launch } from './kernels.ts';

export const ASSUME = {
  /** Cycles of a load from L2. */
  global: 400,
  /** Cycles of a scalar load from its cache. */
  scalar: 60,
  /** Microseconds between dispatches that depend on each other. */
  dispatch: 4,
};

interface Card {
  readonly name: string;
  /** Two in a compute unit of RDNA, four in one of Vega. */
  readonly simds: number;
  readonly ghz: number;
  /** Cycles in which a SIMD issues one instruction of 64 lanes. */
  readonly valu: number;
  /** Cycles in which a SIMD issues one 32-bit multiply-add of 64 lanes. */
  readonly fma: number;
}

export const CARDS: Readonly<Record<string, Card>> = {
  navi21: { name: '6900 XT', simds: 160, ghz: 2.25, valu: 2, fma: 2 },
  navi31: { name: '7900 XTX', simds: 192, ghz: 2.3, valu: 2, fma: 1 },
  navi10: { name: '5700 XT', simds: 80, ghz: 1.75, valu: 2, fma: 2 },
  vega10: { name: 'Vega 64', simds: 256, ghz: 1.5, valu: 4, fma: 4 },
  rembrandt: { name: '680M (12 CUs)', simds: 24, ghz: 2.2, valu: 2, fma: 2 },
  phoenix: { name: '780M (12 CUs)', simds: 24, ghz: 2.6, valu: 2, fma: 1 },
};

export interface ModelOptions {
  /** A card of CARDS; the family's own by default. */
  readonly card?: string;
  /** Cycles of a load from L2. */
  readonly latency?: number;
}

/** Cycles of one wave: of issue alone, and from its start to its end if it is alone on a SIMD. */
interface Cycles {
  readonly issue: number;
  readonly alone: number;
}

export interface Timed extends Launch {
  readonly waves: number;
  readonly us: number;
  /** Microseconds of issue alone. */
  readonly issueUs: number;
}

const get = (counts: Counts, ...kinds: string[]): number =>
  kinds.reduce((sum, kind) => sum + (counts[kind] ?? 0), 0);
const vmem = (c: Counts): number => get(c, 'vmem128', 'vmem64', 'vmem');
const products = ({ own }: Loop): number => get(own, 'fma', 'fma_mix');

class Model {
  readonly #card: Card;
  readonly #latency: number;

  constructor(card: Card, latency: number) {
    this.#card = card;
    this.#latency = latency;
  }

  issue(c: Counts): number {
    const { valu, fma } = this.#card;
    const full = get(c, 'valu', 'cndmask', 'cvt', 'pk', 'fma_mix', 'pk_fma', 'fma16', 'readlane');
    return full * valu + get(c, 'fma') * fma + get(c, 'imul', 'trans') * 4 * valu;
  }

  /** A turn of a loop by one wave alone: issue, and one trip to memory if it loads (loads of a block go together). */
  alone(c: Counts): number {
    const trips = (vmem(c) ? this.#latency : 0) + (c['smem'] ? ASSUME.scalar : 0);
    return this.issue(c) + trips + get(c, 'salu') + get(c, 'lds128', 'lds64', 'lds2x64') * 2;
  }

  cost(launch: Launch, { isa }: Row): Cycles {
    const { loops, outside } = isa!;
    const fixed = { issue: this.issue(outside), alone: this.issue(outside) * 1.5 + 6 * this.#latency };
    if (launch.kernel.startsWith('conv2d_tiled ') && !loadLoops(loops)) {
      const ahead = this.#ahead(launch, loops);
      return { issue: fixed.issue + ahead.issue, alone: fixed.alone + ahead.alone };
    }
    const { turns, more = 0 } = turnsOf(launch, loops);
    const sum = (cycles: (c: Counts) => number): number => turns.reduce((s, [c, n]) => s + cycles(c) * n, 0);
    return {
      issue: fixed.issue + sum((c) => this.issue(c)),
      alone: fixed.alone + more + sum((c) => this.alone(c)),
    };
  }

  /** A tiled convolution that loads the next step's numbers while it multiplies this step's. */
  #ahead({ kernel, uniforms: k }: Launch, loops: readonly Loop[]): Cycles {
    const main = loops.find((loop) => products(loop) > 50);
    if (!main) throw unknown(kernel);
    const turn = Math.max(this.alone({ ...main.own, vmem128: 0, vmem64: 0 }), this.#latency);
    const steps = tiledSteps(k);
    const n = / ROWS_8\b/.test(kernel) ? (steps * 1024) / products(main) : steps; // tiles of 64 may take half a step at a time
    return { issue: this.issue(main.own) * n, alone: turn * n };
  }
}

const unknown = (kernel: string): Error =>
  new Error(
    `The model does not know the loops of ${kernel}: tools/gpu-static/model.ts must follow the shader.`,
  );

/** Loops that load a tile to workgroup memory; null if there are no two such. */
function loadLoops(loops: readonly Loop[]): readonly [Loop, Loop] | null {
  const [pixels, weights, third] = loops.filter(({ own }) => vmem(own) === 1 && own['ldsw'] === 1);
  return pixels && weights && !third ? [pixels, weights] : null;
}

const tiledSteps = (k: Launch['uniforms']): number =>
  (Math.ceil(k['in_cblocks']! / 4) * k['kernel_size']! ** 2) / k['split_k']!;

interface Turns {
  /** What a turn does, and how many there are. */
  readonly turns: readonly (readonly [Counts, number])[];
  /** Cycles besides. */
  readonly more?: number;
}

/** Kernels whose loops are counted. */
const COUNTED: Readonly<Record<string, (launch: Launch, loops: readonly Loop[]) => Turns | null>> = {
  conv2d_tiled({ kernel, uniforms: k }, loops) {
    const [pixels, weights] = loadLoops(loops)!;
    const main = loops.find((loop) => products(loop) > 50);
    if (!main) return null;
    const steps = tiledSteps(k);
    const around = main.inner ? loops.find(({ depth, inner }) => depth === 2 && !inner) : null;
    if (around === undefined) return null;
    const turns: [Counts, number][] = [
      [pixels.own, (steps * Number(/ROWS=(\d+)/.exec(kernel)![1])) / 16],
      [weights.own, steps * 4],
      [main.own, steps * (main.inner ? 4 : 1)],
    ];
    if (around) turns.push([around.own, steps]);
    return { turns };
  },
  conv2d({ uniforms: k }, loops) {
    const main = loops.find((loop) => products(loop) > 50);
    if (!main) return null;
    const branches = 16 * 17 * 8; // of the stores
    return { turns: [[main.own, k['in_cblocks']! * k['kernel_size']! ** 2], [loops.at(-1)!.own, 16]], more: branches }; // prettier-ignore
  },
  group_norm({ uniforms: k, workgroup }, loops) {
    const loading = loops.filter(({ own }) => vmem(own) > 0);
    if (!loading.length) return null;
    const n = Math.ceil(k['items']! / workgroup);
    const sums = 12 * 150; // two, in workgroup memory
    return { turns: [[loading[0]!.own, n], [loading.at(-1)!.own, n]], more: sums }; // prettier-ignore
  },
  attention({ uniforms: k, workgroup }, loops) {
    const [scores, values] = loops.filter(({ own }) => vmem(own) === 4);
    if (!scores || !values) return null;
    const keys = Math.min(256, k['tokens']!);
    const chunks = Math.ceil(k['tokens']! / 256);
    const blocks = k['head_dim']! / 4;
    return {
      turns: [
        [scores.own, chunks * blocks * Math.ceil(keys / 4 / workgroup)],
        [values.own, chunks * Math.ceil(keys / 4) * Math.ceil(blocks / workgroup)],
      ],
      more: chunks * 3000,
    };
  },
  conv2d_sum: ({ uniforms: k }, [loop]) => (loop ? { turns: [[loop.own, k['split_k']!]] } : null),
  linear: ({ uniforms: k }, [loop]) => (loop ? { turns: [[loop.own, k['in_cblocks']!]] } : null),
};

function turnsOf(launch: Launch, loops: readonly Loop[]): Turns {
  const counted = COUNTED[launch.kernel.split(' ')[0]!];
  if (!counted) return { turns: [] };
  const turns = counted(launch, loops);
  if (!turns) throw unknown(launch.kernel);
  return turns;
}

/** Names of kernels that multiply matrices, and whose loops the model leaves out. */
export const uncounted = (launches: readonly Launch[]): string[] => [
  ...new Set(
    launches
      .filter(({ kernel, flops }) => flops > 0 && !COUNTED[kernel.split(' ')[0]!])
      .map(({ kernel }) => kernel),
  ),
];

/**
 * @param compiled with assembly
 * @param launches one step
 * @throws Error if there is no such card, or a shader has changed so much that the model does not know its loops
 */
export function timesOf(
  { family, rows }: Compiled,
  launches: readonly Launch[],
  { card: name = family, latency = ASSUME.global }: ModelOptions = {},
): Timed[] {
  const card = CARDS[name];
  if (!card) throw new Error(`The model has no card ${name}: it has ${Object.keys(CARDS).join(', ')}.`);
  const model = new Model(card, latency);
  const byKernel = new Map(rows.map((row) => [row.kernel, row]));
  return launches.map((launch) => {
    const { issue, alone } = model.cost(launch, byKernel.get(launch.kernel)!);
    const waves = Math.max(1, launch.workgroups * Math.ceil(launch.workgroup / 64));
    const issuing = (waves / card.simds) * issue;
    const us = (cycles: number): number => cycles / card.ghz / 1000;
    return { ...launch, waves, us: us(Math.max(alone, issuing)), issueUs: us(issuing) };
  });
}

/** What a kernel is called in the model's table. */
const shortName = ({ kernel, uniforms }: Launch): string => {
  const rows = /ROWS=(\d+)/.exec(kernel);
  const split = /SPLIT_K/.test(kernel) ? ` split ${uniforms['split_k']}` : '';
  return (
    kernel.split(' ')[0]! + (rows ? `-${rows[1]}` : '') + split + (/POINTWISE/.test(kernel) ? ' 1x1' : '')
  );
};

/** The times as text: a line for all, then a row for each kind of kernel; with `list`, the longest dispatches. */
export function modelText(title: string, times: readonly Timed[], card: string, list = false): string {
  const total = (of: readonly Timed[], key: 'us' | 'issueUs' | 'flops' | 'waves'): number =>
    of.reduce((sum, timed) => sum + timed[key], 0);
  const ms = (total(times, 'us') + times.length * ASSUME.dispatch) / 1000;
  const groups = new Map<string, Timed[]>();
  for (const timed of times) groups.set(shortName(timed), [...(groups.get(shortName(timed)) ?? []), timed]);
  const rows = [...groups].sort(([, a], [, b]) => total(b, 'us') - total(a, 'us')).map(([name, of]) => {
    const [us, flops] = [total(of, 'us'), total(of, 'flops')];
    const cells = [of.length, us.toFixed(0), total(of, 'issueUs').toFixed(0), (flops / 1e9).toFixed(2), (flops / us / 1e6).toFixed(2), Math.round(total(of, 'waves') / of.length)]; // prettier-ignore
    return name.padEnd(28) + cells.map((cell) => String(cell).padStart(9)).join('');
  }); // prettier-ignore
  const head =
    'kernel'.padEnd(28) +
    ['n', 'us', 'issue us', 'GFLOP', 'TFLOP/s', 'waves'].map((c) => c.padStart(9)).join('');
  const longest = [...times].sort((a, b) => b.us - a.us).slice(0, 25);
  return [
    `${title} on ${CARDS[card]!.name}: ${times.length} dispatches, ${(total(times, 'flops') / 1e9).toFixed(2)} GFLOP, ${ms.toFixed(2)} ms with ${ASSUME.dispatch} us a dispatch`,
    head,
    ...rows,
    ...(list
      ? longest.map(
          (t) =>
            `${t.us.toFixed(1).padStart(7)} us ${String(t.waves).padStart(5)} waves  ${t.label} | ${t.kernel}`,
        )
      : []),
  ].join('\n');
}

/** What the loops of a kernel do, from RADV's assembly: blocks `BBn:`, and branches to them by name. */

/** Kinds of instructions: the first that matches. */
const KINDS: readonly (readonly [string, RegExp])[] = [
  ['fma', /^v_(dual_)?(fma|fmac|fmamk|fmaak|mac|mad)_(f32|legacy)/],
  ['fma_mix', /^v_(fma_mix|mad_mix)/],
  ['pk_fma', /^v_pk_(fma|fmac)_f16/],
  ['fma16', /^v_(fma|fmac|fmamk|fmaak|mad)_f16/],
  ['dot', /^v_dot/],
  ['pk', /^v_pk_/],
  ['cvt', /^v_(dual_)?cvt_/],
  ['imul', /^v_(mul_lo_u32|mul_hi|mad_u64|mul_u32)/],
  ['trans', /^v_(rcp|sqrt|rsq|exp|log|sin|cos)/],
  ['cndmask', /^v_(dual_)?cndmask/],
  ['lds128', /^ds_(read|load)_b128/],
  ['lds64', /^ds_(read2_b32|load_2addr_b32|read_b64|load_b64|read2st64_b32|load_2addr_stride64_b32)$/],
  ['lds2x64', /^ds_(read2_b64|load_2addr_b64|read2st64_b64|load_2addr_stride64_b64)$/],
  ['lds', /^ds_(read|load)/],
  ['ldsw', /^ds_(write|store)/],
  ['ds', /^ds_/],
  ['vmem128', /^(buffer|global)_load_(dwordx4|b128)/],
  ['vmem64', /^(buffer|global)_load_(dwordx2|b64)/],
  ['vmem', /^(buffer|global)_load/],
  ['scratch', /^scratch_/],
  ['store', /^(buffer|global)_store/],
  ['smem', /^s_(buffer_)?load/],
  ['waitcnt', /^s_(waitcnt|wait)/],
  ['barrier', /^s_barrier/],
  ['delay', /^s_(delay_alu|nop|clause|inst_prefetch|set_inst_prefetch|code_end|sleep|sendmsg)/],
  ['branch', /^s_(c?branch|setpc|endpgm)/],
  ['salu', /^s_/],
  ['readlane', /^v_read/],
  ['valu', /^v_/],
];

/** Instructions by kind; `dual` counts pairs that issue as one. */
export type Counts = Readonly<Record<string, number>>;

export interface Loop {
  /** First and last block, as in `BB3..BB7`. */
  readonly blocks: string;
  /** 1 for an outermost loop. */
  readonly depth: number;
  /** Whether it has no loop inside. */
  readonly inner: boolean;
  /** Of one turn, without the loops inside. */
  readonly own: Counts;
}

export interface Isa {
  readonly all: Counts;
  readonly outside: Counts;
  readonly loops: readonly Loop[];
}

interface Block {
  readonly id: number;
  readonly lines: string[];
}

interface Range {
  readonly start: number;
  readonly end: number;
}

function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  for (const line of text.split('\n')) {
    const label = /^BB(\d+):/.exec(line.trim());
    if (label) {
      blocks.push({ id: Number(label[1]), lines: [] });
      continue;
    }
    const code = line.replace(/;.*$/, '').trim();
    if (!code) continue;
    if (!blocks.length) blocks.push({ id: -1, lines: [] });
    blocks.at(-1)!.lines.push(code);
  }
  return blocks;
}

/** One loop for each header, up to the last block that goes back to it. (A body that goes back by several branches is one.) */
function rangesOf(blocks: readonly Block[]): Range[] {
  const index = new Map(blocks.map(({ id }, i) => [id, i]));
  const ends = new Map<number, number>();
  blocks.forEach(({ lines }, i) => {
    for (const code of lines) {
      const to = /^s_c?branch\S*\s+BB(\d+)/.exec(code);
      const start = to ? index.get(Number(to[1])) : undefined;
      if (start !== undefined && start <= i) ends.set(start, Math.max(ends.get(start) ?? 0, i));
    }
  });
  return [...ends].map(([start, end]) => ({ start, end })).sort((a, b) => a.start - b.start || a.end - b.end);
}

const kindOf = (code: string): string => {
  const name = code.trim().split(/\s+/)[0]!;
  return KINDS.find(([, pattern]) => pattern.test(name))?.[0] ?? 'other';
};

/** @param text the file `<hash>.Assembly.txt` of a kernel */
export function analyse(text: string): Isa {
  const blocks = blocksOf(text);
  const ranges = rangesOf(blocks);
  const within = (a: Range, b: Range): boolean => a.start >= b.start && a.end <= b.end;
  const same = (a: Range, b: Range): boolean => a.start === b.start && a.end === b.end;
  const count = (range: Range, own: boolean): Counts => {
    const inside = own ? ranges.filter((r) => within(r, range) && !same(r, range)) : [];
    const counts: Record<string, number> = {};
    const add = (kind: string): void => void (counts[kind] = (counts[kind] ?? 0) + 1);
    for (let i = range.start; i <= range.end && i < blocks.length; i++) {
      if (inside.some((r) => i >= r.start && i <= r.end)) continue;
      for (const code of blocks[i]!.lines) {
        const halves = code.split('::'); // `v_dual_a ... :: v_dual_b ...` is one instruction that does two things
        halves.forEach((half) => add(kindOf(half)));
        if (halves.length > 1) add('dual');
      }
    }
    return counts;
  };
  const whole = { start: 0, end: blocks.length - 1 };
  return {
    all: count(whole, false),
    outside: count(whole, true),
    loops: ranges.map((range) => ({
      blocks: `BB${blocks[range.start]!.id}..BB${blocks[range.end]!.id}`,
      depth: ranges.filter((r) => within(range, r)).length,
      inner: !ranges.some((r) => r !== range && within(r, range)),
      own: count(range, true),
    })),
  };
}

/**
 * The order of what a kernel does, a line for each block: loads (L global, s scalar, D workgroup memory), stores (O global, S
 * workgroup memory), waits (V3: until 3 global loads are under way; K: the others), barriers (B), runs of multiply-adds (their number).
 */
export function orderOf(text: string): string[] {
  const MARKS: readonly (readonly [string, RegExp])[] = [
    ['L', /^(buffer|global)_load/],
    ['s', /^s_(buffer_)?load/],
    ['D', /^ds_(read|load)/],
    ['S', /^ds_(write|store)/],
    ['B', /^s_barrier/],
    ['O', /^(buffer|global)_store/],
  ];
  return blocksOf(text).flatMap(({ id, lines }) => {
    const out: string[] = [];
    let run = 0;
    const put = (mark: string): void => {
      if (run) out.push(String(run));
      run = 0;
      if (mark) out.push(mark);
    };
    for (const code of lines) {
      const products = code
        .split('::')
        .filter((half) => /^\s*v_(dual_|pk_)?(fma|fmac|dot|fma_mix)/.test(half));
      run += products.length;
      if (products.length) continue;
      const [vm, lgkm] = [/vmcnt\((\d+)\)/.exec(code), /lgkmcnt\((\d+)\)/.exec(code)];
      const mark = MARKS.find(([, pattern]) => pattern.test(code))?.[0];
      if (mark) put(mark);
      else if (vm || lgkm) put((vm ? `V${vm[1]}` : '') + (lgkm ? `K${lgkm[1]}` : ''));
    }
    put('');
    return out.length ? [`BB${id}: ${out.join(' ')}`] : [];
  });
}

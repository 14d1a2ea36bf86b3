/**
 * Of kernels that multiply matrices: what one step of the main loop issues, and the share of the peak rate of multiply-adds
 * that this alone allows, without any waiting.
 */

import type { Compiled, Row } from './families.ts';
import type { Counts } from './isa.ts';

export interface Share {
  readonly family: string;
  readonly kernel: string;
  readonly vgprs: number;
  readonly lds: number;
  readonly waves: number;
  /** Multiply-adds of a lane. */
  readonly products: number;
  /** Other vector instructions: of full rate, and of a quarter. */
  readonly valuOther: number;
  readonly slow: number;
  readonly ldsReads: number;
  readonly ldsWrites: number;
  readonly globalLoads: number;
  readonly fmaPerLdsRead: number;
  readonly fmaPerGlobalLoad: number;
  /** Trips to memory that follow each other. */
  readonly roundTrips: number;
  /** Cycles of multiply-adds over those of all vector instructions. */
  readonly valuShare: number;
  /** The same, if reading workgroup memory were all that takes time. */
  readonly ldsShare: number;
}

/** Kernels with a main loop of multiply-adds, without the variants that change only their ends. */
const isProduct = (kernel: string): boolean =>
  /^(conv2d_tiled|conv2d|gemm|attention)/.test(kernel) && !/RESIDUAL|TIME_BIAS|UPSAMPLED|SPLIT/.test(kernel);

/** The loops of a step, with their turns. */
function stepOf({ kernel, isa }: Row): [Counts, number][] | null {
  const loops = isa?.loops ?? [];
  const main = loops.find(
    ({ own }) => (own['fma'] ?? 0) + (own['fma_mix'] ?? 0) + (own['pk_fma'] ?? 0) >= 50,
  );
  if (!main) return null;
  const loads = loops.filter(({ own }) => (own['vmem128'] ?? own['vmem64']) === 1 && own['ldsw'] === 1);
  const [pixels, weights] = loads;
  if (kernel.startsWith('conv2d_tiled') && pixels && weights && loads.length === 2) {
    const rows = Number(/ROWS=(\d+)/.exec(kernel)?.[1] ?? 0);
    const turns = main.inner && main.depth === 3 ? 4 : 1;
    return [[main.own, turns], [pixels.own, rows / 16], [weights.own, 4]]; // prettier-ignore
  }
  const gemm = kernel.startsWith('gemm');
  const around = loops.find((loop) => loop !== main && loop.depth === main.depth - 1 && !loop.inner);
  const own: [Counts, number] = [main.own, main.depth === 2 && gemm ? 4 : 1];
  return around && gemm ? [own, [around.own, 1]] : [own];
}

const round = (x: number): number => Math.round(x * 100) / 100;

/** @param compiled with assembly */
export function sharesOf({ family, rows }: Compiled): Share[] {
  const fast = /navi3|phoenix/.test(family); // one 32-bit multiply-add of 64 lanes a cycle, if the registers allow
  const width = /vega/.test(family) ? 4 : 2; // cycles of an instruction of 64 lanes
  return rows.filter(({ kernel }) => isProduct(kernel)).flatMap((row) => {
    const step = stepOf(row);
    if (!step) return [];
    const get = (...kinds: string[]): number =>
      step.reduce((sum, [counts, n]) => sum + kinds.reduce((s, kind) => s + (counts[kind] ?? 0), 0) * n, 0);
    const other = get('valu', 'cndmask', 'cvt', 'pk', 'readlane');
    const slow = get('imul', 'trans');
    const issued = get('fma', 'fma_mix', 'pk_fma');
    const fmaCycles = get('fma') * (fast ? 1 : width) + get('fma_mix', 'pk_fma') * width;
    // 128 bytes a cycle, which two SIMDs share.
    const ldsCycles = get('lds128', 'lds2x64', 'ldsw') * 8 + get('lds64') * 4 + get('lds') * 2;
    const [ldsReads, globalLoads] = [get('lds128', 'lds2x64', 'lds64', 'lds'), get('vmem128', 'vmem64', 'vmem')];
    return {
      ...{ family, kernel: row.kernel, vgprs: row.vgprs, lds: row.lds, waves: row.waves },
      ...{ products: issued + get('pk_fma'), valuOther: other, slow, ldsReads, ldsWrites: get('ldsw'), globalLoads },
      fmaPerLdsRead: round(issued / Math.max(1, ldsReads)),
      fmaPerGlobalLoad: round(issued / Math.max(1, globalLoads)),
      roundTrips: step.reduce((sum, [c, n]) => sum + ((c['vmem128'] ?? 0) + (c['vmem64'] ?? 0) > 0 ? n : 0), 0),
      valuShare: round(fmaCycles / (fmaCycles + other * width + slow * 4 * width)),
      ldsShare: ldsCycles ? round(Math.min(1, fmaCycles / (2 * ldsCycles))) : 1,
    };
  }); // prettier-ignore
}

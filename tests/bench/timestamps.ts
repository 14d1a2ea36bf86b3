/** Times of single dispatches by the GPU's own clock (`timestamp-query`). */

import type { Gpu } from '../../src/engine/gpu/device.ts';
import type { Program } from '../../src/engine/gpu/program.ts';
import { readBuffer } from '../../src/engine/gpu/transfer.ts';
import type { Dispatched } from './engine.ts';

/** What one pass should take at least: browsers round timestamps to 100 microseconds. */
const PASS_MS = 2;
/** Queries of one set: WebGPU allows 4096. */
const MOST = 2048;

/** Milliseconds of each command: a pass of its own, `times` replays in it. */
async function passes(gpu: Gpu, program: Program, times: readonly number[]): Promise<number[]> {
  const { device } = gpu;
  const out: number[] = [];
  for (let first = 0; first < times.length; first += MOST) {
    const own = times.slice(first, first + MOST);
    const querySet = device.createQuerySet({ type: 'timestamp', count: 2 * own.length });
    const resolved = device.createBuffer({ size: 16 * own.length, usage: 0x204 }); // QUERY_RESOLVE | COPY_SRC
    for (const [i, replays] of own.entries()) {
      const encoder = device.createCommandEncoder();
      const writes = { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 };
      const pass = encoder.beginComputePass({ timestampWrites: writes });
      const piece = { from: first + i, to: first + i + 1 };
      for (let k = 0; k < replays; k++) program.replay(pass, piece);
      pass.end();
      device.queue.submit([encoder.finish()]);
    }
    const encoder = device.createCommandEncoder();
    encoder.resolveQuerySet(querySet, 0, 2 * own.length, resolved, 0);
    device.queue.submit([encoder.finish()]);
    const ns = new BigUint64Array(await readBuffer(gpu, resolved, 16 * own.length));
    own.forEach((replays, i) => out.push(Number(ns[2 * i + 1]! - ns[2 * i]!) / 1e6 / replays));
    querySet.destroy();
    resolved.destroy();
  }
  return out;
}

export const hasTimestamps = (gpu: Gpu): boolean => gpu.device.features.has('timestamp-query');

/** Milliseconds of every dispatch of a program: the least of `rounds`, after a warm one. What it writes is of no interest. */
export async function timestamps(gpu: Gpu, program: Program, rounds = 3): Promise<Dispatched[]> {
  const first = await passes(gpu, program, new Array<number>(program.commands.length).fill(4));
  const times = first.map((ms) => Math.max(1, Math.min(256, Math.ceil(PASS_MS / Math.max(ms, 1e-4)))));
  const best = new Array<number>(times.length).fill(Infinity);
  for (let round = 0; round < rounds; round++)
    (await passes(gpu, program, times)).forEach((ms, i) => (best[i] = Math.min(best[i]!, ms)));
  return program.commands.map(({ label }, i) => ({ label, ms: best[i]! }));
}

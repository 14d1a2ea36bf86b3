/**
 * How long commands take on a GPU: by timestamp queries if the device has them, else by the clock, as far as the clock
 * can be trusted. Browsers make both coarse on purpose (Chrome's timestamps by 0.1 ms, clocks by up to 100 ms).
 */

import type { Gpu } from './device.ts';
import { scoped } from './scope.ts';
import { COPY_DST, COPY_SRC, MAP_MODE_READ, MAP_READ, QUERY_RESOLVE } from './usage.ts';
import { awaitQueue } from './wait.ts';

export interface Stopwatch {
  /** Milliseconds within which two durations cannot be told apart. */
  readonly tick: number;
  /** Milliseconds that the commands of one compute pass take; null if that cannot be told. @throws device-lost */
  time(record: (pass: GPUComputePassEncoder) => void): Promise<number | null>;
  destroy(): void;
}

/** Chrome rounds timestamps to so many milliseconds. */
const TIMESTAMP_TICK = 0.1;
/** A clock with a longer tick, or waits longer than that, measure nothing of use. */
const MAX_TICK = 20;

/** A stopwatch for this device; null if it has no timestamps and its clock is too coarse. */
export async function openStopwatch(gpu: Gpu): Promise<Stopwatch | null> {
  return (await timestamps(gpu)) ?? (await clock(gpu));
}

async function timestamps(gpu: Gpu): Promise<Stopwatch | null> {
  const { device } = gpu;
  if (!device.features.has('timestamp-query')) return null;
  const making = scoped(device, () => ({
    querySet: device.createQuerySet({ label: 'stopwatch', type: 'timestamp', count: 2 }),
    resolved: device.createBuffer({ label: 'stopwatch', size: 16, usage: QUERY_RESOLVE | COPY_SRC }),
    staging: device.createBuffer({ label: 'stopwatch', size: 16, usage: MAP_READ | COPY_DST }),
  }));
  const { querySet, resolved, staging } = making.result;
  const destroy = (): void => [querySet, resolved, staging].forEach((each) => each.destroy());
  const time: Stopwatch['time'] = async (record) => {
    const running = scoped(device, () => {
      const encoder = device.createCommandEncoder({ label: 'stopwatch' });
      const timestampWrites = { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
      const pass = encoder.beginComputePass({ label: 'stopwatch', timestampWrites });
      record(pass);
      pass.end();
      encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, staging, 0, 16);
      device.queue.submit([encoder.finish()]);
      return { mapped: staging.mapAsync(MAP_MODE_READ) };
    });
    running.result.mapped.catch(() => {}); // awaited below
    if (await running.refused) return null;
    try {
      await awaitQueue(device, running.result.mapped);
    } catch {
      gpu.check();
      return null;
    }
    const [begin, end] = new BigUint64Array(staging.getMappedRange().slice(0));
    staging.unmap();
    return end! > begin! ? Number(end! - begin!) / 1e6 : null;
  };
  if (!(await making.refused)) return { tick: TIMESTAMP_TICK, time, destroy };
  destroy();
  return null;
}

/** By the clock: from the submit until the queue reports its end, less the time of an empty submit. */
async function clock(gpu: Gpu): Promise<Stopwatch | null> {
  const own = clockTick();
  if (own > MAX_TICK) return null;
  const { device } = gpu;
  const wait = async (record?: (pass: GPUComputePassEncoder) => void): Promise<number | null> => {
    const since = performance.now();
    const running = scoped(device, () => {
      const encoder = device.createCommandEncoder({ label: 'stopwatch' });
      const pass = encoder.beginComputePass({ label: 'stopwatch' });
      record?.(pass);
      pass.end();
      device.queue.submit([encoder.finish()]);
    });
    await gpu.settled();
    const ms = performance.now() - since;
    return (await running.refused) ? null : ms;
  };
  const empty: number[] = [];
  for (let i = 0; i < 5; i++) empty.push((await wait()) ?? Infinity);
  empty.sort((a, b) => a - b);
  const [least, most] = [empty[0]!, empty[3]!]; // the longest one may have waited for something else
  if (most > MAX_TICK) return null;
  return {
    tick: Math.max(own, most - least),
    async time(record) {
      const ms = await wait(record);
      return ms === null ? null : Math.max(0, ms - empty[2]!);
    },
    destroy() {},
  };
}

/** Milliseconds between two readings of `performance.now()` that differ; Infinity if none do for a while. */
function clockTick(): number {
  const since = performance.now();
  for (let i = 0; i < 200_000; i++) {
    const now = performance.now();
    if (now > since) return now - since;
  }
  return Infinity;
}

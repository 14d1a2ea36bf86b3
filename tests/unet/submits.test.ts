/** A long step goes to the GPU in several submits, and stops between them. Counted, not timed. */

import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { diskFiles } from '../../src/apps/cli/files.ts';
import type { Gpu } from '../../src/engine/gpu/device.ts';
import { CommandTimings, type CommandRange } from '../../src/engine/gpu/submit_ranges.ts';
import { readTensor } from '../../src/engine/gpu/transfer.ts';
import { Model } from '../../src/engine/model.ts';
import { sample } from '../../src/session/sample.ts';
import { useGpu } from '../helpers/gpu.ts';

const gpu = useGpu();
const DIGITS = fileURLToPath(new URL('../../weights/digits', import.meta.url));
const SHAPE = {
  count: 1,
  height: 32,
  width: 32,
  guided: false,
  givenNoise: false,
  slots: 0,
  measured: false,
  masked: false,
};

/** The same GPU; `submitted` is told of every submit. */
function watched(real: Gpu, submitted: (count: number) => void): Gpu {
  let count = 0;
  const bound = <T extends object>(target: T, change: Record<string, unknown>): T =>
    new Proxy(target, {
      get(_, key) {
        if (typeof key === 'string' && key in change) return change[key];
        const value = Reflect.get(target, key) as unknown;
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  const queue = bound(real.device.queue, {
    submit(buffers: GPUCommandBuffer[]) {
      real.device.queue.submit(buffers);
      if (buffers.length > 0) submitted(++count); // an empty one only looks whether work is done
    },
  });
  return { ...real, device: bound(real.device, { queue }) };
}

/** One step that is thought to take so long. */
async function step(stepMs: number, submitted: (count: number) => void = () => {}, signal?: AbortSignal) {
  let count = 0;
  let counting = false;
  const model = await Model.load(
    watched(gpu(), () => {
      if (counting) submitted(++count);
    }),
    diskFiles(DIGITS),
  );
  try {
    const plan = await model.acquirePlan(SHAPE);
    for (let i = 0; i < 100; i++) plan.step.timings.recordTiming(plan.step.timings.all, stepMs);
    expect(plan.step.timings.ms()).toBeCloseTo(stepMs, 3);
    const pieces = plan.step.timings.split().length;
    model.releasePlan(plan);
    counting = true;
    let last = new Float32Array();
    const options = { labels: [3], steps: 1, scheduler: 'ddim', ...(signal ? { signal } : {}) } as const;
    for await (const { xT, index } of sample(model, options))
      if (index === 1) last = await readTensor(gpu(), xT);
    return { count, last, pieces, dispatches: plan.step.commands.length, measured: plan.step.timings.ms() };
  } finally {
    model.destroy();
  }
}

it('a step of a second takes about 17 submits, a fast one a single, with the same numbers', async () => {
  const fast = await step(1);
  const slow = await step(1000);
  expect(fast.pieces).toBe(1);
  expect(slow.pieces).toBeGreaterThan(13);
  expect(slow.pieces).toBeLessThan(22);
  expect(slow.count - fast.count).toBe(slow.pieces - 1);
  expect(slow.last).toEqual(fast.last);
  const endless = await step(1e9);
  expect(endless.count - fast.count).toBe(endless.dispatches - 1);
  expect(endless.last).toEqual(fast.last);
  expect(endless.measured).toBeLessThan(1e9); // what a step takes is measured
});

it('stops in the middle of a long step', async () => {
  const stop = new AbortController();
  let submits = 0;
  const run = step(
    1000,
    (count) => {
      submits = count;
      if (count === 5) stop.abort();
    },
    stop.signal,
  );
  await expect(run).rejects.toMatchObject({ code: 'aborted' });
  expect(submits).toBe(5);
});

it('learns which commands take long: no piece stays far above the time that a submit may take', () => {
  // Every tenth command takes twenty times as long as it is thought to.
  const real = Array.from({ length: 100 }, (_, i) => (i % 10 === 3 ? 40 : 2));
  const timings = new CommandTimings(real.map(() => 2));
  const takes = ({ from, to }: CommandRange) => real.slice(from, to).reduce((sum, ms) => sum + ms, 0);
  const longest = () => Math.max(...timings.split().map(takes));
  expect(longest()).toBeGreaterThan(150);
  for (let step = 0; step < 20; step++)
    for (const piece of timings.split()) timings.recordTiming(piece, takes(piece));
  expect(longest()).toBeLessThanOrEqual(60 + 40); // and one command
  expect(timings.split().flatMap(({ from, to }) => real.slice(from, to))).toEqual(real); // each once, in order
  expect(timings.split().length).toBeLessThanOrEqual(Math.ceil(takes(timings.all) / 50));
});

it('a time of nothing, as a coarse clock gives it, is taken for short, not for ever', () => {
  const timings = new CommandTimings([2]);
  for (let step = 0; step < 99; step++) timings.recordTiming(timings.all, 0);
  for (let step = 0; step < 20; step++) timings.recordTiming(timings.all, 10);
  expect(timings.ms()).toBeCloseTo(10, 1);
});

/** A long step goes to the GPU in several submits, and stops between them. Counted, not timed. */

import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { diskFiles } from '../../src/cli/files.ts';
import type { Gpu } from '../../src/gpu/device.ts';
import { readTensor } from '../../src/gpu/transfer.ts';
import { Model, submitsFor } from '../../src/model.ts';
import { sample } from '../../src/sampler.ts';
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
      submitted(++count);
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
    const plan = await model.takePlan(SHAPE);
    plan.stepMs = stepMs;
    model.givePlanBack(plan);
    counting = true;
    let last = new Float32Array();
    const options = { labels: [3], steps: 1, scheduler: 'ddim', ...(signal ? { signal } : {}) } as const;
    for await (const { xT, index } of sample(model, options))
      if (index === 1) last = await readTensor(gpu(), xT);
    return { count, last, dispatches: plan.step.commands.length, measured: plan.stepMs };
  } finally {
    model.destroy();
  }
}

it('a step of a second takes 14 submits, a fast one a single, with the same numbers', async () => {
  const fast = await step(1);
  const slow = await step(1000);
  expect(submitsFor(1)).toBe(1);
  expect(slow.count - fast.count).toBe(13);
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

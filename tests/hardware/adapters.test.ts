/** Adapters that say little, queues that answer late, and the choice between two GPUs. */

import { afterEach, describe, expect, it, vi } from 'vitest';
import { nodeGpu } from '../../src/apps/cli/node_gpu.ts';
import { openGpu, type Gpu } from '../../src/engine/gpu/device.ts';
import { awaitQueue } from '../../src/engine/gpu/wait.ts';
import type { Stopwatch } from '../../src/engine/gpu/stopwatch.ts';
import { conv2d } from '../../src/engine/kernels/conv2d.ts';
import { fingerprint, tune, type Candidate } from '../../src/engine/kernels/tune.ts';
import { Runtime } from '../../src/loading/runtime.ts';
import { useGpu } from '../helpers/gpu.ts';

const gpu = useGpu();
afterEach(() => vi.unstubAllGlobals());

/** The adapter of the tests with some of its properties replaced; `asked` gets the options of each request. */
async function entry(replaced: Record<string, unknown>, asked: unknown[] = []): Promise<GPU> {
  const real = (await nodeGpu())!;
  const requestAdapter = async (options?: GPURequestAdapterOptions) => {
    asked.push(options);
    const adapter = (await real.requestAdapter())!;
    const get = (target: GPUAdapter, key: string | symbol): unknown => {
      if (typeof key === 'string' && key in replaced) return replaced[key];
      const value = Reflect.get(target, key) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    };
    return new Proxy(adapter, { get });
  };
  return { requestAdapter } as unknown as GPU;
}

const opened = async (replaced: Record<string, unknown>): Promise<Gpu> => {
  const one = await openGpu(await entry(replaced));
  one.destroy();
  return one;
};

describe('an adapter', () => {
  it('without info (Chrome before 127): opened, and named by the older call if there is one', async () => {
    const bare = await opened({ info: undefined });
    expect([bare.adapter, bare.isSoftware]).toEqual(['unnamed adapter', false]);
    const old = await opened({ info: undefined, isFallbackAdapter: true });
    expect(old.isSoftware).toBe(true);
    const requestAdapterInfo = () => Promise.resolve({ vendor: 'google', architecture: 'swiftshader' });
    const named = await opened({ info: undefined, requestAdapterInfo });
    expect([named.adapter, named.isSoftware]).toEqual(['google swiftshader', true]);
  });

  it('that masks its name (Firefox, Safari) is told apart by what it can do, and by the browser', async () => {
    const masked = { vendor: '', architecture: '', device: '', description: '' };
    const one = await opened({ info: masked });
    const two = await opened({ info: masked, features: new Set() });
    expect(one.adapter).toBe(two.adapter);
    expect(fingerprint(one)).not.toBe(fingerprint(two));
    expect(fingerprint(one)).toBe(fingerprint(await opened({ info: masked })));
    const before = fingerprint(one);
    vi.stubGlobal('navigator', { userAgent: 'another browser' });
    expect(fingerprint(one)).not.toBe(before);
  });

  it('of unknown software is asked for its quads; only two are known', async () => {
    const warp = { vendor: 'microsoft', architecture: '', device: 'warp', description: 'Software', isFallbackAdapter: true };
    const one = await opened({ info: warp });
    expect(one.isSoftware).toBe(true);
    expect(one.supportsQuadOps).toBe(true); // asked and right: this adapter is llvmpipe
  }); // prettier-ignore

  it('that is missing: in Node, advice for a command line', async () => {
    const none = { requestAdapter: () => Promise.resolve(null) } as unknown as GPU;
    await expect(openGpu(none)).rejects.toMatchObject({
      code: 'no-adapter',
      action: expect.stringContaining('VK_DRIVER_FILES') as string,
    });
  });
});

describe('which GPU', () => {
  it('is the choice of the caller, else of the browser', async () => {
    const asked: unknown[] = [];
    const spied = await entry({}, asked);
    (await openGpu(spied)).destroy();
    (await openGpu(spied, { powerPreference: 'high-performance' })).destroy();
    expect(asked).toEqual([{}, { powerPreference: 'high-performance' }]);
  });

  it('also through a runtime, again after a loss', async () => {
    const asked: unknown[] = [];
    const runtime = new Runtime({ gpu: () => entry({}, asked), linger: 0 });
    const source = { key: 'none', title: '', bytes: null, licence: null, verified: false, files: { label: 'none', read: () => Promise.reject(new Error('no file')) } }; // prettier-ignore
    runtime.powerPreference = 'low-power';
    await expect(runtime.acquire(source)).rejects.toThrow();
    await expect(runtime.acquire(source)).rejects.toThrow();
    expect(asked).toEqual([{ powerPreference: 'low-power' }, { powerPreference: 'low-power' }]);
  });
});

describe('a queue that looks for finished work only when something is submitted (Firefox)', () => {
  const lazy = () => {
    const waiting: (() => void)[] = [];
    const submitted: number[] = [];
    const submit = (buffers: GPUCommandBuffer[]) => {
      submitted.push(buffers.length);
      waiting.splice(0).forEach((done) => done());
    };
    const device = { queue: { submit } } as unknown as GPUDevice;
    return { device, submitted, done: () => new Promise<void>((resolve) => waiting.push(resolve)) };
  };

  it('is made to look', async () => {
    const { device, submitted, done } = lazy();
    await awaitQueue(device, done()); // for ever, if nobody submits
    expect(submitted).toEqual([0]);
  });

  it('also by a device that waits to be settled', async () => {
    const real = gpu();
    const { submitted, done, device } = lazy();
    const queue = new Proxy(real.device.queue, {
      get(target, key) {
        if (key === 'onSubmittedWorkDone') return done;
        if (key === 'submit')
          return (buffers: GPUCommandBuffer[]) => {
            target.submit(buffers);
            device.queue.submit(buffers);
          };
        return (Reflect.get(target, key) as (...a: unknown[]) => unknown).bind(target);
      },
    });
    const adapter = await entry({
      requestDevice: async () => {
        const made = (await (await (await nodeGpu())!.requestAdapter())!.requestDevice())!;
        Object.defineProperty(made, 'queue', { value: queue });
        return made;
      },
    });
    const one = await openGpu(adapter);
    const before = submitted.length;
    await one.settled();
    expect(submitted.length).toBe(before + 1);
    one.destroy();
  });
});

it('the tuner looks at its budget between candidates, and keeps nothing of a shape that it has not finished', async () => {
  const shape = { cIn: 16, cOut: 16, size: 3, stride: 1, h: 8, w: 8 };
  let measured = 0;
  const stopwatch = (): Promise<Stopwatch> =>
    Promise.resolve({
      tick: 0.001,
      time: () => new Promise((resolve) => setTimeout(() => resolve((measured++, 5)), 400)),
      destroy() {},
    });
  const names = ['direct', 'winograd', 'tiled-16', 'tiled-32', 'tiled-64'] as const;
  const candidates = (): Candidate[] =>
    names.map((name) => ({ name, record: (tape, x, w, stride) => conv2d(tape, name, x, w, { stride }) }));
  const kept: string[] = [];
  const store = { getItem: () => null, setItem: (_: string, value: string) => void kept.push(value) };
  const device = new Proxy(gpu().device, {
    get(target, key) {
      const value = Reflect.get(target, key) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  }); // one of which nothing is known yet
  await tune({ ...gpu(), device }, [shape, { ...shape, h: 16, w: 16 }], 'f32', { budget: 500, candidates, stopwatch, store }); // prettier-ignore
  expect(measured).toBeGreaterThan(0);
  expect(measured).toBeLessThan(2 * names.length);
  expect(kept).toEqual([]);
});

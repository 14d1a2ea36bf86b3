/**
 * The branch that visitors with a GPU take, as a whole, on the adapter of the tests: opened as hardware (FORCED_ADAPTER),
 * asked for its quads, tuned, drawn with, lost. Results equal the software branch within rounding.
 */

import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, expect, it, vi } from 'vitest';
import { diskFiles } from '../../src/apps/cli/files.ts';
import { nodeGpu } from '../../src/apps/cli/node_gpu.ts';
import { FORCED_ADAPTER, openGpu, type Gpu } from '../../src/engine/gpu/device.ts';
import type { ConvShape } from '../../src/engine/kernels/kernel_policy.ts';
import { readTensor } from '../../src/engine/gpu/transfer.ts';
import { Model } from '../../src/engine/model.ts';
import { bindingLimit, convShapes, planMemory, READ_BACK, smallestRun } from '../../src/engine/memory.ts';
import { candidatesOf } from '../../src/engine/kernels/tune.ts';
import { kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
import { Runtime } from '../../src/loading/runtime.ts';
import { sample } from '../../src/session/sample.ts';
import type { SampleOptions } from '../../src/session/sample_options.ts';
import { expectClose } from '../helpers/array.ts';
import { countBuffers } from '../helpers/count_buffers.ts';

const folder = (model: string) => fileURLToPath(new URL(`../../weights/${model}`, import.meta.url));
const force = (kind: 'hardware' | 'software' | undefined) =>
  Object.assign(globalThis, { [FORCED_ADAPTER]: kind });
const SOURCE = {
  key: 'digits',
  title: 'digits',
  bytes: null,
  licence: null,
  verified: false,
  files: diskFiles(folder('digits')),
};
const open: Gpu[] = [];
const openAs = async (kind: 'hardware' | 'software'): Promise<Gpu> => {
  force(kind);
  const gpu = await openGpu(await nodeGpu());
  open.push(gpu);
  return gpu;
};
afterEach(() => force(undefined));
afterAll(() => open.forEach((gpu) => gpu.destroy()));

/** Smallest shape of a network in this test for which the rule of GPUs takes tiles. */
const TILED = { cIn: 64, cOut: 64, size: 3, stride: 1, h: 16, w: 16 };

it('any adapter counts as hardware or as software, and hardware is asked for its quads', async () => {
  const asked = async (kind: 'hardware' | 'software'): Promise<{ gpu: Gpu; labels: string[] }> => {
    const labels: string[] = [];
    const entry = (await nodeGpu())!;
    const requestAdapter = async () => {
      const adapter = (await entry.requestAdapter())!;
      const request = adapter.requestDevice.bind(adapter);
      adapter.requestDevice = async (descriptor) => {
        const device = await request(descriptor);
        const create = device.createShaderModule.bind(device);
        device.createShaderModule = (shader) => (labels.push(shader.label!), create(shader));
        return device;
      };
      return adapter;
    };
    force(kind);
    const gpu = await openGpu({ requestAdapter } as unknown as GPU);
    open.push(gpu);
    return { gpu, labels };
  };
  const hardware = await asked('hardware');
  expect(hardware.gpu.device.features.has('subgroups')).toBe(true); // or this file tests nothing
  expect([hardware.gpu.isSoftware, hardware.gpu.supportsQuadOps, hardware.labels]).toEqual([
    false,
    true,
    ['quads'],
  ]);
  hardware.gpu.check();
  const software = await asked('software');
  const known = /swiftshader|llvmpipe/i.test(software.gpu.adapter); // tools/gpu runs this on GPUs, too
  expect([software.gpu.isSoftware, software.gpu.supportsQuadOps, software.labels]).toEqual([true, true, known ? [] : ['quads']]); // prettier-ignore
});

const draw = async (model: Model, options: SampleOptions): Promise<Float32Array> => {
  let last: Float32Array = new Float32Array();
  for await (const { index, steps, xT } of sample(model, options))
    if (index === steps) last = await readTensor(model.gpu, xT);
  return last;
};

it.each([
  ['digits', { labels: [7, 3], seed: 5, steps: 4, guidance: 2 }],
  ['avatars', { labels: [3], seed: 5, steps: 3, scheduler: 'dpmpp-2m', guidance: 2 }],
] as const)('%s: loaded, tuned and drawn as on a GPU, in the memory that was planned', async (name, options) => {
  const kept = new Map<string, string>();
  const store = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
  };
  const gpu = await openAs('hardware');
  // All candidates of the shapes that are quick here: a software adapter takes long for the others.
  const candidates = (shape: ConvShape) => (shape.h === 8 && shape.size === 3 ? candidatesOf(gpu, shape) : []);
  const model = await Model.load(gpu, diskFiles(folder(name)), { tune: { store, budget: 120_000, candidates } });
  const tuned = await draw(model, options);
  model.destroy();
  const choices = [...kept.values()].flatMap((text) => Object.entries(JSON.parse(text) as object));
  expect(choices.length).toBeGreaterThan(1);
  for (const [shape] of choices) expect(shape).toMatch(/ 3\/\d 8x8$/);

  const counted = countBuffers(gpu);
  const byRule = await Model.load(counted.gpu, diskFiles(folder(name)), { tune: false });
  const rule = kernelPolicyFor({ isSoftware: false, subgroup: 4 });
  const shapes = convShapes(byRule.config);
  expect(shapes.map(byRule.kernels.conv)).toEqual(shapes.map(rule.conv));
  expect(byRule.kernels.conv(TILED)).toMatch(/^tiled/);
  const shape = { ...smallestRun(byRule.config)!, count: options.labels.length, guided: true };
  const limit = bindingLimit(gpu);
  const planned = planMemory(byRule.config, shape, 'f32', limit, byRule.kernels);
  const plan = await byRule.acquirePlan(shape);
  expect(counted.alive() + READ_BACK).toBe(planned.total);
  byRule.releasePlan(plan);
  const ruled = await draw(byRule, options);
  byRule.destroy();

  const soft = await Model.load(await openAs('software'), diskFiles(folder(name)));
  expect(soft.kernels.conv(TILED)).toBe('winograd');
  const wanted = await draw(soft, options);
  soft.destroy();
  for (const actual of [tuned, ruled]) expectClose(actual, wanted, { atol: 2e-3, rtol: 0 }, 'x_0');
  expect(Math.max(...wanted)).toBeGreaterThan(0.5); // a picture, not a grey ground
}); // prettier-ignore

// Last: a device that is lost on purpose.
it('a lost device comes back as hardware, and the run goes on to the same picture', async () => {
  force('hardware');
  vi.stubGlobal('localStorage', undefined);
  try {
    const runtime = new Runtime({ gpu: nodeGpu, linger: 0 });
    const lease = await runtime.acquire(SOURCE, { tune: { budget: 100 } });
    expect(lease.gpu.isSoftware).toBe(false);
    const options = { labels: [7], seed: 5, steps: 3 };
    const before = await lease.turn(() => draw(lease.model, options));
    const lost = lease.gpu;
    const rebuilt = new Promise((resolve) => lease.addEventListener('rebuilt', resolve, { once: true }));
    lost.device.destroy();
    await rebuilt;
    expect(lease.gpu).not.toBe(lost);
    expect([lease.gpu.isSoftware, lease.gpu.supportsQuadOps]).toEqual([false, true]);
    const after = await lease.turn(() => draw(lease.model, options));
    expectClose(after, before, { atol: 2e-3, rtol: 0 }, 'x_0');
    lease.release();
  } finally {
    vi.unstubAllGlobals();
  }
});

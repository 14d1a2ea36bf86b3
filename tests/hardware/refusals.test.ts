/**
 * A GPU may refuse what is optional (a probe, a candidate, a shader, a query) or have no room. Each place gets a refusal by
 * the real validation of Dawn: the device stays good, and what a visitor reads contains no shader text.
 */

import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { diskFiles } from '../../src/apps/cli/files.ts';
import { nodeGpu } from '../../src/apps/cli/node_gpu.ts';
import { Display } from '../../src/ui/display/display.ts';
import { DiffusionError } from '../../src/core/errors.ts';
import { FORCED_ADAPTER, openGpu, type Gpu } from '../../src/engine/gpu/device.ts';
import { allocate } from '../../src/engine/gpu/scope.ts';
import { openStopwatch, type Stopwatch } from '../../src/engine/gpu/stopwatch.ts';
import { buildProgram } from '../../src/engine/gpu/program.ts';
import { readBuffer } from '../../src/engine/gpu/transfer.ts';
import { Model } from '../../src/engine/model.ts';
import { conv2d } from '../../src/engine/kernels/conv2d.ts';
import { NetworkRecorder, type ConvShape } from '../../src/engine/kernels/kernel_policy.ts';
import { tune, type Candidate } from '../../src/engine/kernels/tune.ts';
import { kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
import type { GpuTensor } from '../../src/core/tensor.ts';

const files = diskFiles(fileURLToPath(new URL('../fixtures/unets/attention', import.meta.url)));
const NONSENSE = '@compute @workgroup_size(1) fn main() { nonsense_of_the_test }';
/** What every kernel declares. */
const LAYER = 'struct Layer { n: u32 } @group(0) @binding(9) var<uniform> layer: Layer;';
const OUTPUT = '@group(0) @binding(0) var<storage, read_write> output: array<vec4f>;';
const open: Gpu[] = [];
const force = (kind: 'hardware' | undefined) => Object.assign(globalThis, { [FORCED_ADAPTER]: kind });
const console_ = { warn: vi.spyOn(console, 'warn'), error: vi.spyOn(console, 'error') };
Object.values(console_).forEach((spy) => spy.mockImplementation(() => {}));
afterEach(() => {
  force(undefined);
  vi.unstubAllGlobals();
  Object.values(console_).forEach((spy) => spy.mockClear());
});
afterAll(() => open.forEach((gpu) => gpu.destroy()));

/** Opens the adapter of the tests as hardware, with a device that `spoil` may change. */
async function openSpoiled(spoil: (device: GPUDevice) => void = () => {}): Promise<Gpu> {
  force('hardware');
  const entry = (await nodeGpu())!;
  const requestAdapter = async () => {
    const adapter = (await entry.requestAdapter())!;
    const request = adapter.requestDevice.bind(adapter);
    adapter.requestDevice = async (descriptor) => {
      const device = await request(descriptor);
      spoil(device);
      return device;
    };
    return adapter;
  };
  const gpu = await openGpu({ requestAdapter } as unknown as GPU);
  open.push(gpu);
  return gpu;
}

/** Kernels of this shader become `code`, from now on. */
const replaceShader = (device: GPUDevice, label: string, code: (text: string) => string): void => {
  const create = device.createShaderModule.bind(device);
  device.createShaderModule = (shader) =>
    create(shader.label?.split(' ')[0] === label ? { ...shader, code: code(shader.code) } : shader);
};

/** Throws if anything reached the device outside of a scope: the error would come with the next answers of the queue. */
async function expectGood(gpu: Gpu): Promise<void> {
  await gpu.settled();
  const works = await allocate(gpu.device, 'a test', () =>
    gpu.device.createBuffer({ size: 16, usage: 0x0c }),
  );
  expect(new Uint8Array(await readBuffer(gpu, works, 16))).toEqual(new Uint8Array(16));
  works.destroy();
  gpu.check();
}

const expectPlain = (error: unknown): void => {
  expect(error).toBeInstanceOf(DiffusionError);
  expect((error as Error).message).not.toMatch(/nonsense|@compute|fn |\[Invalid|While |WGSL/);
};

const caught = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => expect.fail('nothing was refused'),
    (error: unknown) => error,
  );

const SHAPE: ConvShape = { cIn: 32, cOut: 32, size: 3, stride: 1, h: 8, w: 8 };
const plain: Candidate = {
  name: 'direct',
  record: (recorder, x, w, stride) => conv2d(recorder, 'plain', x, w, { stride }),
};
/** A stopwatch that says what it is told, in milliseconds a replay. */
const saying =
  (...ms: (number | null)[]): (() => Promise<Stopwatch>) =>
  () =>
    Promise.resolve({
      tick: 0.001,
      time: () => Promise.resolve(ms.length > 1 ? ms.shift()! : ms[0]!),
      destroy() {},
    });

describe('what is optional', () => {
  it('the probe of quads', async () => {
    const gpu = await openSpoiled((device) => replaceShader(device, 'quads', () => NONSENSE));
    expect([gpu.device.features.has('subgroups'), gpu.supportsQuadOps]).toEqual([true, false]);
    await expectGood(gpu);
  });

  it('a probe whose quads are not in order, or which does not answer', async () => {
    for (const [from, to] of [
      ['lane ^ 2u', 'lane ^ 3u'],
      ['atomicAdd(&asked, 1u)', ''],
    ] as const) {
      const gpu = await openSpoiled((device) =>
        replaceShader(device, 'quads', (text) => text.replace(from, to)),
      );
      expect(gpu.supportsQuadOps, to).toBe(false);
      await expectGood(gpu);
    }
  });

  it('features: a device is opened without them', async () => {
    force('hardware');
    const entry = (await nodeGpu())!;
    const asked: unknown[] = [];
    const requestAdapter = async () => {
      const adapter = (await entry.requestAdapter())!;
      const request = adapter.requestDevice.bind(adapter);
      adapter.requestDevice = (descriptor) => {
        const features = [...(descriptor?.requiredFeatures ?? [])];
        asked.push(features);
        return features.length ? Promise.reject(new TypeError('no')) : request(descriptor);
      };
      return adapter;
    };
    const gpu = await openGpu({ requestAdapter } as unknown as GPU);
    open.push(gpu);
    expect(asked).toEqual([expect.arrayContaining(['shader-f16', 'subgroups']), []]);
    expect([gpu.f16, gpu.supportsQuadOps]).toEqual([false, false]);
    await expectGood(gpu);
  });

  it('timestamps: measured by the clock, or not at all', async () => {
    const gpu = await openSpoiled((device) => {
      const create = device.createQuerySet.bind(device);
      device.createQuerySet = (descriptor) => create({ ...descriptor, count: 2 ** 30 });
    });
    const stopwatch = await openStopwatch(gpu);
    expect(stopwatch === null || stopwatch.tick !== 0.1).toBe(true);
    await expectGood(gpu);
  });

  it.each(['at its shader', 'at its bindings', 'wrong numbers'] as const)('a candidate of the tuner, refused: %s', async (how) => {
    const gpu = await openSpoiled();
    const candidate: Candidate = {
      name: 'winograd',
      record: (recorder, x, w, stride) => {
        if (how === 'wrong numbers') return conv2d(recorder, 'wrong', x, w, { stride, scale: 1.01 });
        const out = recorder.transient('out', x.shape, x.dtype);
        const code =
          how === 'at its shader'
            ? LAYER + OUTPUT + NONSENSE
            : // a uniform buffer, and the tensor's is none
              `${LAYER} @group(0) @binding(0) var<uniform> output: vec4f; @compute @workgroup_size(1) fn main() { var x = output * f32(layer.n); }`;
        recorder.record({ label: how, shader: { name: how, code }, dtype: 'f32', uniforms: { n: 1 }, bindings: { output: out }, invocations: 1, workgroupSize: 1 });
        return out;
      },
    };
    const variants = await tune(gpu, [SHAPE], 'f32', { candidates: () => [plain, candidate], stopwatch: saying(1), budget: 60_000 });
    expect(variants.conv(SHAPE)).toBe('direct');
    await expectGood(gpu);
  }); // prettier-ignore
});

describe('the stopwatch of the tuner', () => {
  const picks = async (stopwatch: () => Promise<Stopwatch | null>): Promise<string> => {
    const gpu = await openSpoiled();
    const winograd: Candidate = { ...plain, name: 'winograd' };
    const candidates = (): Candidate[] => [plain, winograd];
    return (await tune(gpu, [SHAPE], 'f32', { candidates, stopwatch, budget: 60_000 })).conv(SHAPE);
  };
  const rule = kernelPolicyFor({ isSoftware: false, subgroup: 4 }).conv(SHAPE);

  it('is believed', async () => {
    // Each candidate: one replay, and once more as long.
    expect(await picks(saying(5, 5, 9, 9))).toBe('direct');
    expect(await picks(saying(9, 9, 5, 5))).toBe('winograd');
  });

  it('that cannot tell candidates apart leaves it to the rule', async () => {
    expect(rule).toMatch(/^tiled/);
    const coarse = () => Promise.resolve({ tick: 100, time: () => Promise.resolve(100), destroy() {} });
    for (const none of [coarse, saying(null), saying(0), () => Promise.resolve(null)])
      expect(await picks(none)).toBe(rule);
  });

  it('is no clock that ticks every 100 ms, nor a queue that answers every 100 ms', async () => {
    const gpu = await openSpoiled((device) =>
      Object.defineProperty(device, 'features', {
        value: new Set([...device.features].filter((f) => f !== 'timestamp-query')),
      }),
    );
    const start = performance.now();
    const now = performance.now.bind(performance);
    vi.spyOn(performance, 'now').mockImplementation(() => Math.floor((now() - start) / 100) * 100);
    expect(await openStopwatch(gpu)).toBeNull();
    vi.mocked(performance.now).mockRestore();
    const slow = { ...gpu, settled: () => new Promise<void>((resolve) => setTimeout(resolve, 100)) };
    expect(await openStopwatch(slow)).toBeNull();
  });
});

describe('what is needed', () => {
  it('a shader of the network: the fallback kernels; refused, too: one sentence', async () => {
    const gpu = await openSpoiled((device) => replaceShader(device, 'conv2d_tiled', () => NONSENSE));
    const model = await Model.load(gpu, files, { tune: false });
    expect(model.kernels.conv(SHAPE)).toBe('direct');
    expect(console_.warn.mock.calls.flat().join()).toContain('nonsense_of_the_test'); // the whole text, for a report
    await expectGood(gpu);
    model.destroy();
    const none = await openSpoiled((device) => replaceShader(device, 'conv2d', () => NONSENSE));
    const error = await caught(Model.load(none, files, { tune: false }));
    expectPlain(error);
    expect(error).toMatchObject({ code: 'gpu-error', what: expect.stringContaining('refused a shader') });
    await expectGood(none);
  });

  it('a shader of the update, after all else was built', async () => {
    const gpu = await openSpoiled();
    const model = await Model.load(gpu, files, { tune: false });
    replaceShader(gpu.device, 'noise', () => NONSENSE);
    const error = await caught(model.acquirePlan({ count: 1, height: 16, width: 16, guided: false, givenNoise: false, slots: 0, measured: false, masked: false })); // prettier-ignore
    expectPlain(error);
    await expectGood(gpu);
    model.destroy();
  });

  it('a read-back, and a binding that is too large', async () => {
    const gpu = await openSpoiled();
    const mute = await allocate(gpu.device, 'x', () => gpu.device.createBuffer({ size: 16, usage: 0x80 }));
    const error = await caught(readBuffer(gpu, mute, 16));
    expectPlain(error);
    expect(error).toMatchObject({ code: 'gpu-error' });
    await expectGood(gpu);
    const { maxBufferSize } = gpu.device.limits;
    const recorder = new NetworkRecorder();
    const x = recorder.persistent('x', [1, 4, 1, maxBufferSize / 16], 'f32', 'c4');
    recorder.record({ label: 'big', shader: { name: 'big', code: NONSENSE }, dtype: 'f32', uniforms: {}, bindings: { x }, invocations: 1, workgroupSize: 1 }); // prettier-ignore
    expect(await caught(buildProgram(gpu, recorder, 'big'))).toMatchObject({ code: 'limits-too-small' });
    await expectGood(gpu);
  });

  it('memory: a buffer that the GPU has no room for', async () => {
    const gpu = await openSpoiled();
    const model = await Model.load(gpu, files, { tune: false });
    const pop = gpu.device.popErrorScope.bind(gpu.device);
    const filters: string[] = [];
    const push = gpu.device.pushErrorScope.bind(gpu.device);
    gpu.device.pushErrorScope = (filter) => (filters.push(filter), push(filter));
    let full = true;
    gpu.device.popErrorScope = async () => {
      const memory = filters.pop() === 'out-of-memory';
      const error = await pop();
      return full && memory ? ({ message: 'full' } as GPUError) : error;
    };
    const shape = { count: 1, height: 16, width: 16, guided: false, givenNoise: false, slots: 0, measured: false, masked: false }; // prettier-ignore
    expect(await caught(model.acquirePlan(shape))).toMatchObject({ code: 'out-of-memory' });
    full = false;
    model.releasePlan(await model.acquirePlan(shape)); // and the model can be used again
    await expectGood(gpu);
    model.destroy();
  });

  it('the shader that shows pictures', async () => {
    const gpu = await openSpoiled((device) => replaceShader(device, 'display', () => NONSENSE));
    vi.stubGlobal('navigator', { gpu: { getPreferredCanvasFormat: () => 'bgra8unorm' } });
    const texture = gpu.device.createTexture({ size: [8, 8], format: 'bgra8unorm', usage: 0x10 });
    const context = { configure() {}, unconfigure() {}, getCurrentTexture: () => texture };
    const canvas = { width: 8, height: 8, getContext: () => context } as unknown as OffscreenCanvas;
    const display = new Display(gpu, canvas);
    const buffer = gpu.device.createBuffer({ size: 16, usage: 0x80 });
    const x: GpuTensor = { buffer, shape: [1, 1, 2, 2], dtype: 'f32', layout: 'planar', label: 'x' };
    display.draw(x); // not known yet, and no fault of the device
    await expectGood(gpu);
    const error = await caught(Promise.resolve().then(() => display.draw(x)));
    expectPlain(error);
    expect(error).toMatchObject({ code: 'gpu-error' });
    await expectGood(gpu);
    display.destroy();
  });

  it('anything else: an error of the device, without the text of the shader', async () => {
    const gpu = await openSpoiled();
    gpu.device.createShaderModule({ code: NONSENSE });
    await expect.poll(() => { try { gpu.check(); return null; } catch (error) { return error; } }).not.toBeNull(); // prettier-ignore
    const error = await caught(gpu.settled());
    expectPlain(error);
    expect(error).toMatchObject({ code: 'gpu-error' });
    expect(console_.warn.mock.calls.flat().join()).toContain('nonsense_of_the_test');
  });
});

describe('a driver that computes something else', () => {
  const spoilKernel = (label: string, from: RegExp, to: string) =>
    openSpoiled((device) => replaceShader(device, label, (text) => text.replace(from, to)));

  it('in the tiles: the fallback kernels', async () => {
    const gpu = await spoilKernel(
      'conv2d_tiled',
      /workgroupBarrier\(\);/g,
      'if (invocation == 3u) { return; }',
    );
    const model = await Model.load(gpu, files, { tune: false }).catch((error: unknown) => error);
    expect((model as Model).kernels.conv(SHAPE)).toBe('direct');
    expect(console_.warn.mock.calls.flat().join()).toMatch(/fallback kernels .* conv2d \(tiled/);
    await expectGood(gpu);
  });

  it.each([
    ['conv2d', /layer\.scale/g, '(layer.scale * 1.01)'],
    ['group_norm', /partial\[invocation\] = value;/, ''], // what Safari 26 is said to do
    ['attention', /layer\.scale/g, '(layer.scale * 1.5)'],
    ['update', /step\.sigma/g, '(step.sigma * 1.01)'],
  ] as const)('in the only %s: an error, never a wrong picture', async (label, from, to) => {
    const gpu = await spoilKernel(label, from, to);
    const error = await caught(Model.load(gpu, files, { tune: false }));
    expectPlain(error);
    expect(error).toMatchObject({ code: 'gpu-error' });
    expect((error as DiffusionError).what).toContain('computes wrong numbers');
    expect(console_.warn.mock.calls.flat().join()).toContain(label);
  });

  it('and is believed only if it is asked to be (SAMPLER_SELF_CHECK=0)', async () => {
    const gpu = await spoilKernel('update', /step\.sigma/g, '(step.sigma * 1.01)');
    const model = await Model.load(gpu, files, { tune: false, selfCheck: false });
    model.destroy();
  });

  it('is asked once for each kernel and device', async () => {
    const gpu = await openSpoiled();
    let checks = 0;
    const create = gpu.device.createCommandEncoder.bind(gpu.device);
    gpu.device.createCommandEncoder = (d) => (d?.label === 'self-check' && checks++, create(d));
    for (let i = 0; i < 2; i++) (await Model.load(gpu, files, { tune: false })).destroy();
    expect(checks).toBe(1);
  });
});

it('no shader leaves the size of its workgroup open: Safari loses stores to such workgroup memory', () => {
  const texts = import.meta.glob('../../shaders/**/*.wgsl', {
    query: '?raw',
    import: 'default',
    eager: true,
  });
  expect(Object.keys(texts).length).toBeGreaterThan(25);
  for (const [path, text] of Object.entries(texts)) expect(text, path).not.toMatch(/^\s*override\b/m);
});

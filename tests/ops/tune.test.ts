/** The tuner picks what is fast and right, and nothing else. What is slow here is slow by a factor of thirty. */

import { fileURLToPath } from 'node:url';
import { expect, it, vi } from 'vitest';
import { diskFiles } from '../../src/apps/cli/files.ts';
import type { Gpu } from '../../src/engine/gpu/device.ts';
import { convShapeKey as shapeKey, type ConvShape } from '../../src/engine/kernels/kernel_policy.ts';
import { Model } from '../../src/engine/model.ts';
import { conv2d } from '../../src/engine/kernels/conv2d.ts';
import { agrees, tune, type Candidate } from '../../src/engine/kernels/tune.ts';
import { kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
import type { Shape } from '../../src/core/tensor.ts';
import { readSafetensors, toFloat32, toIntegers } from '../../src/engine/formats/safetensors.ts';
import { readFileSync } from 'node:fs';
import { expectClose } from '../helpers/array.ts';
import { DTYPES, needs, useGpu } from '../helpers/gpu.ts';

const gpu = useGpu();
const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** A device that nothing is known of yet. */
const fresh = (real: Gpu): Gpu => ({
  ...real,
  device: new Proxy(real.device, {
    get(target, key) {
      const value = Reflect.get(target, key) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  }),
});

/** What every kernel declares. */
const DECLARED =
  'struct Layer { n: u32 } @group(0) @binding(9) var<uniform> layer: Layer; @group(0) @binding(0) var<storage, read_write> output: array<vec4f>;';

const SHAPE: ConvShape = { cIn: 64, cOut: 60, size: 3, stride: 1, h: 15, w: 17 };
/** The plain kernel, thirty times over. */
const slow: Candidate = {
  name: 'direct',
  record: (recorder, x, w, stride) =>
    Array.from({ length: 30 }, (_, i) => conv2d(recorder, `slow ${i}`, x, w, { stride })).at(-1)!,
};
/** Winograd's, times a number that should be one. */
const quick = (scale: number): Candidate => ({
  name: 'winograd',
  record: (recorder, x, w, stride) => conv2d(recorder, 'quick', x, w, { stride, scale }),
});

it.each(DTYPES)('%s: picks the fast way when it is right, and not when it is off by a percent or two', async (dtype) => {
  needs(gpu(), dtype);
  const picked = async (...ways: Candidate[]) =>
    (await tune(fresh(gpu()), [SHAPE], dtype, { candidates: () => ways })).conv(SHAPE);
  expect(await picked(slow, quick(1))).toBe('winograd');
  expect(await picked(slow, quick(dtype === 'f32' ? 1.001 : 1.02))).toBe('direct');
  expect(await picked(slow, quick(NaN))).toBe('direct');
}); // prettier-ignore

it('a way that the GPU refuses is none', async () => {
  const refused: Candidate = {
    name: 'winograd',
    record: (recorder, x) => {
      const out = recorder.transient('out', x.shape, x.dtype);
      const shader = {
        name: 'broken',
        code: `${DECLARED} @compute @workgroup_size(1) fn main() { nonsense }`,
      };
      recorder.record({ label: 'broken', shader, dtype: 'f32', uniforms: { n: 1 }, bindings: { output: out }, invocations: 1, workgroupSize: 1 }); // prettier-ignore
      return out;
    },
  };
  const variants = await tune(fresh(gpu()), [SHAPE], 'f32', { candidates: () => [slow, refused] });
  expect(variants.conv(SHAPE)).toBe('direct');
});

it('remembers in the store, mistrusts what it finds there, and asks no GPU twice', async () => {
  const kept = new Map<string, string>();
  const store = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => void kept.set(key, value) }; // prettier-ignore
  let asked = 0;
  const candidates = () => (asked++, [slow, quick(1)]);
  const device = fresh(gpu());
  await tune(device, [SHAPE], 'f32', { store, candidates });
  await tune(device, [SHAPE], 'f32', { store, candidates });
  expect(asked).toBe(1);
  const [[address, value] = ['', '']] = [...kept];
  expect(address).toContain(gpu().adapter);
  expect(JSON.parse(value)).toEqual({ [shapeKey(SHAPE)]: 'winograd' });
  const again = await tune(fresh(gpu()), [SHAPE], 'f32', { store, candidates });
  expect([asked, again.conv(SHAPE)]).toEqual([1, 'winograd']);
  for (const bad of ['{', 'null', '7', JSON.stringify({ [shapeKey(SHAPE)]: 'rm -rf' })]) {
    kept.set(address, bad);
    await tune(fresh(gpu()), [SHAPE], 'f32', { store, candidates });
  }
  expect(asked).toBe(5);
});

it('out of time, the rule decides; software adapters and GPUs have their own', async () => {
  const rule = kernelPolicyFor(gpu()).conv(SHAPE);
  const candidates = () => [slow, quick(1)];
  const variants = await tune(fresh(gpu()), [SHAPE], 'f32', { budget: -1, candidates });
  expect(variants.conv(SHAPE)).toBe(rule);
  const { conv: software } = kernelPolicyFor({ isSoftware: true, subgroup: 4 });
  const { conv: hardware } = kernelPolicyFor({ isSoftware: false, subgroup: 4 });
  const wide = { ...SHAPE, cIn: 256, cOut: 256 };
  const low = { ...SHAPE, cOut: 64, h: 8, w: 8 };
  const narrow = { ...SHAPE, cOut: 20 };
  expect([narrow, low, SHAPE, { ...low, h: 13, w: 16 }, wide].map(software)).toEqual(['direct', 'direct', 'winograd', 'winograd', 'winograd']); // prettier-ignore
  expect([32, 16, 4].map((side) => hardware({ ...wide, h: side, w: side }))).toEqual(['tiled-64', 'tiled-16', 'tiled-16/16']); // prettier-ignore
  expect(hardware({ ...SHAPE, cIn: 128, cOut: 128, h: 32, w: 32 })).toBe('tiled-32');
  expect(hardware({ ...SHAPE, cOut: 3 })).toBe('direct');
});

it('a NaN, and a result of another length, agree with nothing', () => {
  const one = Float32Array.of(1, 2);
  expect(agrees(one, one, 1e-6)).toBe(true);
  expect(agrees(Float32Array.of(1, NaN), one, 1)).toBe(false);
  expect(agrees(Float32Array.of(1), one, 1)).toBe(false);
});

it.each([
  ['tuned here', {}, true],
  ['as on a GPU: tiles in workgroup memory, attention by workgroups', { isSoftware: false }, false],
] as const)('digits within 2e-4 of PyTorch, %s', async (_, change, tuned) => {
  const model = await Model.load({ ...gpu(), ...change }, diskFiles(at('weights/digits')), { tune: tuned });
  const golden = readSafetensors(readFileSync(at('tests/fixtures/digits/eps.safetensors')), 'eps');
  const numbers = (name: string) => toFloat32(golden.get(name)!);
  const { eps } = await model.predict({
    shape: golden.get('sample')!.shape as Shape,
    sample: numbers('sample'),
    timestep: numbers('timestep'),
    labels: toIntegers(golden.get('class_labels')!),
  });
  expectClose(eps, numbers('eps'), { atol: 2e-4, rtol: 0 }, 'eps');
  model.destroy();
});

it('a driver that refuses a shader gets those that ask least of it; one that refuses all is said to', async () => {
  const files = diskFiles(at('tests/fixtures/unets/attention'));
  const inputs = { shape: [1, 3, 16, 16] as const, sample: Float32Array.from({ length: 768 }, (_, i) => Math.sin(i)), timestep: Float32Array.of(500), labels: [2] }; // prettier-ignore
  const asHardware = (refuses: (label: string) => boolean): Gpu => {
    const device = new Proxy(gpu().device, {
      get(target, key) {
        const value = Reflect.get(target, key) as unknown;
        if (key === 'createComputePipelineAsync')
          return (descriptor: GPUComputePipelineDescriptor) =>
            refuses(descriptor.label!)
              ? Promise.reject(new Error(`no ${descriptor.label}`))
              : target.createComputePipelineAsync(descriptor);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    return { ...gpu(), device, isSoftware: false };
  };
  const plain = await Model.load(gpu(), files);
  const { eps: wanted } = await plain.predict(inputs);
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
  const refusing = (label: string) => asHardware((each) => each === label);
  const model = await Model.load(refusing('conv2d_tiled'), files, { tune: false });
  const shape = { cIn: 32, cOut: 32, size: 3, stride: 1, h: 16, w: 16 };
  expect(kernelPolicyFor({ isSoftware: false, subgroup: 4 }).conv(shape)).toBe('tiled-16/4');
  expect([model.usesFallbackKernels, model.kernels.conv(shape)]).toEqual([true, 'direct']);
  expect(warn.mock.calls.flat().join()).toMatch(/fallback kernels on /);
  expectClose((await model.predict(inputs)).eps, wanted, { atol: 1e-4, rtol: 0 }, 'eps');
  // Refused only after the load: by the plan.
  let refuses = false;
  const late = await Model.load(asHardware((label) => refuses && label === 'conv2d_tiled'), files, { tune: false }); // prettier-ignore
  expect([late.usesFallbackKernels, plain.usesFallbackKernels]).toEqual([false, false]);
  refuses = true;
  expectClose((await late.predict(inputs)).eps, wanted, { atol: 1e-4, rtol: 0 }, 'eps');
  const none = Model.load(
    asHardware(() => true),
    files,
    { tune: false },
  );
  await expect(none).rejects.toMatchObject({ code: 'gpu-error' });
  warn.mockRestore();
  for (const each of [plain, model, late]) each.destroy();
});

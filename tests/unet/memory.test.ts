/** Bytes known in advance are the bytes allocated, to the byte. */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { planMemory, READ_BACK, smallestRun } from '../../src/engine/memory.ts';
import { Model } from '../../src/engine/model.ts';
import { normals } from '../../src/schedule/noise.ts';
import { readTensor } from '../../src/engine/gpu/transfer.ts';
import { kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
import { DEFAULT_KERNELS } from '../../src/engine/kernels/kernel_policy.ts';
import type { DType, Shape } from '../../src/core/tensor.ts';
import { canSample, DEFAULT_BINDING, type StepShape } from '../../src/engine/step_graph.ts';
import { sample } from '../../src/session/sample.ts';
import { parseUNetConfig, type UNetConfig } from '../../src/engine/unet/config.ts';
import { CELEBAHQ_256 } from '../bench/networks.ts';
import { randomModel } from '../helpers/random_model.ts';
import { countBuffers } from '../helpers/count_buffers.ts';
import { DTYPES, narrow, useGpu } from '../helpers/gpu.ts';

const gpu = useGpu();
const json = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url)).toString()) as never;
const DIGITS = json('../../weights/digits/unet/config.json') as Record<string, unknown>;
const CONFIGS = json('../fixtures/configs.json') as Record<string, unknown>[];
const LECTURE = (json('../fixtures/lecture.json') as { configs: Record<string, unknown>[] }).configs[1]!;
const OPENAI = (json('../fixtures/openai.json') as { config: Record<string, unknown> }[])[0]!.config;

/** As this adapter computes. */
const planFor = (config: UNetConfig, shape: StepShape | null, dtype: DType, limit?: number) =>
  planMemory(config, shape, dtype, limit, kernelPolicyFor(gpu()));

describe('planned bytes are the peak of the buffers made', () => {
  const cases: [string, Record<string, unknown>, Partial<StepShape>][] = [
    ['digits, one picture', DIGITS, {}],
    ['digits, guided, four pictures, a solver with memory', DIGITS, { count: 4, guided: true, slots: 2 }],
    ['digits, painted, with given noise and thresholds', DIGITS, { count: 2, masked: true, givenNoise: true, measured: true }],
    ['OpenAI', OPENAI, { count: 3 }],
    ['the lecture', LECTURE, { count: 2, guided: true }],
    ...CONFIGS.filter((c) => canSample(parseUNetConfig(c, 'x'))).slice(0, 6).map((c, i): [string, Record<string, unknown>, Partial<StepShape>] => [`config ${i}`, c, { count: 1 + (i % 3) }]),
  ]; // prettier-ignore

  it.each(
    cases.flatMap(([name, config, shape]) => DTYPES.map((dtype) => [name, dtype, config, shape] as const)),
  )('%s, %s', async (_, dtype, json, change) => {
    const config = parseUNetConfig(json, 'x');
    const shape = { ...smallestRun(config)!, ...change };
    const planned = planFor(config, shape, dtype);
    const count = countBuffers(gpu());
    const model = await Model.load(count.gpu, randomModel(json), { dtype });
    expect(count.alive()).toBe(planned.weights);
    expect(model.weightBytes).toBe(planned.weights);
    count.reset(); // of a tiny network, the check of the kernels takes more than a run
    const plan = await model.acquirePlan(shape);
    expect(count.peak() + READ_BACK).toBe(planned.total);
    expect(plan.bytes).toBe(planned.working);
    model.releasePlan(plan);
    model.destroy();
    expect(count.alive()).toBe(0);
  });

  it('in a whole run', async () => {
    const config = parseUNetConfig(DIGITS, 'x');
    const count = countBuffers(gpu());
    const model = await Model.load(count.gpu, randomModel(DIGITS));
    for await (const { index } of sample(model, { labels: [3, 7], steps: 2, guidance: 2 })) void index;
    const shape = { ...smallestRun(config)!, count: 2, guided: true };
    expect(count.peak()).toBe(planFor(config, shape, 'f32').total);
    model.destroy();
  });
});

describe('what does not fit is refused before its weights are read', () => {
  const load = async (limits: Partial<GPUSupportedLimits>, memory?: number) => {
    const device = new Proxy(gpu().device, {
      get: (target, key) => (key === 'limits' ? { ...limitsOf(target), ...limits } : (Reflect.get(target, key) as unknown)),
    });
    const asked: string[] = [];
    const files = randomModel(DIGITS);
    const watched = { label: files.label, read: (path: string) => (asked.push(path), files.read(path)) };
    const error = await Model.load({ ...gpu(), device }, watched, memory === undefined ? {} : { memory }).then(
      () => null,
      (e: unknown) => e,
    );
    expect(asked.filter((path) => path.endsWith('.safetensors'))).toEqual([]);
    return error;
  }; // prettier-ignore
  const limitsOf = ({ limits }: GPUDevice) => {
    const { maxBufferSize, maxStorageBufferBindingSize } = limits;
    return { maxBufferSize, maxStorageBufferBindingSize };
  };

  it.each(['maxBufferSize', 'maxStorageBufferBindingSize'])('%s', async (limit) => {
    const need = planFor(parseUNetConfig(DIGITS, 'x'), smallestRun(parseUNetConfig(DIGITS, 'x')), 'f32');
    expect(await load({ [limit]: 2 ** 16 })).toMatchObject({
      code: 'limits-too-small',
      what: expect.stringContaining(
        `${(need.largestBinding / 2 ** 20).toFixed(1)} MiB in one piece`,
      ) as string,
    });
  });

  it('the memory in all', async () => {
    expect(await load({}, 2 ** 20)).toMatchObject({
      code: 'limits-too-small',
      what: expect.stringMatching(/of GPU memory .* about 1\.0 MiB are there/) as string,
    });
  });
});

describe('released models fit the default limits, one picture at a time', () => {
  const software = kernelPolicyFor({ isSoftware: true, subgroup: 4 });
  const block = (way: string, at: boolean[]) => at.map((a) => (a ? `Attn${way}Block2D` : `Resnet${way}sampleBlock2D`));
  /** Of guided-diffusion's README, as weights/convert/openai.py writes them. */
  const guided = (size: number, channels: number[], attends: boolean[], heads: object, rest: object = {}) => ({
    _class_name: 'ExtendedUNet2DModel', sample_size: size, out_channels: 6, block_out_channels: channels,
    down_block_types: block('Down', attends), up_block_types: block('Up', [...attends].reverse()),
    downsample_type: 'resnet', upsample_type: 'resnet', resnet_time_scale_shift: 'scale_shift', attn_norm_num_groups: 32,
    attention_head_dim: null, ...heads, ...rest,
  });
  const classes = { num_class_embeds: 1000 };
  const models: [string, object][] = [
    ['google/ddpm-celebahq-256', CELEBAHQ_256],
    ["the lecture's, 64 x 64, ten classes", { _class_name: 'LectureUNet2DModel', sample_size: 64, num_class_embeds: 11 }],
    ['64x64_diffusion', guided(64, [192, 384, 576, 768], [false, true, true, true], { attention_head_dim: 64 }, { ...classes, layers_per_block: 3 })],
    ['128x128_diffusion', guided(128, [256, 256, 512, 768, 1024], [false, false, true, true, true], { num_attention_heads: 4 }, classes)],
    ['256x256_diffusion_uncond', guided(256, [256, 256, 512, 512, 1024, 1024], [false, false, false, true, true, true], { attention_head_dim: 64 })],
  ];

  it.each(models)('%s', (_, json) => {
    const config = parseUNetConfig(json, 'x');
    for (const dtype of ['f32', 'f16'] as const)
      for (const variants of [DEFAULT_KERNELS, software])
        expect(planMemory(config, smallestRun(config), dtype, DEFAULT_BINDING, variants).largestBinding).toBeLessThanOrEqual(DEFAULT_BINDING);
  });

  it('software adapters pay at most 35 % more for their convolutions', () => {
    const config = parseUNetConfig(CELEBAHQ_256, 'x');
    const [plain, own] = [DEFAULT_KERNELS, software].map((variants) => planMemory(config, smallestRun(config), 'f32', DEFAULT_BINDING, variants).total);
    expect(own).toBeLessThan(1.35 * plain!);
  });
}); // prettier-ignore

describe('a batch that is too large to be bound goes through in pieces', () => {
  const numbers = (n: number) => normals(1, 0, 0, n);

  it.each([
    ['digits', DIGITS, 2 ** 20, [7, 1, 10, 4, 3]],
    ['the lecture', LECTURE, 2 ** 20, [0, 1, 2, 3, 1]],
  ] as const)('%s: the same numbers as in one piece', async (_, json, small, labels) => {
    const { inChannels, sampleSize } = parseUNetConfig(json, 'x');
    const shape: Shape = [5, inChannels, sampleSize![0], sampleSize![1]];
    const results: Float32Array[] = [];
    for (const limit of [2 ** 27, small]) {
      const model = await Model.load(narrow(gpu(), limit), randomModel(json));
      const one = planFor(model.config, { ...smallestRun(model.config)!, count: 5 }, 'f32', limit);
      expect(one.largestBinding).toBeLessThanOrEqual(limit);
      if (limit === small) expect(planFor(model.config, { ...smallestRun(model.config)!, count: 5 }, 'f32').largestBinding).toBeGreaterThan(limit);
      const { eps } = await model.predict({ shape, sample: numbers(shape.reduce((a, b) => a * b, 1)), timestep: Float32Array.of(1, 50, 250, 700, 999), labels });
      results.push(eps);
      model.destroy();
    }
    expect(Buffer.from(results[1]!.buffer).equals(Buffer.from(results[0]!.buffer))).toBe(true);
  });

  it('a guided run, with planned bytes, which are fewer', async () => {
    const runs: Float32Array[] = [];
    const totals: number[] = [];
    for (const limit of [2 ** 27, 2 ** 20]) {
      const count = countBuffers(narrow(gpu(), limit));
      const model = await Model.load(count.gpu, randomModel(DIGITS));
      let last: Float32Array = new Float32Array();
      for await (const { xT, index } of sample(model, { labels: [3, 7, null], steps: 2, guidance: 2, seed: 5 }))
        if (index === 2) last = await readTensor(gpu(), xT);
      runs.push(last);
      const planned = planFor(model.config, { ...smallestRun(model.config)!, count: 3, guided: true }, 'f32', limit);
      expect(count.peak()).toBe(planned.total);
      totals.push(planned.total);
      model.destroy();
    }
    expect(totals[1]).toBeLessThan(totals[0]!);
    expect(Buffer.from(runs[1]!.buffer).equals(Buffer.from(runs[0]!.buffer))).toBe(true);
  });
}); // prettier-ignore

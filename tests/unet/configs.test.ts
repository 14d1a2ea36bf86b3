/** Thirty configs drawn over all options of UNet2DModel, against PyTorch diffusers (tests/fixtures/make/configs.py). */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { buildProgram, run } from '../../src/engine/gpu/program.ts';
import { readTensor } from '../../src/engine/gpu/transfer.ts';
import { Model } from '../../src/engine/model.ts';
import { kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
import { NetworkRecorder } from '../../src/engine/kernels/kernel_policy.ts';
import { DEFAULT_BINDING } from '../../src/engine/step_graph.ts';
import { parseSchedulerConfig } from '../../src/schedule/config.ts';
import { makeSteps } from '../../src/schedule/make_steps.ts';
import { normals } from '../../src/schedule/noise.ts';
import { bufferHandle, type Shape } from '../../src/core/tensor.ts';
import { parseUNetConfig } from '../../src/engine/unet/config.ts';
import { recordNetwork } from '../../src/engine/unet/network.ts';
import { GpuWeights, WeightLayout } from '../../src/engine/unet/weights.ts';
import { loadFolder } from '../../src/engine/formats/load.ts';
import { readSafetensors, toFloat32 } from '../../src/engine/formats/safetensors.ts';
import { expectClose, expectGolden } from '../helpers/array.ts';
import { DTYPES, needs, useGpu } from '../helpers/gpu.ts';
import { fill, randomModel } from '../helpers/random_model.ts';
import { applyStep, type State } from '../helpers/steps.ts';

const gpu = useGpu();
const fixture = (name: string) => readFileSync(new URL(`../fixtures/${name}`, import.meta.url));
const CONFIGS = JSON.parse(fixture('configs.json').toString()) as Record<string, unknown>[];
const EPS = readSafetensors(fixture('configs.safetensors'), 'configs');

/** `fill`, but for what the lecture's network does not have: biases of its convolutions, an embedding of no class. */
function lecture(name: string, shape: readonly number[], k: number): Float32Array<ArrayBuffer> {
  const data = fill(name, shape, k);
  if (/\.conv[12]\.bias$/.test(name)) return data.fill(0);
  return name === 'class_embedding.weight' ? data.fill(0, (shape[0]! - 1) * shape[1]!) : data;
}

function labelsOf({ config }: Model): number[] | Float32Array<ArrayBuffer> | null {
  if (config.classEmbedType === 'timestep') return [3.5, 17, 200];
  if (config.classEmbedType === 'identity') return normals(2, 0, 0, 3 * config.timeEmbeddingDim);
  return config.numClassEmbeds === null ? null : [4, 0, 2];
}

describe.each(DTYPES)('in %s', (dtype) => {
  it.each(CONFIGS.map((config, i) => [i, JSON.stringify(config), config] as const))('%i: %s', async (i, _, config) => {
    needs(gpu(), dtype);
    const model = await Model.load(gpu(), randomModel(config), { dtype });
    const side = config['sample_size'] as number;
    const shape: Shape = [3, config['in_channels'] as number, side, side];
    const sample = normals(1, 0, 0, shape.reduce((a, b) => a * b, 1)); // prettier-ignore
    const { eps } = await model.predict({ shape, sample, timestep: Float32Array.of(1, 250, 999), labels: labelsOf(model) });
    expectGolden(eps, toFloat32(EPS.get(String(i))!), dtype);
    model.destroy();
  }); // prettier-ignore
});

describe("OpenAI's networks, converted (weights/convert/openai.py, tests/fixtures/make/openai.py)", () => {
  const runs = JSON.parse(fixture('openai.json').toString()) as { name: string; config: Record<string, unknown> }[];
  const eps = readSafetensors(fixture('openai.safetensors'), 'openai');

  it.each(runs.flatMap((run, i) => DTYPES.map((dtype) => [run.name, dtype, i, run.config] as const)))('%s, %s', async (_, dtype, i, config) => {
    needs(gpu(), dtype);
    const model = await Model.load(gpu(), randomModel(config), { dtype });
    expect(model.config.nullClass).toBe(null); // all of its classes are real
    const side = config['sample_size'] as number;
    const sample = normals(1, 0, 0, 9 * side * side);
    const result = await model.predict({ shape: [3, 3, side, side], sample, timestep: Float32Array.of(0, 250, 999), labels: labelsOf(model) });
    expectGolden(result.eps, toFloat32(eps.get(String(i))!), dtype);
    model.destroy();
  });

  it('time projections that are too many for one product are in several, with the same numbers', async () => {
    const { config: json } = runs[0]!;
    const config = parseUNetConfig(json, 'x');
    const { readTensors } = await loadFolder(randomModel(json));
    const layout = new WeightLayout(config, 'f32', 2 ** 15);
    const weights = await GpuWeights.upload(gpu(), config, await readTensors(), layout, 'x');
    expect(layout.conditioningLayers.length).toBeGreaterThan(2);
    const recorder = new NetworkRecorder(kernelPolicyFor(gpu()));
    const x = recorder.persistent('x', [3, 3, 16, 16], 'f32');
    const timestep = recorder.persistent('t', [3, 1, 1, 1], 'f32');
    const labels = bufferHandle('labels', 12, 'persistent');
    const { output } = recordNetwork(recorder, config, layout, { x, timestep, labels, passes: 1 }, DEFAULT_BINDING);
    const program = await buildProgram(gpu(), recorder, 'x', weights.buffers);
    const { queue } = gpu().device;
    queue.writeBuffer(program.bufferOf(x), 0, normals(1, 0, 0, 9 * 16 * 16));
    queue.writeBuffer(program.bufferOf(timestep), 0, Float32Array.of(0, 250, 999));
    queue.writeBuffer(program.bufferOf(labels), 0, Uint32Array.of(4, 0, 2));
    run(gpu().device, program);
    expectGolden(await readTensor(gpu(), program.tensorOf(output)), toFloat32(eps.get('0')!), 'f32');
    program.destroy();
    weights.destroy();
  });

  it('options of ours are refused in a UNet2DModel, and heads given twice in ours', () => {
    const own = { ...runs[0]!.config };
    expect(() => parseUNetConfig({ ...own, _class_name: 'UNet2DModel' }, 'x')).toThrow(/num_attention_heads is not an option of UNet2DModel/);
    expect(() => parseUNetConfig({ ...own, num_attention_heads: 2 }, 'x')).toThrow(/attention_head_dim as well/);
    expect(() => parseUNetConfig({ ...own, attention_head_dim: null, num_attention_heads: 7 }, 'x')).toThrow(/num_attention_heads is 7, and does not divide/);
  });
}); // prettier-ignore

describe("the lecture's networks, converted (weights/convert/lecture.py, tests/fixtures/make/lecture.py)", () => {
  const { configs, loop } = JSON.parse(fixture('lecture.json').toString()) as {
    configs: Record<string, unknown>[];
    loop: { T: number; states: number[][] };
  };
  const eps = readSafetensors(fixture('lecture.safetensors'), 'lecture');

  it.each([0, 1].flatMap((i) => DTYPES.map((dtype) => [['plain', 'conditional'][i], dtype, i] as const)))('%s, %s', async (_, dtype, i) => {
    needs(gpu(), dtype);
    const model = await Model.load(gpu(), randomModel(configs[i]!, lecture), { dtype });
    const sample = normals(1, 0, 0, 3 * 3 * 16 * 16);
    const labels = i === 0 ? null : [3, model.config.nullClass!, 2]; // the second image without a class
    const result = await model.predict({ shape: [3, 3, 16, 16], sample, timestep: Float32Array.of(1, 250, 999), labels });
    expectGolden(result.eps, toFloat32(eps.get(String(i))!), dtype);
    model.destroy();
  });

  it('its sampling loop, t = T - 1 ... 1', () => {
    const steps = makeSteps(parseSchedulerConfig({ num_train_timesteps: loop.T }, 'x'), { scheduler: 'ddpm', compat: 'lecture' });
    expect(steps).toHaveLength(loop.T - 1);
    let state: State = { x: [-1.7, 0.35, 2.1], h: [] };
    steps.forEach((step, k) => {
      state = applyStep(step, state, (x) => (x * step.t) / (step.t + 1), (j) => 1.5 * Math.sin(1 + 7 * k + 3 * j));
      expectClose(state.x, loop.states[k]!, { atol: 1e-9, rtol: 1e-9 }, `step ${k}`);
    });
    expect(() => makeSteps(parseSchedulerConfig({}, 'x'), { scheduler: 'ddim', compat: 'lecture' })).toThrow(/loop of the lecture/);
  });

  it('what its config refuses', () => {
    const own = configs[0]!;
    expect(() => parseUNetConfig({ ...own, layers_per_block: 2 }, 'x')).toThrow(/layers_per_block is not an option of LectureUNet2DModel/);
    expect(() => parseUNetConfig({ ...own, base_channels: 0.5 }, 'x')).toThrow(/base_channels/);
    expect(() => parseUNetConfig({ ...own, base_channels: 6 }, 'x')).toThrow(/num_attention_heads/);
    expect(() => parseUNetConfig({ ...own, sample_size: 12 }, 'x')).toThrow(/halved/);
  });
}); // prettier-ignore

it.each(DTYPES)("the network of Keras's example (tests/fixtures/make/keras.py), %s", async (dtype) => {
  needs(gpu(), dtype);
  const model = await Model.load(gpu(), randomModel(JSON.parse(fixture('keras.json').toString()) as object), { dtype });
  const sample = normals(1, 0, 0, 9 * 16 * 16);
  const { eps } = await model.predict({ shape: [3, 3, 16, 16], sample, timestep: Float32Array.of(0, 40, 299), labels: null });
  expectGolden(eps, toFloat32(readSafetensors(fixture('keras.safetensors'), 'keras').get('eps')!), dtype);
  model.destroy();
}); // prettier-ignore

it('every option of the reader is in some config with a value that is not the default', () => {
  const defaults: Record<string, unknown> = { dropout: 0, sample_size: null, num_train_timesteps: null };
  const keys = ['sample_size', 'in_channels', 'out_channels', 'center_input_sample', 'time_embedding_type', 'time_embedding_dim', 'freq_shift', 'flip_sin_to_cos', 'down_block_types', 'mid_block_type', 'up_block_types', 'block_out_channels', 'layers_per_block', 'mid_block_scale_factor', 'downsample_padding', 'downsample_type', 'upsample_type', 'act_fn', 'attention_head_dim', 'norm_num_groups', 'attn_norm_num_groups', 'norm_eps', 'resnet_time_scale_shift', 'add_attention', 'class_embed_type', 'num_class_embeds', 'num_train_timesteps']; // prettier-ignore
  for (const key of keys)
    expect(CONFIGS.some((c) => key in c && c[key] !== defaults[key]), key).toBe(true); // prettier-ignore
  for (const type of ['DownBlock2D', 'AttnDownBlock2D', 'ResnetDownsampleBlock2D'])
    expect(CONFIGS.some((c) => (c['down_block_types'] as string[]).includes(type)), type).toBe(true); // prettier-ignore
});

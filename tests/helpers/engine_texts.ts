/**
 * Every WGSL text that the engine makes for a device without subgroup operations, without a GPU.
 *
 * The engine's own launchers record the networks. Their pipelines are then compiled, and the tuner runs, for a device that
 * keeps each text and computes nothing.
 */

import { readFileSync, readdirSync } from 'node:fs';
import { openGpu, type Gpu } from '../../src/engine/gpu/device.ts';
import { pipelineFor } from '../../src/engine/gpu/pipelines.ts';
import type { CommandGraph, Dispatch } from '../../src/engine/gpu/recorder.ts';
import { convShapes, smallestRun } from '../../src/engine/memory.ts';
import { conv2d } from '../../src/engine/kernels/conv2d.ts';
import { CONV_VARIANTS, kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
import { DEFAULT_KERNELS, FALLBACK_KERNELS, NetworkRecorder, type KernelPolicy } from '../../src/engine/kernels/kernel_policy.ts'; // prettier-ignore
import { pack } from '../../src/engine/kernels/layout_convert.ts';
import { tune } from '../../src/engine/kernels/tune.ts';
import { selfCheck } from '../../src/engine/self_check.ts';
import { DEFAULT_BINDING, graphsOf, recordStep, type StepShape } from '../../src/engine/step_graph.ts';
import { bufferHandle, type DType } from '../../src/core/tensor.ts';
import { parseUNetConfig, type UNetConfig } from '../../src/engine/unet/config.ts';
import { recordNetwork } from '../../src/engine/unet/network.ts';
import { WeightLayout } from '../../src/engine/unet/weights.ts';
import { DTYPES } from './gpu.ts';

/** What `createComputePipelineAsync` is called with. */
export interface Text {
  readonly name: string;
  readonly code: string;
  readonly constants: Record<string, number>;
}

const SHADERS = new URL('../../shaders/', import.meta.url);
/** Every compute shader and every fragment of shaders/lib: its name and its text. */
export const FILES: readonly (readonly [name: string, text: string])[] = (
  readdirSync(SHADERS, { recursive: true }) as string[]
)
  .filter((name) => name.endsWith('.wgsl') && name !== 'display.wgsl')
  .map((name) => [name, readFileSync(new URL(name, SHADERS), 'utf8')]);

/** The files that a shader's text has parts of: its own, and those that it imports (src/engine/gpu/shader.ts). */
function filesIn(code: string): (readonly [name: string, text: string])[] {
  const own = FILES.filter(([, text]) => code.includes(text));
  const imported = [...code.matchAll(/^#import +(\w+)/gm)].map(([, name]) => `lib/${name}.wgsl`);
  const deeper = FILES.filter(([name]) => imported.includes(name)).flatMap(([, text]) => filesIn(text));
  return [...new Map([...own, ...deeper])];
}

/** A device that computes nothing: it hands `keep` each pipeline's text, and its buffers are zero. */
async function recorder(software: boolean, subgroup: number, keep: (text: Text) => void): Promise<Gpu> {
  /** Whatever is not below: a function without effect. */
  const around = <T extends object>(own: T): T =>
    new Proxy(own, { get: (_, key) => (key === 'then' ? undefined : key in own ? own[key as keyof T] : () => around({})) }); // prettier-ignore
  const size = { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28 };
  const device = around({
    limits: around({ ...size, minUniformBufferOffsetAlignment: 256 }),
    features: new Set<string>(),
    lost: new Promise(() => {}),
    queue: around({ onSubmittedWorkDone: () => Promise.resolve() }),
    popErrorScope: () => Promise.resolve(null),
    createBuffer: ({ label, size }: GPUBufferDescriptor) =>
      around({ label, size, mapAsync: () => Promise.resolve(), getMappedRange: () => new ArrayBuffer(size) }),
    createShaderModule: ({ label, code }: GPUShaderModuleDescriptor) => around({ label, code }),
    createComputePipelineAsync({ label, compute: { module, constants } }: GPUComputePipelineDescriptor) {
      keep({ name: label!, code: (module as unknown as { code: string }).code, constants: { ...constants } });
      return Promise.resolve(around({}));
    },
  });
  const info = { architecture: software ? 'llvmpipe' : 'some GPU', subgroupMinSize: subgroup };
  const adapter = {
    features: new Set(['shader-f16']),
    limits: device.limits,
    info: { vendor: '', device: '', description: '', isFallbackAdapter: software, ...info },
    requestDevice: () => Promise.resolve(device),
  };
  return openGpu({ requestAdapter: () => Promise.resolve(adapter) } as unknown as GPU);
}

type Json = Record<string, unknown>;
const json = (path: string): unknown => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));

/** Attention over more than 256 tokens, by heads of whole blocks of channels and of broken ones. */
const LONG: Json[] = [4, 2].map((attention_head_dim) => ({
  ...{ sample_size: 20, in_channels: 1, out_channels: 1, block_out_channels: [8], norm_num_groups: 2, attention_head_dim },
  ...{ down_block_types: ['AttnDownBlock2D'], up_block_types: ['AttnUpBlock2D'], layers_per_block: 1 },
})); // prettier-ignore

/** The two models, the networks of the fixtures, and thirty drawn over all options of UNet2DModel. */
const configs = (): UNetConfig[] =>
  [
    ...['digits', 'avatars'].map((name) => json(`../../weights/${name}/unet/config.json`) as Json),
    ...(json('../fixtures/configs.json') as Json[]),
    ...(json('../fixtures/lecture.json') as { configs: Json[] }).configs,
    ...(json('../fixtures/openai.json') as { config: Json }[]).map(({ config }) => config),
    json('../fixtures/keras.json') as Json,
    ...LONG,
  ].map((config) => parseUNetConfig(config, 'a fixture'));

/** Each part that a step may have, with and without each other. */
const PARTS: readonly Partial<StepShape>[] = Array.from({ length: 32 }, (_, bits) => ({
  guided: (bits & 1) > 0,
  givenNoise: (bits & 2) > 0,
  slots: bits & 4 ? 3 : 0,
  measured: (bits & 8) > 0,
  masked: (bits & 16) > 0,
}));

/** What a model records: a step with each of `parts` where it can be sampled from, and the network alone. */
function recordingsOf(
  config: UNetConfig,
  dtype: DType,
  policy: KernelPolicy,
  parts: readonly Partial<StepShape>[],
): CommandGraph[] {
  const weights = new WeightLayout(config, dtype);
  const run = smallestRun(config);
  const steps = (run ? parts : []).flatMap((part) =>
    graphsOf(recordStep(config, weights, { ...run!, ...part }, 'a fixture', DEFAULT_BINDING, policy)),
  );
  const alone = new NetworkRecorder(policy);
  const side = 2 ** (config.blockOutChannels.length - 1);
  const [height, width] = config.sampleSize ?? [side, side];
  const vectors = (length: number) => alone.persistent('class_labels', [1, length, 1, 1], 'f32');
  const labels =
    config.classEmbedType === 'timestep' ? vectors(1)
    : config.classEmbedType === 'identity' ? pack(alone, 'class_vectors', vectors(config.timeEmbeddingDim), { dtype })
    : config.numClassEmbeds === null ? null
    : bufferHandle('class_labels', 4, 'external'); // prettier-ignore
  const x = alone.persistent('sample', [1, config.inChannels, height, width], 'f32');
  const timestep = alone.persistent('timestep', [1, 1, 1, 1], 'f32');
  recordNetwork(alone, config, weights, { x, timestep, labels, passes: 1 }, DEFAULT_BINDING);
  return [...steps, alone];
}

/** Convolutions with each of their options, with and without each other: more than the networks have. */
function convolutions(dtype: DType, policy: KernelPolicy): CommandGraph {
  const recorder = new NetworkRecorder(policy);
  const tensor = (label: string, side: number) =>
    recorder.persistent(label, [1, 32, side, side], dtype, 'c4');
  const [x, timeBias, concatWith] = [tensor('x', 16), tensor('time', 1), tensor('second', 16)];
  const buffer = bufferHandle('weights', 32 * 32 * 9 * 4, 'external');
  const weights = (size: number, cIn = 32) => ({ weight: buffer, bias: buffer, cIn, cOut: 32, size });
  for (let bits = 0; bits < 16; bits++) {
    const options = {
      timeBias: bits & 1 ? timeBias : null,
      activation: bits & 2 ? ('silu' as const) : null,
      upsampled: (bits & 4) > 0,
      residual: bits & 8 ? tensor('residual', bits & 4 ? 32 : 16) : null,
    };
    for (const size of [1, 3]) conv2d(recorder, 'a convolution', x, weights(size), options);
  }
  conv2d(recorder, 'a convolution', x, weights(3), { stride: 2 });
  conv2d(recorder, 'a convolution', x, weights(1, 64), { concatWith });
  return recorder;
}

export interface EngineTexts {
  readonly texts: readonly Text[];
  /** `FILE NAME=VALUE` of each `#if NAME` or `#elif NAME` of a file that a launcher gave this value. */
  readonly branches: ReadonlySet<string>;
  /** Files of which a text has a part. */
  readonly files: ReadonlySet<string>;
}

export const conditionsOf = (text: string): string[] => [
  ...new Set([...text.matchAll(/#(?:if|elif) +!?(\w+)/g)].map(([, name]) => name!)),
];

export async function engineTexts(): Promise<EngineTexts> {
  const texts = new Map<string, Text>();
  const keep = (text: Text) => texts.set(JSON.stringify([text.code, text.constants]), text);
  const [branches, files] = [new Set<string>(), new Set<string>()];
  const filesOf = new Map<string, (readonly [name: string, conditions: string[]])[]>();
  const note = ({ shader: { code }, defines = {} }: Dispatch): void => {
    let parts = filesOf.get(code);
    if (!parts) filesOf.set(code, (parts = filesIn(code).map(([name, text]) => [name, conditionsOf(text)])));
    for (const [file, conditions] of parts) {
      files.add(file);
      for (const name of conditions) if (name in defines) branches.add(`${file} ${name}=${defines[name]}`);
    }
  };
  const gpus = await Promise.all(
    ([[true, 4], [true, 8], [false, 4], [false, 32]] as const).map(([software, subgroup]) => recorder(software, subgroup, keep)), // prettier-ignore
  );
  const forced = CONV_VARIANTS.map((name): KernelPolicy => ({ ...DEFAULT_KERNELS, conv: () => name }));
  const rules = [...gpus.map(kernelPolicyFor), FALLBACK_KERNELS];
  const ways = [...rules, DEFAULT_KERNELS, ...forced];
  const take = async (graphs: readonly CommandGraph[]): Promise<void> => {
    const all = graphs.flatMap(({ preparations, dispatches }) => [...preparations, ...dispatches]);
    all.forEach(note);
    await Promise.all(all.map((dispatch) => pipelineFor(gpus[0]!, dispatch)));
  };
  for (const [k, config] of configs().entries())
    for (const dtype of DTYPES) {
      for (const way of rules) await take(recordingsOf(config, dtype, way, [{}]));
      if (k > 1) continue;
      for (const gpu of gpus) {
        const variants = await tune(gpu, convShapes(config), dtype, { budget: Infinity });
        await selfCheck(gpu, config, convShapes(config), dtype, variants, false);
      }
    }
  const [digits] = configs();
  for (const dtype of DTYPES) {
    await take(recordingsOf(digits!, dtype, DEFAULT_KERNELS, PARTS)); // the update does not depend on the network
    for (const way of ways) await take([...recordingsOf(digits!, dtype, way, []), convolutions(dtype, way)]);
  }
  return { texts: [...texts.values()], branches, files };
}

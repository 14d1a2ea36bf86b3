/** What an engine is to the bench, and ours. */

import { openGpu, type Gpu } from '../../src/engine/gpu/device.ts';
import { buildProgram, run as replay, type Program } from '../../src/engine/gpu/program.ts';
import { readTensor } from '../../src/engine/gpu/transfer.ts';
import { convShapes } from '../../src/engine/memory.ts';
import { Model, type LoadOptions } from '../../src/engine/model.ts';
import { attention } from '../../src/engine/kernels/attention.ts';
import { conv2d, type ConvWeights } from '../../src/engine/kernels/conv2d.ts';
import { groupNorm } from '../../src/engine/kernels/group_norm.ts';
import { pack, unpack } from '../../src/engine/kernels/layout_convert.ts';
import { replayTime } from '../../src/engine/kernels/tune.ts';
import { CONV_VARIANTS, convKernel, kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
import {
  convShapeKey,
  NetworkRecorder,
  type ConvShape,
  type ConvVariant,
} from '../../src/engine/kernels/kernel_policy.ts';
import { packMatrix, padBlocks, toDType } from '../../src/engine/kernels/weight_layout.ts';
import { sample } from '../../src/session/sample.ts';
import type { SampleOptions } from '../../src/session/sample_options.ts';
import { makeSteps } from '../../src/schedule/make_steps.ts';
import { bufferHandle, type BufferHandle, type DType, type GpuTensor } from '../../src/core/tensor.ts';
import { LAYER, type Layer, type Network } from './networks.ts';
import { hasTimestamps, timestamps } from './timestamps.ts';

export interface Job {
  readonly network: Network;
  readonly batch: number;
  /** (batch, C, H, W) row-major. */
  readonly xT: Float32Array<ArrayBuffer>;
  /** One an image, where the network has classes. */
  readonly labels: readonly number[] | null;
}
export interface LayerJob {
  readonly layer: Layer;
  readonly batch: number;
  /** (batch, 128, size, size) row-major. */
  readonly x: Float32Array<ArrayBuffer>;
}

export interface Dispatched {
  readonly label: string;
  readonly ms: number;
}

/** A network, or four layers, ready to run in one engine. */
export interface Runner {
  /** What is to be said of how it runs. */
  readonly note: string;
  /** The network's raw output for xT at one timestep, row-major; of layers, their output. */
  predict(t: number): Promise<Float32Array>;
  /** So many steps of DDIM from xT, each on the state before it: x_0, in our memory. (Of layers: so many runs.) */
  run(steps: number): Promise<Float32Array>;
  /** Milliseconds of every dispatch of a step by itself, by label. */
  profile?(): Promise<Dispatched[]>;
  /** Median milliseconds of script in a step of the runs so far. */
  scriptMs?(): number | null;
  destroy(): void;
}

export interface Engine {
  readonly name: string;
  open(job: Job): Promise<Runner>;
  openLayer(job: LayerJob): Promise<Runner>;
}

/** Timesteps of a run of so many steps: evenly spread, falling. */
const timestepsOf = ({ schedule: { T } }: Network, steps: number): number[] =>
  Array.from({ length: steps }, (_, i) => Math.round((T - 1) * (1 - i / steps)));

const options = (network: Network, steps: number): SampleOptions => ({
  scheduler: 'ddim',
  timesteps: timestepsOf(network, steps),
  clip: null,
});

/** The same run as x <- a x + b network(x, t). */
export function affineSteps(network: Network, steps: number): { t: number; a: number; b: number }[] {
  return makeSteps(network.schedule, options(network, steps)).map(({ t, x0Hat, next }) => ({
    t,
    a: (next.x ?? 0) + (next.x0Hat ?? 0) * x0Hat.x,
    b: (next.modelOutput ?? 0) + (next.x0Hat ?? 0) * x0Hat.modelOutput,
  }));
}

/** The direct one first: the others are compared with it. */
export const VARIANTS: readonly ConvVariant[] = [
  'direct',
  ...CONV_VARIANTS.filter((name) => name !== 'direct'),
];

/** Whether a convolution of this shape can go this way on a GPU. */
export const takes = (variant: ConvVariant, shape: ConvShape): boolean =>
  variant === 'direct' || convKernel(variant).takes(shape, { isSoftware: false });

/** How convolutions are chosen: as for a visitor, by the rule alone, tuned without haste, or one way wherever it can go. */
export type Way = 'default' | 'rule' | 'tuned' | ConvVariant;

function loadOptions({ config }: Network, dtype: DType, way: Way): LoadOptions {
  if (way === 'default') return { dtype };
  if (way === 'rule') return { dtype, tune: false };
  if (way === 'tuned') return { dtype, tune: { budget: 30_000 } };
  // What the tuner finds in its store it takes as it is.
  const chosen = convShapes(config).filter((shape) => takes(way, shape));
  const value = JSON.stringify(Object.fromEntries(chosen.map((shape) => [convShapeKey(shape), way])));
  return { dtype, tune: { budget: -1, store: { getItem: () => value, setItem: () => {} } } };
}

/** The network's convolutions by the way that they go: what the numbers are of. */
function waysOf(model: Model): string {
  const count = new Map<string, number>();
  for (const shape of convShapes(model.config)) {
    const name = model.kernels.conv(shape);
    count.set(name, (count.get(name) ?? 0) + 1);
  }
  return [...count].map(([name, n]) => `${n} ${name}`).join(', ');
}

/** This project's, as its users run it: Model.load and sample(). */
export const ours = (entry: () => Promise<GPU | undefined>, dtype: DType, way: Way = 'default'): Engine => ({
  name: `ours${dtype === 'f32' ? '' : ', f16'}${way === 'default' ? '' : `, ${way}`}`,
  async open({ network, batch, xT, labels }) {
    const gpu = await openGpu(await entry());
    const model = await Model.load(gpu, network.files, loadOptions(network, dtype, way));
    const ways = waysOf(model);
    if (VARIANTS.includes(way as ConvVariant) && !ways.includes(` ${way}`))
      throw new Error(`no convolution of ${network.name} goes by ${way}`);
    const { inChannels, sampleSize } = network.config;
    const script: number[] = [];
    return {
      note: way === 'default' ? '' : `shapes: ${ways}`,
      async predict(t) {
        const shape = [batch, inChannels, ...sampleSize!] as const;
        const timestep = new Float32Array(batch).fill(t);
        const { eps } = await model.predict({ shape, sample: xT, timestep, labels });
        // A learned variance is left out.
        const [size, out] = [xT.length / batch, eps.length / batch];
        return eps.filter((_, i) => i % out < size);
      },
      async run(steps) {
        let last: GpuTensor | null = null;
        const which = labels ? { labels } : { count: batch };
        const states = sample(model, { ...options(network, steps), ...which, xT });
        for (let k = 0; ; k++) {
          // A generator's next() runs its step to the first wait before it returns: encoding and submitting.
          const since = performance.now();
          const next = states.next();
          if (k > 0 && k <= steps) script.push(performance.now() - since);
          const { done, value } = await next;
          if (done) return readTensor(gpu, last!);
          last = value.xT;
        }
      },
      async profile() {
        const [height, width] = sampleSize!;
        const plan = await model.acquirePlan({ count: batch, height, width });
        try {
          return await profile(gpu, plan.step);
        } finally {
          model.releasePlan(plan);
        }
      },
      scriptMs: () => script.sort((a, b) => a - b)[script.length >> 1] ?? null,
      destroy() {
        model.destroy();
        gpu.destroy();
      },
    };
  },
  async openLayer({ layer, batch, x }) {
    const gpu = await openGpu(await entry());
    const recorder = new NetworkRecorder(kernelPolicyFor(gpu));
    const { channels, groups, eps, repeats } = LAYER;
    const shape = [batch, channels, layer.size, layer.size] as const;
    const input = recorder.persistent('x', shape, 'f32');
    const buffers = new Map<BufferHandle, GPUBuffer>();
    const get = (name: string): ConvWeights => layerWeights(gpu, layer, name, dtype, buffers);
    let h = pack(recorder, 'pack', input, { dtype });
    for (let i = 0; i < repeats; i++) {
      if (layer.kind === 'norm') {
        const { weight: gamma, bias: beta } = get(`${i}`);
        h = groupNorm(recorder, `${i}`, h, { gamma, beta, channels }, { groups, eps, activation: 'silu' });
      } else if (layer.kind === 'attention') {
        const project = (part: string) => conv2d(recorder, `${i}.${part}`, h, get(`${i}.${part}`));
        const mixed = attention(recorder, `${i}`, project('to_q'), project('to_k'), project('to_v'), 1);
        h = conv2d(recorder, `${i}.to_out.0`, mixed, get(`${i}.to_out.0`));
      } else h = conv2d(recorder, `${i}`, h, get(`${i}`));
    }
    const out = unpack(recorder, 'unpack', h, recorder.persistent('y', shape, 'f32'), null);
    const program = await buildProgram(gpu, recorder, layer.name, buffers);
    gpu.device.queue.writeBuffer(program.bufferOf(input), 0, x);
    const run = (times: number): Promise<Float32Array> => {
      for (let i = 0; i < times; i++) replay(gpu.device, program);
      return readTensor(gpu, program.tensorOf(out));
    };
    return {
      note: '',
      predict: () => run(1),
      run,
      profile: () => profile(gpu, program),
      destroy() {
        program.destroy();
        gpu.destroy();
      },
    };
  },
});

/** Each dispatch again and again, by the GPU's clock, or else in submits of about 20 ms: the best of three. */
async function profile(gpu: Gpu, program: Program): Promise<Dispatched[]> {
  if (hasTimestamps(gpu)) return timestamps(gpu, program);
  const out: Dispatched[] = [];
  for (const [i, { label }] of program.commands.entries()) {
    const time = (times: number) => replayTime(gpu, program, times, { from: i, to: i + 1 });
    const times = Math.max(1, Math.min(1000, Math.round(20 / (await time(1)))));
    out.push({ label, ms: Math.min(await time(times), await time(times), await time(times)) });
  }
  return out;
}

function layerWeights(
  gpu: Gpu,
  layer: Layer,
  name: string,
  dtype: DType,
  buffers: Map<BufferHandle, GPUBuffer>,
): ConvWeights {
  const upload = (data: Float32Array<ArrayBuffer>): BufferHandle => {
    const bytes = toDType(data, dtype);
    const handle = bufferHandle(name, bytes.byteLength, 'external');
    const buffer = gpu.device.createBuffer({ size: handle.bytes, usage: 0x88 }); // STORAGE | COPY_DST
    gpu.device.queue.writeBuffer(buffer, 0, bytes);
    buffers.set(handle, buffer);
    return handle;
  };
  const { shape, data } = layer.weights.get(`${name}.weight`)!;
  const [cOut, cIn, size = 1] = shape as [number, number?, number?];
  return {
    weight: upload(cIn ? packMatrix(data, cOut, cIn, size) : padBlocks(data, 1, cOut)),
    bias: upload(padBlocks(layer.weights.get(`${name}.bias`)!.data, 1, cOut)),
    cIn: cIn ?? cOut,
    cOut,
    size,
  };
}

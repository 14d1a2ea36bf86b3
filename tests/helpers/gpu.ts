/** One device for a test file, and a harness that runs single launches on it. */

import { afterAll, beforeAll, expect } from 'vitest';
import { nodeGpu } from '../../src/apps/cli/node_gpu.ts';
import { openGpu, type Gpu } from '../../src/engine/gpu/device.ts';
import { buildProgram, run } from '../../src/engine/gpu/program.ts';
import { readBuffer } from '../../src/engine/gpu/transfer.ts';
import { COPY_DST, COPY_SRC, STORAGE, UNIFORM } from '../../src/engine/gpu/usage.ts';
import {
  DEFAULT_KERNELS,
  NetworkRecorder,
  type KernelPolicy,
} from '../../src/engine/kernels/kernel_policy.ts';
import {
  blocks,
  bufferHandle,
  scalars,
  type BufferHandle,
  type DType,
  type Layout,
  type Shape,
  type Tensor,
} from '../../src/core/tensor.ts';
import { f16ToF32, f32ToF16 } from '../../src/core/float16.ts';
import { sizeOf, type Array4 } from './array.ts';

let opened: Gpu | undefined;

/** Opens the device before the tests of the calling file: no adapter fails them all. */
export function useGpu(): () => Gpu {
  beforeAll(async () => {
    opened = await openGpu(await nodeGpu());
  });
  afterAll(() => opened?.destroy());
  return () => opened!;
}

/** f16 where the adapter has it. (`npm test` brings one that has it, and a test of its own fails without.) */
export const DTYPES: readonly DType[] = ['f32', 'f16'];

const c4 = (shape: Shape, n: number, c: number, p: number): number =>
  ((n * blocks(shape[1]) + (c >> 2)) * shape[2] * shape[3] + p) * 4 + (c & 3);

/** Row-major numbers in a layout. */
export function toLayout({ shape, data }: Array4, layout: Layout): Float32Array<ArrayBuffer> {
  if (layout === 'planar') return Float32Array.from(data);
  const [n, c, h, w] = shape;
  const out = new Float32Array(scalars(shape, 'c4'));
  for (let i = 0; i < n; i++)
    for (let k = 0; k < c; k++)
      for (let p = 0; p < h * w; p++) out[c4(shape, i, k, p)] = data[(i * c + k) * h * w + p]!;
  return out;
}

/** Back again; lanes past the last channel must be zero, as the next kernel relies on it. */
export function fromLayout(stored: ArrayLike<number>, shape: Shape, layout: Layout): Float64Array {
  const [n, c, h, w] = shape;
  const out = new Float64Array(sizeOf(shape));
  if (layout === 'planar') return out.map((_, i) => stored[i]!);
  for (let i = 0; i < n; i++)
    for (let k = 0; k < blocks(c) * 4; k++)
      for (let p = 0; p < h * w; p++) {
        const value = stored[c4(shape, i, k, p)]!;
        if (k < c) out[(i * c + k) * h * w + p] = value;
        else if (value !== 0) throw new Error(`lane ${k} past the last channel holds ${value}`);
      }
  return out;
}

export interface Bench {
  readonly gpu: Gpu;
  readonly recorder: NetworkRecorder;
  readonly dtype: DType;
  /** An input tensor; c4 in the dtype of the run unless said otherwise. */
  input(label: string, value: Array4, layout?: Layout, dtype?: DType): Tensor;
  /** A weight buffer with these scalars in the dtype of the run. */
  weights(label: string, data: Float32Array<ArrayBuffer>, dtype?: DType): BufferHandle;
  words(label: string, data: Uint32Array<ArrayBuffer>, uniform?: boolean): BufferHandle;
}

/** Records one or more launches, replays them `times` times, and returns the named tensors row-major. */
export async function launch<K extends string>(
  gpu: Gpu,
  dtype: DType,
  record: (bench: Bench) => Record<K, Tensor>,
  times = 1,
  policy: Partial<KernelPolicy> = {},
): Promise<Record<K, Float64Array>> {
  const recorder = new NetworkRecorder({ ...DEFAULT_KERNELS, ...policy });
  const inputs: (readonly [Tensor, Uint8Array<ArrayBuffer>])[] = [];
  const buffers = new Map<BufferHandle, GPUBuffer>();
  const pad = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => {
    const out = new Uint8Array(Math.ceil(bytes.length / 16) * 16);
    out.set(bytes);
    return out;
  };
  const raw = (data: Float32Array<ArrayBuffer>, type: DType): Uint8Array<ArrayBuffer> =>
    pad(new Uint8Array((type === 'f16' ? Uint16Array.from(data, f32ToF16) : data).buffer));
  const buffer = (label: string, bytes: Uint8Array<ArrayBuffer>, uniform = false): BufferHandle => {
    const usage = uniform ? UNIFORM : STORAGE | COPY_SRC;
    const made = gpu.device.createBuffer({ label, size: bytes.length, usage: usage | COPY_DST });
    gpu.device.queue.writeBuffer(made, 0, bytes);
    const handle = bufferHandle(label, bytes.length, 'external', uniform);
    buffers.set(handle, made);
    return handle;
  };
  const outputs = record({
    gpu,
    recorder,
    dtype,
    input(label, value, layout = 'c4', type = layout === 'c4' ? dtype : 'f32') {
      const tensor = recorder.persistent(label, value.shape, type, layout);
      inputs.push([tensor, raw(toLayout(value, layout), type)]);
      return tensor;
    },
    weights: (label, data, type = dtype) => buffer(label, raw(data, type)),
    words: (label, data, uniform = false) => buffer(label, pad(new Uint8Array(data.buffer)), uniform),
  });
  for (const tensor of Object.values<Tensor>(outputs)) recorder.keep(tensor);
  const program = await buildProgram(gpu, recorder, 'test', buffers);
  try {
    for (const [tensor, bytes] of inputs) gpu.device.queue.writeBuffer(program.bufferOf(tensor), 0, bytes);
    for (let i = 0; i < times; i++) run(gpu.device, program);
    const read = async (tensor: Tensor): Promise<Float64Array> => {
      const bytes = await readBuffer(gpu, program.bufferOf(tensor), tensor.storage.bytes);
      const stored =
        tensor.dtype === 'f16'
          ? Float32Array.from(new Uint16Array(bytes), f16ToF32)
          : new Float32Array(bytes);
      return fromLayout(stored, tensor.shape, tensor.layout);
    };
    const result = {} as Record<K, Float64Array>;
    for (const [name, tensor] of Object.entries(outputs) as [K, Tensor][]) result[name] = await read(tensor);
    gpu.check();
    return result;
  } finally {
    program.destroy();
    buffers.forEach((b) => b.destroy());
  }
}

/** Skips nothing: an f16 run on an adapter without f16 is a failure with this sentence. */
export function needs(gpu: Gpu, dtype: DType): void {
  if (dtype === 'f16') expect(gpu.f16, `the adapter ${gpu.adapter} has no 16-bit floats`).toBe(true);
}

/** The same device, binding less in one piece. */
export function narrow(real: Gpu, maxStorageBufferBindingSize: number): Gpu {
  const limits = { maxStorageBufferBindingSize, maxBufferSize: real.device.limits.maxBufferSize };
  const device = new Proxy(real.device, {
    get(target, key) {
      if (key === 'limits') return limits;
      const value = Reflect.get(target, key) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  return { ...real, device };
}

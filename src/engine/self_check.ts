/**
 * Checks that this GPU computes what the kernels describe. Every kernel family (convolution in each variant in use, group norm,
 * attention, update with its noise) runs once on known numbers, and is compared with plain loops in float64.
 *
 * A driver may lose stores without an error. The picture would then be wrong without a word.
 */

import type { Gpu } from './gpu/device.ts';
import { allocate, scoped } from './gpu/scope.ts';
import { buildProgram, run, type BufferMap } from './gpu/program.ts';
import { readBuffer } from './gpu/transfer.ts';
import { COPY_DST, COPY_SRC, STORAGE, UNIFORM } from './gpu/usage.ts';
import { attention } from './kernels/attention.ts';
import { conv2d } from './kernels/conv2d.ts';
import { NetworkRecorder, type ConvShape, type KernelPolicy } from './kernels/kernel_policy.ts';
import { groupNorm } from './kernels/group_norm.ts';
import { packMatrix, toDType } from './kernels/weight_layout.ts';
import { TOLERANCE } from './kernels/tune.ts';
import { packUpdateStep, update } from './kernels/update.ts';
import { keyOf, normals, STREAM_Z } from '../schedule/noise.ts';
import { normalTable } from '../schedule/normal_table.ts';
import {
  blocks,
  bufferHandle,
  makeTensor,
  scalars,
  type BufferHandle,
  type DType,
  type Layout,
  type Shape,
  type Tensor,
} from '../core/tensor.ts';
import type { UNetConfig } from './unet/config.ts';
import { f16ToF32, f32ToF16 } from '../core/float16.ts';

/** A kernel on known numbers: where its result is, and some of the numbers that it should have there. */
interface Check {
  readonly kernel: string;
  readonly out: Tensor;
  readonly dtype: DType;
  /** By index into the stored numbers. Computed only if they are compared. */
  expected(): Map<number, number>;
}

/** Results of kernels that were checked already, by device and by what distinguishes their shaders. */
const checked = new WeakMap<GPUDevice, Map<string, Promise<string | null>>>();

/**
 * @param gpu with `supportsQuadOps` as the kernels will use them
 * @param shapes of the model's convolutions; one of each variant is checked, the smallest
 * @param compare false runs everything, and believes it (for devices that only compile)
 * @returns null if all is right, else what is wrong, for the console
 * @throws device-lost; gpu-error, if the GPU refuses a kernel; out-of-memory
 */
export async function selfCheck(
  gpu: Gpu,
  config: UNetConfig,
  shapes: readonly ConvShape[],
  dtype: DType,
  policy: KernelPolicy,
  compare = true,
): Promise<string | null> {
  let known = checked.get(gpu.device);
  if (!known) checked.set(gpu.device, (known = new Map()));
  const buffers = new Map<BufferHandle, GPUBuffer>();
  const recorder = new NetworkRecorder(policy);
  const make = new KnownNumbers(gpu, recorder, dtype, buffers);
  try {
    const checks = await allocate(gpu.device, 'checking the kernels', () => [
      ...ofEachVariant(shapes, policy).map((shape) => checkConv(make, shape)),
      checkNorm(make, config),
      checkAttention(make, config),
      checkUpdate(make, config),
    ]);
    const key = recorder.dispatches
      .map(
        (d) =>
          `${d.shader.name} ${d.workgroupSize} ${d.dtype} ${gpu.supportsQuadOps} ${JSON.stringify(d.defines)}`,
      )
      .join();
    let result = known.get(key);
    if (!result) {
      known.set(key, (result = runChecks(gpu, recorder, checks, buffers, compare)));
      result.catch(() => known.delete(key)); // a failed one may be tried again
    }
    return await result;
  } finally {
    buffers.forEach((buffer) => buffer.destroy());
  }
}

/** The smallest shape of each variant that the policy chooses. */
function ofEachVariant(shapes: readonly ConvShape[], policy: KernelPolicy): ConvShape[] {
  const least = new Map<string, ConvShape>();
  const work = ({ cIn, cOut, size, h, w }: ConvShape): number =>
    cIn * cOut * size ** 2 + (cIn + cOut) * h * w;
  for (const shape of shapes) {
    const key = `${policy.conv(shape)} ${shape.size === 1}`;
    const before = least.get(key);
    if (!before || work(shape) < work(before)) least.set(key, shape);
  }
  return [...least.values()];
}

async function runChecks(
  gpu: Gpu,
  recorder: NetworkRecorder,
  checks: readonly Check[],
  buffers: BufferMap,
  compare: boolean,
): Promise<string | null> {
  for (const { out } of checks) recorder.keep(out);
  const program = await buildProgram(gpu, recorder, 'self-check', buffers);
  try {
    const { refused } = scoped(gpu.device, () => run(gpu.device, program));
    const refusal = await refused;
    if (refusal) return refusal.message;
    const results = await Promise.all(
      checks.map(({ out }) => readBuffer(gpu, program.bufferOf(out), out.storage.bytes)),
    );
    if (!compare) return null;
    for (const [i, check] of checks.entries()) {
      const wrong = differs(check, results[i]!);
      if (wrong) return wrong;
    }
    return null;
  } finally {
    program.destroy();
  }
}

function differs({ kernel, dtype, expected }: Check, bytes: ArrayBuffer): string | null {
  const stored =
    dtype === 'f16' ? Float32Array.from(new Uint16Array(bytes), f16ToF32) : new Float32Array(bytes);
  const wanted = expected();
  const scale = [...wanted.values()].reduce((most, y) => Math.max(most, Math.abs(y)), 0);
  for (const [i, y] of wanted) {
    if (Math.abs(stored[i]! - y) <= TOLERANCE[dtype] * scale) continue; // NaN goes on
    return `${kernel} gives ${stored[i]} instead of ${y}`;
  }
  return null;
}

/** Makes inputs of pseudo-random numbers, and remembers them as the GPU stores them. */
class KnownNumbers {
  readonly recorder: NetworkRecorder;
  readonly dtype: DType;
  readonly #gpu: Gpu;
  readonly #buffers: Map<BufferHandle, GPUBuffer>;
  #state = 1;

  constructor(gpu: Gpu, recorder: NetworkRecorder, dtype: DType, buffers: Map<BufferHandle, GPUBuffer>) {
    this.#gpu = gpu;
    this.recorder = recorder;
    this.dtype = dtype;
    this.#buffers = buffers;
  }

  /** `n` numbers of at most `spread`, rounded to the storage type. */
  numbers(n: number, spread: number, dtype = this.dtype): Float32Array<ArrayBuffer> {
    return Float32Array.from({ length: n }, () => {
      this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0; // Numerical Recipes' generator
      const x = spread * (this.#state / 2 ** 31 - 1);
      return dtype === 'f16' ? f16ToF32(f32ToF16(x)) : x;
    });
  }

  /** A buffer with these numbers; floats in the dtype of the check. */
  buffer(data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>, uniform = false): BufferHandle {
    const bytes = data instanceof Float32Array ? toDType(data, this.dtype) : data;
    const handle = bufferHandle('self-check', bytes.byteLength, 'external', uniform);
    this.#fill(handle, bytes);
    return handle;
  }

  #tensor(shape: Shape, dtype: DType, layout: Layout, data: Float32Array<ArrayBuffer>): Tensor {
    const tensor = makeTensor('x', shape, dtype, layout, 'external');
    this.#fill(tensor.storage, toDType(data, dtype));
    return tensor;
  }

  #fill(handle: BufferHandle, data: ReturnType<typeof toDType> | Uint32Array<ArrayBuffer>): void {
    const { device } = this.#gpu;
    const usage = handle.uniform ? UNIFORM | COPY_DST : STORAGE | COPY_SRC | COPY_DST;
    const buffer = device.createBuffer({ label: handle.label, size: handle.bytes, usage });
    device.queue.writeBuffer(buffer, 0, data);
    this.#buffers.set(handle, buffer);
  }

  /** A tensor in blocks of four channels, and its numbers by channel and pixel. Padding components are zero. */
  blocked(shape: Shape, spread = 1): { tensor: Tensor; at(c: number, pixel: number): number } {
    const [, c, h, w] = shape;
    const stored = this.numbers(scalars(shape, 'c4'), spread);
    for (let k = c; k < blocks(c) * 4; k++) for (let p = 0; p < h * w; p++) stored[indexOf(shape, k, p)] = 0;
    const tensor = this.#tensor(shape, this.dtype, 'c4', stored);
    return { tensor, at: (k, p) => stored[indexOf(shape, k, p)]! };
  }

  /** A planar tensor of f32, and its numbers. */
  planar(shape: Shape): { tensor: Tensor; data: Float32Array<ArrayBuffer> } {
    const data = this.numbers(scalars(shape, 'planar'), 1, 'f32');
    const tensor = this.#tensor(shape, 'f32', 'planar', data);
    return { tensor, data };
  }
}

/** Index of a number in a tensor of blocks of four channels (tensor.ts), for one image. */
const indexOf = ([, , h, w]: Shape, c: number, pixel: number): number =>
  ((c >> 2) * h * w + pixel) * 4 + (c & 3);

function checkConv(make: KnownNumbers, { cIn, cOut, size, stride, h, w }: ConvShape): Check {
  const { recorder, dtype } = make;
  const [hIn, wIn] = [h * stride, w * stride];
  const x = make.blocked([1, cIn, hIn, wIn]);
  const weight = make.numbers(cOut * cIn * size ** 2, Math.sqrt(3 / (cIn * size ** 2)));
  const bias = make.numbers(blocks(cOut) * 4, 1);
  const packed = make.buffer(packMatrix(weight, cOut, cIn, size));
  const weights = { weight: packed, bias: make.buffer(bias), cIn, cOut, size };
  const out = conv2d(recorder, 'self-check.conv2d', x.tensor, weights, { stride });
  const around = (size - 1) / 2;
  const expected = (): Map<number, number> => {
    const wanted = new Map<number, number>();
    const [, , outH, outW] = out.shape;
    for (let k = 0; k < 64; k++) {
      // Corners first, then spread over channels and pixels.
      const pixel = [0, outW - 1, outH * outW - 1][k] ?? (k * 2654435761) % (outH * outW);
      const co = (k * 7) % cOut;
      const [y, column] = [Math.floor(pixel / outW), pixel % outW];
      let sum = bias[co]!;
      for (let ky = 0; ky < size; ky++)
        for (let kx = 0; kx < size; kx++) {
          const [yIn, xIn] = [y * stride + ky - around, column * stride + kx - around];
          if (yIn < 0 || xIn < 0 || yIn >= hIn || xIn >= wIn) continue;
          for (let ci = 0; ci < cIn; ci++)
            sum += x.at(ci, yIn * wIn + xIn) * weight[((co * cIn + ci) * size + ky) * size + kx]!;
        }
      wanted.set(indexOf(out.shape, co, pixel), sum);
    }
    return wanted;
  };
  const variant = recorder.policy.conv({ cIn, cOut, size, stride, h, w });
  return { kernel: `conv2d (${variant}, ${size} x ${size})`, out, dtype, expected };
}

function checkNorm(make: KnownNumbers, config: UNetConfig): Check {
  const { recorder, dtype } = make;
  const [c, groups] = [config.blockOutChannels[0]!, config.normNumGroups];
  const x = make.blocked([1, c, 8, 8]);
  const [gamma, beta] = [make.numbers(blocks(c) * 4, 1), make.numbers(blocks(c) * 4, 1)];
  const eps = 1e-5;
  const weights = { gamma: make.buffer(gamma), beta: make.buffer(beta), channels: c };
  const out = groupNorm(recorder, 'self-check.group_norm', x.tensor, weights, {
    groups,
    eps,
    activation: 'silu',
  });
  const expected = (): Map<number, number> => {
    const wanted = new Map<number, number>();
    const each = c / groups;
    for (let g = 0; g < groups; g++) {
      const own = Array.from({ length: each * 64 }, (_, i) => x.at(g * each + Math.floor(i / 64), i % 64));
      const mean = own.reduce((sum, v) => sum + v, 0) / own.length;
      const variance = own.reduce((sum, v) => sum + (v - mean) ** 2, 0) / own.length;
      own.forEach((v, i) => {
        const channel = g * each + Math.floor(i / 64);
        const y = ((v - mean) / Math.sqrt(variance + eps)) * gamma[channel]! + beta[channel]!;
        wanted.set(indexOf(out.shape, channel, i % 64), y / (1 + Math.exp(-y)));
      });
    }
    return wanted;
  };
  return { kernel: 'group_norm', out, dtype, expected };
}

function checkAttention(make: KnownNumbers, config: UNetConfig): Check {
  const { recorder, dtype } = make;
  const c = config.blockOutChannels.at(-1)!;
  const shape: Shape = [1, c, 8, 8];
  const d = config.attentionHeadDim && c % config.attentionHeadDim === 0 ? config.attentionHeadDim : c;
  const [q, k, v] = [make.blocked(shape, 2), make.blocked(shape, 2), make.blocked(shape)];
  const out = attention(recorder, 'self-check.attention', q.tensor, k.tensor, v.tensor, c / d);
  const expected = (): Map<number, number> => {
    const wanted = new Map<number, number>();
    for (let head = 0; head < c / d; head++)
      for (const query of [0, 27, 63]) {
        const dot = (key: number): number => {
          let sum = 0;
          for (let i = head * d; i < (head + 1) * d; i++) sum += q.at(i, query) * k.at(i, key);
          return sum / Math.sqrt(d);
        };
        const scores = Array.from({ length: 64 }, (_, key) => dot(key));
        const most = Math.max(...scores);
        const weights = scores.map((s) => Math.exp(s - most));
        const total = weights.reduce((sum, w) => sum + w, 0);
        for (let i = head * d; i < (head + 1) * d; i++) {
          const mean = weights.reduce((sum, w, key) => sum + w * v.at(i, key), 0) / total;
          wanted.set(indexOf(shape, i, query), mean);
        }
      }
    return wanted;
  };
  return { kernel: 'attention', out, dtype, expected };
}

/** x <- 0.5 x + 0.25 x0Hat - 0.75 m + sigma z, x0Hat = clamp(2 x - m, -1, 1), m guided by 3 if there are classes. */
function checkUpdate(make: KnownNumbers, config: UNetConfig): Check {
  const { recorder } = make;
  const [n, c] = [2, config.inChannels];
  const size = c * 64;
  const guided = config.numClassEmbeds !== null;
  const outputs = config.outChannels === 2 * c ? 2 * c : c;
  const x = make.planar([n, c, 8, 8]);
  const before = x.data.slice();
  const output = make.planar([guided ? 2 * n : n, outputs, 8, 8]);
  const seeds = [7, 2 ** 33 + 9];
  const step = { x0_x: 2, x0_m: -1, clip: 1, sigma: 0.5, guidance: 3, index: 5, mix: [[0.5, 0.25, -0.75]] };
  update(recorder, 'self-check.update', {
    x: x.tensor,
    x0Hat: make.planar([n, c, 8, 8]).tensor,
    output: output.tensor,
    step: make.buffer(new Uint32Array(packUpdateStep(step)), true),
    fault: make.buffer(new Uint32Array(4)),
    z: {
      seeds: make.buffer(Uint32Array.from(seeds.flatMap(keyOf))),
      normalTable: make.buffer(normalTable as Uint32Array<ArrayBuffer>),
    },
    history: null,
  });
  const expected = (): Map<number, number> => {
    const wanted = new Map<number, number>();
    for (let image = 0; image < n; image++) {
      const z = normals(seeds[image]!, STREAM_Z, step.index, size);
      for (let i = 0; i < size; i++) {
        const of = (pass: number): number => output.data[(pass * n + image) * outputs * 64 + i]!;
        const m = guided ? of(1) + step.guidance * (of(0) - of(1)) : of(0);
        const own = before[image * size + i]!;
        const x0Hat = Math.max(-1, Math.min(1, 2 * own - m));
        wanted.set(image * size + i, 0.5 * own + 0.25 * x0Hat - 0.75 * m + step.sigma * z[i]!);
      }
    }
    return wanted;
  };
  return { kernel: 'update', out: x.tensor, dtype: 'f32', expected };
}

/** From named tensors to GPU buffers packed as the kernels read them. */

import type { Gpu } from '../gpu/device.ts';
import { allocate } from '../gpu/scope.ts';
import { DiffusionError, throwIfAborted } from '../errors.ts';
import { COPY_DST, STORAGE } from '../gpu/usage.ts';
import type { ConvWeights } from '../ops/conv2d.ts';
import type { Table } from '../ops/embedding.ts';
import type { NormWeights } from '../ops/group_norm.ts';
import { packMatrix, padBlocks, toDType } from '../ops/packing.ts';
import { frequencies } from '../ops/timestep_embedding.ts';
import { blocks, bytesOf, type DType } from '../tensor.ts';
import { toFloat32, type WeightTensor } from '../weights/safetensors.ts';
import type { UNetConfig } from './config.ts';
import { checkParameters, expectedParameters } from './parameters.ts';

/** Makes a buffer of so many scalars, which `fills` compute, one piece after the other. */
type Make = (
  label: string,
  scalars: number,
  type: DType,
  ...fills: (() => Float32Array<ArrayBuffer>)[]
) => GPUBuffer;

/** Some of the outputs of a layer: what was a layer of its own in the checkpoint. */
export interface LayerPart {
  readonly layer: string;
  /** First block of four output channels. */
  readonly first: number;
  readonly cOut: number;
}

/**
 * Layers that see the same input become one: one product of matrices instead of three, or of twenty. The name of the
 * joint layer, or null.
 */
function jointOf(owner: string): string | null {
  if (/\.to_[qkv]$/.test(owner)) return owner.replace(/to_[qkv]$/, 'to_qkv');
  if (owner.endsWith('.time_emb_proj')) return 'time_emb_proj';
  return /^(down|up)\d\.emb$/.test(owner) ? 'emb' : null;
}

/** Scalars of a joint matrix of time projections, at most; what is more begins another. In f32 these are 64 MiB. */
const JOINT = 2 ** 24;

const bufferBytes = (scalars: number, type: DType): number => Math.ceil((scalars * bytesOf[type]) / 16) * 16;

/** The parameters of one network on the GPU: owns the buffers. */
export class UNetWeights {
  readonly dtype: DType;
  /** `conv_in`, `down_blocks.0.resnets.0.conv1` ...: every layer with a matrix; linear ones have size 1. */
  readonly layers = new Map<string, ConvWeights>();
  /** `mid_block.attentions.0.to_q`, `down_blocks.0.resnets.0.time_emb_proj` ...: layers that are part of a joint one. */
  readonly parts = new Map<string, LayerPart>();
  readonly norms = new Map<string, NormWeights>();
  classTable: Table | null = null;
  timeTable: Table | null = null;
  /** Of the sinusoidal and Fourier embeddings. */
  readonly frequency: GPUBuffer;
  readonly #buffers: GPUBuffer[] = [];

  /** @throws bad-weights, out-of-memory, aborted */
  static async upload(
    gpu: Gpu,
    config: UNetConfig,
    tensors: ReadonlyMap<string, WeightTensor>,
    dtype: DType,
    source: string,
    signal?: AbortSignal,
    joint = JOINT,
  ): Promise<UNetWeights> {
    checkParameters(config, tensors, source);
    const numbers = (name: string): Float32Array<ArrayBuffer> => {
      const data = toFloat32(tensors.get(name)!);
      let bad = 0;
      for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i])) bad++;
      if (bad)
        throw new DiffusionError(
          'bad-weights',
          `The tensor ${name} of ${source} holds ${bad} numbers that are not finite.`,
          'Download or convert the model again.',
        );
      return data;
    };
    const fills: (() => void)[] = [];
    const make: Make = (label, scalars, type, ...pieces) => {
      const size = bufferBytes(scalars, type);
      const buffer = gpu.device.createBuffer({ label, size, usage: STORAGE | COPY_DST });
      let at = 0;
      for (const piece of pieces)
        fills.push(() => {
          const bytes = toDType(piece(), type);
          gpu.device.queue.writeBuffer(buffer, at, bytes);
          at += bytes.byteLength;
        });
      return buffer;
    };
    const shapes = [...tensors].map(([name, { shape }]) => [name, shape] as const);
    let made: UNetWeights | null = null;
    const weights = await allocate(
      gpu.device,
      `the weights of ${source}`,
      () => (made = new UNetWeights(config, shapes, dtype, numbers, make, joint)),
      () => made?.destroy(),
    );
    try {
      let since = performance.now();
      for (const fill of fills) {
        throwIfAborted(signal);
        fill();
        if (performance.now() - since < 30) continue;
        await new Promise((resolve) => setTimeout(resolve)); // a large model takes seconds: let the page live
        since = performance.now();
      }
    } catch (error) {
      weights.destroy();
      throw error;
    }
    return weights;
  }

  /** The weights of a config as `upload` lays them out, with no GPU and no numbers: what is bound has a size and no more. */
  static planned(config: UNetConfig, dtype: DType): UNetWeights {
    const make: Make = (label, scalars, type) =>
      ({ label, size: bufferBytes(scalars, type), destroy() {} }) as unknown as GPUBuffer;
    const none = () => new Float32Array();
    return new UNetWeights(config, [...expectedParameters(config)], dtype, none, make, JOINT);
  }

  private constructor(
    config: UNetConfig,
    shapes: readonly (readonly [name: string, shape: readonly number[]])[],
    dtype: DType,
    numbers: (name: string) => Float32Array<ArrayBuffer>,
    make: Make,
    most: number,
  ) {
    this.dtype = dtype;
    const upload: Make = (...of) => {
      const buffer = make(...of);
      this.#buffers.push(buffer);
      return buffer;
    };
    /** Rows of so many channels, each padded to whole blocks. */
    const padded = (
      label: string,
      rows: number,
      channels: number,
      data: () => Float32Array = () => numbers(label),
    ) => upload(label, rows * blocks(channels) * 4, dtype, () => padBlocks(data(), rows, channels));
    interface Part {
      readonly label: string;
      readonly owner: string;
      /** First of its rows in the checkpoint's matrix. */
      readonly from: number;
      readonly cOut: number;
      readonly cIn: number;
    }
    const joints = new Map<string, Part[]>();
    let frequency: { count: number; fill: () => Float32Array<ArrayBuffer> } | null = null;
    for (const [name, shape] of shapes) {
      if (!name.endsWith('.weight')) continue;
      const owner = name.slice(0, -'.weight'.length);
      if (owner === 'class_embedding' || (owner === 'time_proj' && shape.length === 2)) {
        const [rows, channels] = shape as [number, number];
        const table = { buffer: padded(name, rows, channels), rows, channels };
        if (owner === 'time_proj') this.timeTable = table;
        else this.classTable = table;
        continue;
      }
      if (owner === 'time_proj') {
        // Fourier features: 2 pi w, rounded as PyTorch does.
        const fill = () =>
          config.frequencyTable
            ? numbers(name)
            : numbers(name).map((w) => Math.fround(w * 2) * Math.fround(Math.PI));
        frequency = { count: shape[0]!, fill };
        continue;
      }
      if (shape.length === 1) {
        const gamma = padded(name, 1, shape[0]!);
        const beta = padded(`${owner}.bias`, 1, shape[0]!);
        this.norms.set(owner, { gamma, beta, channels: shape[0]! });
        continue;
      }
      const [rows, cIn, size = 1] = shape as [number, number, number?];
      let joint = jointOf(owner);
      if (joint === 'time_emb_proj') {
        const full = (name: string) =>
          (joints.get(name) ?? []).reduce((sum, part) => sum + part.cOut * part.cIn, rows * cIn) > most;
        for (let k = 1; joints.has(joint) && full(joint); k++) joint = `time_emb_proj.${k}`;
      }
      if (joint) {
        // With scaleShift its first half scales, its second shifts.
        const half = config.scaleShift && owner.endsWith('.time_emb_proj');
        const ends = half ? (['.scale', '.shift'] as const) : ([''] as const);
        ends.forEach((end, i) => {
          const cOut = rows / ends.length;
          joints.set(joint, [
            ...(joints.get(joint) ?? []),
            { label: owner + end, owner, from: i * cOut, cOut, cIn },
          ]);
        });
        continue;
      }
      this.layers.set(owner, {
        weight: upload(name, blocks(rows) * blocks(cIn) * 16 * size ** 2, dtype, () =>
          packMatrix(numbers(name), rows, cIn, size),
        ),
        bias: padded(`${owner}.bias`, 1, rows),
        cIn,
        cOut: rows,
        size,
      });
    }
    for (const [joint, parts] of joints) {
      const { cIn } = parts[0]!;
      let first = 0;
      for (const { label, cOut } of parts) {
        this.parts.set(label, { layer: joint, first, cOut });
        first += blocks(cOut);
      }
      const some = (name: string, { from, cOut }: Part, length: number) =>
        numbers(name).subarray(from * length, (from + cOut) * length);
      const matrices = parts.map(
        (part) => () => packMatrix(some(`${part.owner}.weight`, part, cIn), part.cOut, cIn, 1),
      );
      const biases = parts.map((part) => () => padBlocks(some(`${part.owner}.bias`, part, 1), 1, part.cOut));
      this.layers.set(joint, {
        weight: upload(`${joint}.weight`, first * blocks(cIn) * 16, dtype, ...matrices),
        bias: upload(`${joint}.bias`, first * 4, dtype, ...biases),
        cIn,
        cOut: first * 4,
        size: 1,
      });
    }
    const { count, fill } = frequency ?? {
      count: Math.floor(config.timeProjDim / 2),
      fill: () => frequencies(config.timeProjDim, config.freqShift).map((f) => f * config.timestepScale),
    };
    this.frequency = upload('frequency', count, 'f32', fill);
  }

  get bytes(): number {
    return this.#buffers.reduce((sum, b) => sum + b.size, 0);
  }

  /** Bytes of the largest buffer. */
  get largest(): number {
    return this.#buffers.reduce((largest, b) => Math.max(largest, b.size), 0);
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }
}

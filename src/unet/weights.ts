/** From named tensors to GPU buffers packed as the kernels read them. */

import type { Gpu } from '../gpu/device.ts';
import { DiffusionError, throwIfAborted } from '../errors.ts';
import type { ConvWeights } from '../ops/conv2d.ts';
import type { Table } from '../ops/embedding.ts';
import type { NormWeights } from '../ops/group_norm.ts';
import { packMatrix, padBlocks, toDType } from '../ops/packing.ts';
import { frequencies } from '../ops/timestep_embedding.ts';
import { blocks, bytesOf, type DType } from '../tensor.ts';
import { toFloat32, type WeightTensor } from '../weights/safetensors.ts';
import type { UNetConfig } from './config.ts';
import { checkParameters, expectedParameters } from './parameters.ts';

const STORAGE = 0x80;
const COPY_DST = 0x08;

/** Makes a buffer of so many scalars, which `fill` computes. */
type Make = (label: string, scalars: number, type: DType, fill: () => Float32Array<ArrayBuffer>) => GPUBuffer;

const bufferBytes = (scalars: number, type: DType): number => Math.ceil((scalars * bytesOf[type]) / 16) * 16;

/** The parameters of one network on the GPU: owns the buffers. */
export class UNetWeights {
  readonly dtype: DType;
  /** `conv_in`, `down_blocks.0.resnets.0.time_emb_proj` ...: every layer with a matrix; linear ones have size 1. */
  readonly layers = new Map<string, ConvWeights>();
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
  ): Promise<UNetWeights> {
    checkParameters(config, tensors, source);
    const numbers = (name: string): Float32Array<ArrayBuffer> => {
      const data = toFloat32(tensors.get(name)!);
      const bad = data.reduce((count, x) => count + Number(!Number.isFinite(x)), 0);
      if (bad)
        throw new DiffusionError(
          'bad-weights',
          `The tensor ${name} of ${source} holds ${bad} numbers that are not finite.`,
          'Download or convert the model again.',
        );
      return data;
    };
    const fills: (() => void)[] = [];
    const make: Make = (label, scalars, type, fill) => {
      const size = bufferBytes(scalars, type);
      const buffer = gpu.device.createBuffer({ label, size, usage: STORAGE | COPY_DST });
      fills.push(() => gpu.device.queue.writeBuffer(buffer, 0, toDType(fill(), type)));
      return buffer;
    };
    const shapes = [...tensors].map(([name, { shape }]) => [name, shape] as const);
    gpu.device.pushErrorScope('out-of-memory');
    const weights = new UNetWeights(config, shapes, dtype, numbers, make);
    try {
      if (await gpu.device.popErrorScope())
        throw new DiffusionError(
          'out-of-memory',
          `The GPU has no room for the weights of ${source}.`,
          'Close other tabs that use the GPU, or choose a smaller model.',
        );
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
    return new UNetWeights(config, [...expectedParameters(config)], dtype, none, make);
  }

  private constructor(
    config: UNetConfig,
    shapes: readonly (readonly [name: string, shape: readonly number[]])[],
    dtype: DType,
    numbers: (name: string) => Float32Array<ArrayBuffer>,
    make: Make,
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
      let read: { matrix: Float32Array; biases: Float32Array } | null = null;
      const layer = (label: string, from: number, cOut: number): void => {
        const both = () => (read ??= { matrix: numbers(name), biases: numbers(`${owner}.bias`) });
        const part = () => both().matrix.slice(from * cIn * size ** 2, (from + cOut) * cIn * size ** 2);
        const scalars = blocks(cOut) * blocks(cIn) * 16 * size ** 2;
        this.layers.set(label, {
          weight: upload(`${label}.weight`, scalars, dtype, () => packMatrix(part(), cOut, cIn, size)),
          bias: padded(`${label}.bias`, 1, cOut, () => both().biases.slice(from, from + cOut)),
          cIn,
          cOut,
          size,
        });
      };
      if (config.scaleShift && owner.endsWith('.time_emb_proj')) {
        layer(`${owner}.scale`, 0, rows / 2);
        layer(`${owner}.shift`, rows / 2, rows / 2);
      } else layer(owner, 0, rows);
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

/** From named tensors to GPU buffers packed as the kernels read them. */

import type { Gpu } from '../gpu/device.ts';
import { DiffusionError } from '../errors.ts';
import type { ConvWeights } from '../ops/conv2d.ts';
import type { Table } from '../ops/embedding.ts';
import type { NormWeights } from '../ops/group_norm.ts';
import { packMatrix, padBlocks, toDType } from '../ops/packing.ts';
import { frequencies } from '../ops/timestep_embedding.ts';
import type { DType } from '../tensor.ts';
import { toFloat32, type WeightTensor } from '../weights/safetensors.ts';
import type { UNetConfig } from './config.ts';
import { checkParameters } from './parameters.ts';

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

  /** @throws bad-weights, out-of-memory */
  static async upload(
    gpu: Gpu,
    config: UNetConfig,
    tensors: ReadonlyMap<string, WeightTensor>,
    dtype: DType,
    source: string,
  ): Promise<UNetWeights> {
    checkParameters(config, tensors, source);
    gpu.device.pushErrorScope('out-of-memory');
    let weights: UNetWeights | null = null;
    try {
      weights = new UNetWeights(gpu, config, tensors, dtype, source);
    } finally {
      const memory = await gpu.device.popErrorScope();
      if (memory) {
        weights?.destroy();
        // eslint-disable-next-line no-unsafe-finally -- an allocation failure explains whatever else went wrong
        throw new DiffusionError(
          'out-of-memory',
          `The GPU has no room for the weights of ${source}.`,
          'Close other tabs that use the GPU, or choose a smaller model.',
        );
      }
    }
    return weights;
  }

  private constructor(
    gpu: Gpu,
    config: UNetConfig,
    tensors: ReadonlyMap<string, WeightTensor>,
    dtype: DType,
    source: string,
  ) {
    this.dtype = dtype;
    const upload = (label: string, data: Float32Array<ArrayBuffer>, type: DType = dtype): GPUBuffer => {
      const bytes = toDType(data, type);
      const buffer = gpu.device.createBuffer({
        label,
        size: Math.ceil(bytes.byteLength / 16) * 16,
        usage: 0x80, // STORAGE
        mappedAtCreation: true,
      });
      new Uint8Array(buffer.getMappedRange()).set(
        new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength),
      );
      buffer.unmap();
      this.#buffers.push(buffer);
      return buffer;
    };
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
    let frequency: Float32Array<ArrayBuffer> | null = null;
    for (const [name, { shape }] of tensors) {
      if (!name.endsWith('.weight')) continue;
      const owner = name.slice(0, -'.weight'.length);
      if (owner === 'class_embedding' || (owner === 'time_proj' && shape.length === 2)) {
        const [rows, channels] = shape as [number, number];
        const table = { buffer: upload(name, padBlocks(numbers(name), rows, channels)), rows, channels };
        if (owner === 'time_proj') this.timeTable = table;
        else this.classTable = table;
        continue;
      }
      if (owner === 'time_proj') {
        // Fourier features: 2 pi w, rounded as PyTorch does.
        frequency = config.frequencyTable
          ? numbers(name)
          : numbers(name).map((w) => Math.fround(w * 2) * Math.fround(Math.PI));
        continue;
      }
      if (shape.length === 1) {
        const gamma = upload(name, padBlocks(numbers(name), 1, shape[0]!));
        const beta = upload(`${owner}.bias`, padBlocks(numbers(`${owner}.bias`), 1, shape[0]!));
        this.norms.set(owner, { gamma, beta, channels: shape[0]! });
        continue;
      }
      const [rows, cIn, size = 1] = shape as [number, number, number?];
      const [matrix, biases] = [numbers(name), numbers(`${owner}.bias`)];
      const layer = (label: string, from: number, cOut: number): void => {
        const part = matrix.slice(from * cIn * size ** 2, (from + cOut) * cIn * size ** 2);
        this.layers.set(label, {
          weight: upload(`${label}.weight`, packMatrix(part, cOut, cIn, size)),
          bias: upload(`${label}.bias`, padBlocks(biases.slice(from, from + cOut), 1, cOut)),
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
    this.frequency = upload(
      'frequency',
      frequency ?? frequencies(config.timeProjDim, config.freqShift).map((f) => f * config.timestepScale),
      'f32',
    );
  }

  get bytes(): number {
    return this.#buffers.reduce((sum, b) => sum + b.size, 0);
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }
}

/** The weights of a network: how they lie in buffers, as the kernels read them, and the buffers. */

import { DiffusionError, throwIfAborted } from '../../core/errors.ts';
import type { Gpu } from '../gpu/device.ts';
import type { BufferMap } from '../gpu/program.ts';
import { allocate } from '../gpu/scope.ts';
import { COPY_DST, STORAGE } from '../gpu/usage.ts';
import type { ConvWeights } from '../kernels/conv2d.ts';
import type { Table } from '../kernels/embedding.ts';
import type { NormWeights } from '../kernels/group_norm.ts';
import { frequencies } from '../kernels/timestep_embedding.ts';
import { packMatrix, padBlocks, toDType } from '../kernels/weight_layout.ts';
import { blocks, bufferHandle, bytesOf, type BufferHandle, type DType } from '../../core/tensor.ts';
import { toFloat32, type WeightTensor } from '../formats/safetensors.ts';
import type { FusedSlice, NetworkWeights, ParameterList } from './architecture.ts';
import { architectureOf } from './architectures.ts';
import type { UNetConfig } from './config.ts';
import { checkParameters } from './parameters.ts';

type Numbers = Float32Array<ArrayBuffer>;
/** The numbers of a parameter, by its name in the checkpoint. */
type Read = (name: string) => Numbers;

/** A buffer, and the parts that fill it, one after the other. */
interface WeightBuffer {
  readonly handle: BufferHandle;
  readonly dtype: DType;
  readonly parts: readonly ((read: Read) => Numbers)[];
}

/** Rows of a layer of the checkpoint that become part of a fused layer. */
interface FusedPart {
  readonly label: string;
  /** Name of the layer in the checkpoint. */
  readonly owner: string;
  /** First of its rows in the checkpoint's matrix. */
  readonly from: number;
  readonly cOut: number;
  readonly cIn: number;
}

/** Most scalars of a matrix that computes the conditioning; the next layers begin another. In f32 these are 64 MiB. */
const MAX_FUSED = 2 ** 24;

/** The buffers of a network's parameters, as handles, and how each is filled. Pure data, derived from the config. */
export class WeightLayout implements NetworkWeights {
  readonly dtype: DType;
  readonly layers = new Map<string, ConvWeights>();
  readonly slices = new Map<string, FusedSlice>();
  readonly norms = new Map<string, NormWeights>();
  classTable: Table | null = null;
  timeTable: Table | null = null;
  readonly conditioningLayers: string[] = [];
  readonly frequency: BufferHandle;
  readonly buffers: WeightBuffer[] = [];
  readonly #handles = new Set<BufferHandle>();

  /** @param maxFused default MAX_FUSED (tests bring a small one) */
  constructor(config: UNetConfig, dtype: DType, maxFused = MAX_FUSED) {
    this.dtype = dtype;
    const list = architectureOf(config).parameters(config);
    const fused = new Map<string, FusedPart[]>();
    for (const [name, shape] of list.shapes) {
      if (!name.endsWith('.weight')) continue;
      const owner = name.slice(0, -'.weight'.length);
      if (owner === 'class_embedding' || (owner === 'time_proj' && shape.length === 2)) {
        const [rows, channels] = shape as [number, number];
        const table = { buffer: this.#rows(name, rows, channels), rows, channels };
        if (owner === 'time_proj') this.timeTable = table;
        else this.classTable = table;
      } else if (owner === 'time_proj') continue;
      else if (shape.length === 1) this.#addNorm(owner, shape[0]!);
      else if (list.fusions.has(owner)) this.#collect(list, owner, shape, fused, maxFused);
      else this.#addMatrix(owner, shape);
    }
    for (const [layer, parts] of fused) this.#addFused(layer, parts);
    this.frequency = this.#addFrequency(config, list.shapes.get('time_proj.weight'));
  }

  /** Whether a handle is one of these weights. */
  has(handle: BufferHandle): boolean {
    return this.#handles.has(handle);
  }

  get bytes(): number {
    return this.buffers.reduce((sum, { handle }) => sum + handle.bytes, 0);
  }

  /** Bytes of the largest buffer. */
  get largest(): number {
    return this.buffers.reduce((largest, { handle }) => Math.max(largest, handle.bytes), 0);
  }

  #add(label: string, scalars: number, dtype: DType, ...parts: WeightBuffer['parts']): BufferHandle {
    const handle = bufferHandle(label, scalars * bytesOf[dtype], 'external');
    this.buffers.push({ handle, dtype, parts });
    this.#handles.add(handle);
    return handle;
  }

  /** Rows of so many channels, each padded to whole blocks. */
  #rows(name: string, rows: number, channels: number): BufferHandle {
    const scalars = rows * blocks(channels) * 4;
    return this.#add(name, scalars, this.dtype, (read) => padBlocks(read(name), rows, channels));
  }

  #addNorm(owner: string, channels: number): void {
    const gamma = this.#rows(`${owner}.weight`, 1, channels);
    const beta = this.#rows(`${owner}.bias`, 1, channels);
    this.norms.set(owner, { gamma, beta, channels });
  }

  #addMatrix(owner: string, shape: readonly number[]): void {
    const [rows, cIn, size = 1] = shape as [number, number, number?];
    const name = `${owner}.weight`;
    const weight = this.#add(name, blocks(rows) * blocks(cIn) * 16 * size ** 2, this.dtype, (read) =>
      packMatrix(read(name), rows, cIn, size),
    );
    const bias = this.#rows(`${owner}.bias`, 1, rows);
    this.layers.set(owner, { weight, bias, cIn, cOut: rows, size });
  }

  /** Adds the rows of a layer to those of its fused layer. */
  #collect(
    { fusions, conditioningLayer }: ParameterList,
    owner: string,
    [rows = 0, cIn = 0]: readonly number[],
    fused: Map<string, FusedPart[]>,
    maxFused: number,
  ): void {
    const { layer: base, parts } = fusions.get(owner)!;
    let layer = base;
    if (base === conditioningLayer) {
      const isFull = (name: string): boolean =>
        (fused.get(name) ?? []).reduce((sum, part) => sum + part.cOut * part.cIn, rows * cIn) > maxFused;
      for (let k = 1; fused.has(layer) && isFull(layer); k++) layer = `${base}.${k}`;
      if (!fused.has(layer)) this.conditioningLayers.push(layer);
    }
    const cOut = rows / parts.length;
    const added = parts.map((end, i): FusedPart => ({
      label: owner + end,
      owner,
      from: i * cOut,
      cOut,
      cIn,
    }));
    fused.set(layer, [...(fused.get(layer) ?? []), ...added]);
  }

  #addFused(layer: string, parts: readonly FusedPart[]): void {
    const { cIn } = parts[0]!;
    let firstBlock = 0;
    for (const { label, cOut } of parts) {
      this.slices.set(label, { layer, firstBlock, cOut });
      firstBlock += blocks(cOut);
    }
    const rowsOf = (read: Read, end: string, { owner, from, cOut }: FusedPart, length: number) =>
      read(`${owner}.${end}`).subarray(from * length, (from + cOut) * length);
    const matrices = parts.map(
      (part) => (read: Read) => packMatrix(rowsOf(read, 'weight', part, cIn), part.cOut, cIn, 1),
    );
    const biases = parts.map(
      (part) => (read: Read) => padBlocks(rowsOf(read, 'bias', part, 1), 1, part.cOut),
    );
    const weight = this.#add(`${layer}.weight`, firstBlock * blocks(cIn) * 16, this.dtype, ...matrices);
    const bias = this.#add(`${layer}.bias`, firstBlock * 4, this.dtype, ...biases);
    this.layers.set(layer, { weight, bias, cIn, cOut: firstBlock * 4, size: 1 });
  }

  /** @param stored shape of the frequencies in the checkpoint, if they are there (a shape of two is a table) */
  #addFrequency(config: UNetConfig, stored: readonly number[] | undefined): BufferHandle {
    const { frequencyTable, timeProjDim, freqShift, timestepScale } = config;
    if (stored?.length !== 1)
      return this.#add('frequency', Math.floor(timeProjDim / 2), 'f32', () =>
        frequencies(timeProjDim, freqShift).map((f) => f * timestepScale),
      );
    return this.#add('frequency', stored[0]!, 'f32', (read) => {
      const numbers = read('time_proj.weight');
      // Fourier features: 2 pi w, rounded as PyTorch does.
      return frequencyTable ? numbers : numbers.map((w) => Math.fround(w * 2) * Math.fround(Math.PI));
    });
  }
}

/** The weights of a network in GPU memory. Owns the buffers. */
export class GpuWeights {
  readonly layout: WeightLayout;
  readonly buffers: BufferMap;

  private constructor(layout: WeightLayout, buffers: BufferMap) {
    this.layout = layout;
    this.buffers = buffers;
  }

  /** @throws bad-weights, out-of-memory, aborted */
  static async upload(
    gpu: Gpu,
    config: UNetConfig,
    tensors: ReadonlyMap<string, WeightTensor>,
    layout: WeightLayout,
    source: string,
    signal?: AbortSignal,
  ): Promise<GpuWeights> {
    const { device } = gpu;
    checkParameters(config, tensors, source);
    const buffers = new Map<BufferHandle, GPUBuffer>();
    const weights = new GpuWeights(layout, buffers);
    const work = (): void => {
      for (const { handle } of layout.buffers) {
        const { label, bytes } = handle;
        buffers.set(handle, device.createBuffer({ label, size: bytes, usage: STORAGE | COPY_DST }));
      }
    };
    await allocate(device, `the weights of ${source}`, work, () => weights.destroy());
    try {
      let since = performance.now();
      for (const { handle, dtype, parts } of layout.buffers) {
        let offset = 0;
        for (const part of parts) {
          throwIfAborted(signal);
          const bytes = toDType(
            part((name) => readFinite(tensors, name, source)),
            dtype,
          );
          device.queue.writeBuffer(buffers.get(handle)!, offset, bytes);
          offset += bytes.byteLength;
          if (performance.now() - since < 30) continue;
          await new Promise((resolve) => setTimeout(resolve)); // a large model takes seconds: let the page live
          since = performance.now();
        }
      }
    } catch (error) {
      weights.destroy();
      throw error;
    }
    return weights;
  }

  get bytes(): number {
    return this.layout.bytes;
  }

  destroy(): void {
    for (const buffer of this.buffers.values()) buffer.destroy();
  }
}

/** @throws bad-weights */
function readFinite(tensors: ReadonlyMap<string, WeightTensor>, name: string, source: string): Numbers {
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
}

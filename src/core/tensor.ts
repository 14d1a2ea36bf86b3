/**
 * Shapes, tensors and the handles of their memory. No WebGPU calls here.
 *
 * Layouts. A tensor is (N, C, H, W), always four numbers; a vector per image is (N, C, 1, 1).
 * - `planar`: row-major NCHW, one scalar after the other. The state x_t, noise, inputs and outputs.
 * - `c4` (NC4HW4): channels in blocks of four, one vec4 per pixel. Element (n, c, h, w) is component c % 4 of the vec4 at
 *   ((n * ceil(C / 4) + floor(c / 4)) * H + h) * W + w. Components past C are zero. Everything inside the network.
 */

export type Shape = readonly [n: number, c: number, h: number, w: number];
export type DType = 'f32' | 'f16';
export type Layout = 'planar' | 'c4';

export const bytesOf: Readonly<Record<DType, number>> = { f32: 4, f16: 2 };

/**
 * Memory that dispatches bind: a handle, not a GPU object. A Program gives it a GPUBuffer (src/engine/gpu/program.ts).
 * - `transient`: from its first write to its last read; shares a buffer with others.
 * - `persistent`: a buffer of its own, as long as the Program.
 * - `external`: a buffer that the caller of `buildProgram` provides, such as a weight.
 */
export interface BufferHandle {
  readonly label: string;
  readonly bytes: number;
  readonly lifetime: 'transient' | 'persistent' | 'external';
  /** True for a uniform buffer, false for a storage buffer. */
  readonly uniform: boolean;
}

/** A tensor of a recording. Several tensors may view one buffer. */
export interface Tensor {
  readonly storage: BufferHandle;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly layout: Layout;
  readonly label: string;
  /** For some channels of a larger c4 tensor: the first block of four channels, and the blocks per image there. */
  readonly slice?: ChannelSlice;
}

export interface ChannelSlice {
  readonly firstBlock: number;
  readonly blocks: number;
}

/** A tensor in GPU memory. */
export interface GpuTensor {
  readonly buffer: GPUBuffer;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly layout: Layout;
  readonly label: string;
}

/** A range of the images of a batch. */
export interface BatchRange {
  readonly first: number;
  readonly count: number;
}

/** Number of blocks of four channels. */
export const blocks = (c: number): number => Math.ceil(c / 4);

/** Scalars that a tensor of this shape and layout occupies. */
export function scalars([n, c, h, w]: Shape, layout: Layout): number {
  return n * (layout === 'c4' ? blocks(c) * 4 : c) * h * w;
}

/** A multiple of 16, so that a binding of vec4 is always legal. */
export const bufferSize = (bytes: number): number => Math.ceil(bytes / 16) * 16;

/** Bytes of a tensor, rounded up by `bufferSize`. */
export function byteLength(shape: Shape, dtype: DType, layout: Layout): number {
  return bufferSize(scalars(shape, layout) * bytesOf[dtype]);
}

export function bufferHandle(
  label: string,
  bytes: number,
  lifetime: BufferHandle['lifetime'],
  uniform = false,
): BufferHandle {
  return { label, bytes: bufferSize(bytes), lifetime, uniform };
}

export function makeTensor(
  label: string,
  shape: Shape,
  dtype: DType,
  layout: Layout,
  lifetime: BufferHandle['lifetime'],
): Tensor {
  return {
    storage: bufferHandle(label, byteLength(shape, dtype, layout), lifetime),
    shape,
    dtype,
    layout,
    label,
  };
}

/** The handle of what a dispatch binds. */
export const handleOf = (binding: Tensor | BufferHandle): BufferHandle =>
  'storage' in binding ? binding.storage : binding;

export const sameShape = (a: Shape, b: Shape): boolean => a.every((d, i) => d === b[i]);

export const showShape = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

/** Some channels of a c4 tensor, from a whole block on; views the same memory. Not every kernel reads one (ops/launch.ts). */
export function sliceChannels(
  tensor: Tensor,
  firstBlock: number,
  channels: number,
  label = tensor.label,
): Tensor {
  const [n, c, h, w] = tensor.shape;
  if (tensor.layout !== 'c4' || tensor.slice || firstBlock + blocks(channels) > blocks(c))
    throw new Error(`${label}: no ${channels} channels from block ${firstBlock} on in ${tensor.label}`);
  return { ...tensor, shape: [n, channels, h, w], label, slice: { firstBlock, blocks: blocks(c) } };
}

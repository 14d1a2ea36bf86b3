/**
 * Shapes and tensors. No WebGPU calls here.
 *
 * Layouts. A tensor is (N, C, H, W), always four numbers; a vector per image is (N, C, 1, 1).
 * - `planar`: plain row-major NCHW, one scalar after the other. The state x_t, noise, what goes in and out.
 * - `c4`: channels in blocks of four, one vec4 a pixel: element (n, c, h, w) is lane c % 4 of the vec4 at
 *   ((n * ceil(C / 4) + floor(c / 4)) * H + h) * W + w. Lanes past C hold zero. Everything inside the network.
 */

export type Shape = readonly [n: number, c: number, h: number, w: number];
export type DType = 'f32' | 'f16';
export type Layout = 'planar' | 'c4';

export const bytesOf: Readonly<Record<DType, number>> = { f32: 4, f16: 2 };

/** The memory of one or more tensors. The tape gives it a GPUBuffer when it is built. */
export interface Storage {
  readonly bytes: number;
  buffer: GPUBuffer | null;
  /** Kept for the whole life of the recording (inputs, outputs, weights): never shared with another tensor. */
  pinned: boolean;
  readonly label: string;
}

export interface Tensor {
  readonly storage: Storage;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly layout: Layout;
  readonly label: string;
  /** Where it is some of the channels of a larger tensor: its first block of four, and the blocks of an image there. */
  readonly part?: { readonly first: number; readonly of: number };
}

/** Number of blocks of four channels. */
export const blocks = (c: number): number => Math.ceil(c / 4);

/** Scalars that a tensor of this shape and layout occupies. */
export function scalars([n, c, h, w]: Shape, layout: Layout): number {
  return n * (layout === 'c4' ? blocks(c) * 4 : c) * h * w;
}

/** Bytes, rounded up to 16 so that a storage binding of vec4 is always legal. */
export function byteLength(shape: Shape, dtype: DType, layout: Layout): number {
  return Math.ceil((scalars(shape, layout) * bytesOf[dtype]) / 16) * 16;
}

export const sameShape = (a: Shape, b: Shape): boolean => a.every((d, i) => d === b[i]);

export const showShape = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

/** Some channels of a c4 tensor, from a whole block on: the same memory. Kernels that can read it say so (ops/launch.ts). */
export function slice(tensor: Tensor, first: number, channels: number, label = tensor.label): Tensor {
  const [n, c, h, w] = tensor.shape;
  if (tensor.layout !== 'c4' || tensor.part || first + blocks(channels) > blocks(c))
    throw new Error(`${label}: no ${channels} channels from block ${first} on in ${tensor.label}`);
  return { ...tensor, shape: [n, channels, h, w], label, part: { first, of: blocks(c) } };
}

/**
 * Numbers of a model to pixels, and back. No canvas here.
 *
 * A model sees a black pixel as -1 and a white one as 1, in planes: (N, C, H, W) row-major.
 */

import type { Shape } from './tensor.ts';

/** Pixels of 8 bits, row-major, channels together: grey, RGB or RGBA. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3 | 4;
  readonly data: Uint8Array<ArrayBuffer>;
}

export interface GridOptions {
  /** Width and height of a pixel of the model; default 1. */
  readonly zoom?: number;
  /** White pixels between the images; default 2, or 0 for one image. */
  readonly gap?: number;
  /** A number as a share of 255, rounded and clamped afterwards; default `toByte`. */
  readonly byte?: (value: number) => number;
}

/** -1 to 1 as 0 to 255, not rounded. */
export const toByte = (value: number): number => (value / 2 + 0.5) * 255;

/**
 * A batch as one picture: a grid nearly square. x in [-1, 1] becomes round(255 (x / 2 + 0.5)), half to even, as in
 * diffusers. Grey for one or two channels; the first three of more are red, green and blue.
 * @param data (N, C, H, W) row-major
 */
export function grid(data: ArrayLike<number>, [n, c, h, w]: Shape, options: GridOptions = {}): Pixels {
  const { zoom = 1, gap = n > 1 ? 2 : 0, byte = toByte } = options;
  const columns = Math.ceil(Math.sqrt(n));
  const rows = Math.ceil(n / columns);
  const channels = c >= 3 ? 3 : 1;
  const width = columns * (w * zoom + gap) - gap;
  const height = rows * (h * zoom + gap) - gap;
  const pixels = new Uint8ClampedArray(width * height * channels).fill(255); // rounds half to even itself
  for (let i = 0; i < n; i++) {
    const top = Math.floor(i / columns) * (h * zoom + gap);
    const left = (i % columns) * (w * zoom + gap);
    for (let y = 0; y < h * zoom; y++)
      for (let x = 0; x < w * zoom; x++)
        for (let k = 0; k < channels; k++) {
          const value = data[((i * c + k) * h + Math.floor(y / zoom)) * w + Math.floor(x / zoom)]!;
          pixels[((top + y) * width + left + x) * channels + k] = byte(value);
        }
  }
  return { width, height, channels, data: new Uint8Array(pixels.buffer) };
}

/** The pixels of an ImageData: RGBA, opaque if the source has no alpha. */
export function toRgba({ width, height, channels, data }: Pixels): Uint8ClampedArray<ArrayBuffer> {
  const out = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let p = 0; p < width * height; p++)
    for (let k = 0; k < Math.max(channels, 3); k++)
      out[4 * p + k] = data[p * channels + (channels === 1 ? 0 : k)]!;
  return out;
}

/** Grey of a colour: luma of ITU-R BT.709. The range of the result is that of the arguments. */
export const grey = (r: number, g: number, b: number): number => 0.2126 * r + 0.7152 * g + 0.0722 * b;

/**
 * The pixels of an ImageData as 8-bit planes (C, H, W). Alpha is ignored: lay the picture over black before.
 * @param channels 1 (grey) or 3
 */
export function planesOf(rgba: ArrayLike<number>, channels: number): Uint8Array<ArrayBuffer> {
  const pixels = rgba.length / 4;
  const out = new Uint8ClampedArray(channels * pixels);
  for (let p = 0; p < pixels; p++) {
    const [r, g, b] = [rgba[4 * p]!, rgba[4 * p + 1]!, rgba[4 * p + 2]!];
    if (channels === 1) out[p] = grey(r, g, b);
    else [r, g, b].forEach((v, c) => (out[c * pixels + p] = v));
  }
  return new Uint8Array(out.buffer);
}

/** -1 ... 1 as 8 bits, in the same order: the inverse of `toSigned`. */
export const toBytes = (numbers: ArrayLike<number>): Uint8Array<ArrayBuffer> =>
  new Uint8Array(Uint8ClampedArray.from(numbers, toByte).buffer);

/** 0 ... 255 as a model sees them, -1 ... 1. Only these numbers fit into a recipe. */
export const toSigned = (bytes: ArrayLike<number>): Float32Array<ArrayBuffer> =>
  Float32Array.from(bytes, (v) => v / 127.5 - 1);

/** 0 ... 255 as shares, 0 ... 1: a mask. */
export const toShares = (bytes: ArrayLike<number>): Float32Array<ArrayBuffer> =>
  Float32Array.from(bytes, (v) => v / 255);

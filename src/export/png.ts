/** Pictures as PNG (ISO/IEC 15948): the exact pixels, with text in the metadata. */

import { encode } from 'fast-png';
import type { Shape } from '../tensor.ts';
import { chunksOf, join, textChunks } from './chunks.ts';

/** Pixels of 8 bits, row-major, channels together: grey, RGB or RGBA. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3 | 4;
  readonly data: Uint8Array<ArrayBuffer>;
}

/**
 * A batch as one picture: a grid nearly square, every pixel `zoom` pixels wide, `gap` white pixels between the pictures. A
 * number x in [-1, 1] becomes round(255 (x / 2 + 0.5)), half to even, as in diffusers. Grey for one or two channels, else
 * the first three are red, green and blue.
 * @param data (N, C, H, W) row-major
 */
export function grid(
  data: Float32Array,
  [n, c, h, w]: Shape,
  { zoom = 1, gap = n > 1 ? 2 : 0 }: { readonly zoom?: number; readonly gap?: number } = {},
): Picture {
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
          pixels[((top + y) * width + left + x) * channels + k] = (value / 2 + 0.5) * 255;
        }
  }
  return { width, height, channels, data: new Uint8Array(pixels.buffer) };
}

/** @param text keyword (1 to 79 Latin letters) -> text, written as iTXt in UTF-8 */
export function png(picture: Picture, text: Readonly<Record<string, string>> = {}): Uint8Array<ArrayBuffer> {
  const [header, ...rest] = chunksOf(Uint8Array.from(encode(picture)))!;
  return join([header!, ...textChunks(text), ...rest]);
}

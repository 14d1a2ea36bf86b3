/** Pixels onto a canvas, without a GPU. */

import { grid, toRgba, type Pixels } from '../core/pixels.ts';
import type { Shape } from '../core/tensor.ts';

/** Shows pixels one for one; the canvas takes their size. */
export function paintPixels(canvas: HTMLCanvasElement, pixels: Pixels): void {
  const { width, height } = pixels;
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  canvas.getContext('2d')!.putImageData(new ImageData(toRgba(pixels), width, height), 0, 0);
}

/** Shows 8-bit planes (C, H, W). */
export function paintPlanes(canvas: HTMLCanvasElement, bytes: ArrayLike<number>, shape: Shape): void {
  paintPixels(canvas, grid(bytes, shape, { byte: (value) => value }));
}

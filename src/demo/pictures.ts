/** Pictures from a visitor's disk, as a model sees them. */

import { DiffusionError } from '../errors.ts';
import type { Shape } from '../tensor.ts';

const MAX_BYTES = 50e6;

/**
 * A picture as 8-bit (C, H, W): turned as its EXIF says, the middle cut to the model's proportions, scaled smoothly,
 * transparency laid over black, for one channel grey (luma of Rec. 709).
 * @throws bad-input
 */
export async function readPicture(
  file: Blob,
  [, channels, height, width]: Shape,
): Promise<Uint8Array<ArrayBuffer>> {
  const refuse = (what: string, action: string, cause?: unknown): never => {
    throw new DiffusionError('bad-input', what, action, { cause });
  };
  if (channels !== 1 && channels !== 3)
    refuse(`The model has ${channels} channels, and a picture 1 or 3.`, 'Choose another model.');
  if (file.size === 0) refuse('The file is empty.', 'Choose a picture.');
  if (file.size > MAX_BYTES) refuse('The file has more than 50 MB.', 'Scale the picture down.');
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: 'from-image' });
  } catch (cause) {
    return refuse('This is no picture that the browser can read.', 'Choose a PNG, JPEG or WebP.', cause);
  }
  try {
    if (bitmap.width * bitmap.height === 0) refuse('The picture has no pixels.', 'Choose another.');
    const scale = Math.min(bitmap.width / width, bitmap.height / height);
    const [w, h] = [width * scale, height * scale];
    let source: CanvasImageSource = bitmap;
    let [x, y, sw, sh] = [(bitmap.width - w) / 2, (bitmap.height - h) / 2, w, h];
    // By halves: one big step would look at a few of the pixels only.
    while (sw > 2 * width) {
      const half = new OffscreenCanvas(Math.max(1, Math.round(sw / 2)), Math.max(1, Math.round(sh / 2)));
      half.getContext('2d')!.drawImage(source, x, y, sw, sh, 0, 0, half.width, half.height);
      source = half;
      [x, y, sw, sh] = [0, 0, half.width, half.height];
    }
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext('2d')!;
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = 'high';
    context.drawImage(source, x, y, sw, sh, 0, 0, width, height);
    return fromRgba(context.getImageData(0, 0, width, height).data, channels);
  } finally {
    bitmap.close();
  }
}

function fromRgba(rgba: Uint8ClampedArray, channels: number): Uint8Array<ArrayBuffer> {
  const pixels = rgba.length / 4;
  const out = new Uint8ClampedArray(channels * pixels);
  for (let p = 0; p < pixels; p++) {
    const [r, g, b] = [rgba[4 * p]!, rgba[4 * p + 1]!, rgba[4 * p + 2]!];
    if (channels === 1) out[p] = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    else [r, g, b].forEach((v, c) => (out[c * pixels + p] = v));
  }
  return new Uint8Array(out.buffer);
}

/** (C, H, W) of 8 bits onto a canvas of that size. */
export function showBytes(
  canvas: HTMLCanvasElement,
  bytes: ArrayLike<number>,
  [, channels, height, width]: Shape,
): void {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d')!;
  const image = context.createImageData(width, height);
  const pixels = width * height;
  for (let p = 0; p < pixels; p++) {
    for (let k = 0; k < 3; k++) image.data[4 * p + k] = bytes[(channels >= 3 ? k : 0) * pixels + p]!;
    image.data[4 * p + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

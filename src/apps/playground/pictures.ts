/** Pictures from a visitor's disk, as a model sees them. */

import { planesOf } from '../../core/pixels.ts';
import { DiffusionError } from '../../core/errors.ts';
import type { Shape } from '../../core/tensor.ts';

const MAX_BYTES = 50e6;

/**
 * A picture as 8-bit (C, H, W): turned as its EXIF says, the middle cut to the model's proportions, scaled smoothly,
 * transparency laid over black, for one channel grey.
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
    return planesOf(context.getImageData(0, 0, width, height).data, channels);
  } finally {
    bitmap.close();
  }
}

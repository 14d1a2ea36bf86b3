/** The simplest call: the pictures of a run as pixels. */

import { grid, toRgba } from '../core/pixels.ts';
import { readTensor } from '../engine/gpu/transfer.ts';
import type { Model } from '../engine/model.ts';
import type { ModelAccess } from './model_access.ts';
import { sample } from './sample.ts';
import type { SampleOptions } from './sample_options.ts';

/**
 * Draws images to the end and reads their pixels back.
 *
 *     const [image] = await draw(model, { seed: 7, steps: 50 });
 *     canvas.getContext('2d').putImageData(image, 0, 0);
 *
 * @returns an image each, opaque RGBA of 8 bits; outside of browsers a plain object with the fields of ImageData
 * @throws what `sample` throws
 */
export async function draw(on: Model | ModelAccess, options: SampleOptions = {}): Promise<ImageData[]> {
  for await (const { index, steps, xT } of sample(on, options)) {
    if (index < steps) continue;
    const [count, channels, height, width] = xT.shape;
    const model = 'turn' in on ? on.model : on;
    const numbers = await readTensor(model.gpu, xT);
    const size = numbers.length / count;
    return Array.from({ length: count }, (_, n) => {
      const one = numbers.subarray(n * size, (n + 1) * size);
      return imageData(toRgba(grid(one, [1, channels, height, width])), width, height);
    });
  }
  return []; // never: the last state is always yielded
}

function imageData(data: Uint8ClampedArray<ArrayBuffer>, width: number, height: number): ImageData {
  if ('ImageData' in globalThis) return new ImageData(data, width, height);
  return { data, width, height, colorSpace: 'srgb' } as ImageData;
}

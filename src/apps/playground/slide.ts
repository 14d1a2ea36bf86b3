/** The pictures between two seeds, one under the slider at a time. */

import { grid, type Pixels } from '../../core/pixels.ts';
import type { Shape } from '../../core/tensor.ts';
import { paintPixels } from '../../ui/canvas.ts';
import { byId, input } from '../../ui/dom.ts';

export class Slide {
  #pictures: readonly Pixels[] = [];

  constructor() {
    input('slide-at').addEventListener('input', () => this.#paint());
  }

  /** @param numbers (count, C, H, W) row-major */
  show(numbers: Float32Array, [count, ...one]: Shape): void {
    const size = numbers.length / count;
    this.#pictures = Array.from({ length: count }, (_, n) =>
      grid(numbers.subarray(n * size, (n + 1) * size), [1, ...one]),
    );
    byId('slider-part').hidden = false;
    input('slide-at').max = String(count - 1);
    this.#paint();
  }

  #paint(): void {
    const picture = this.#pictures[Number(input('slide-at').value)];
    if (picture) paintPixels(byId<HTMLCanvasElement>('slide'), picture);
  }
}

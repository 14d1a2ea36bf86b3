import type { Shape } from '../../src/core/tensor.ts';
import type { Activation } from '../../src/engine/kernels/activation.ts';
import { make, type Array4 } from '../helpers/array.ts';
import { activationOf } from './activation.ts';

export interface ConvReference {
  readonly stride?: number;
  readonly padding?: { top: number; left: number; bottom: number; right: number };
  /** (N, cOut, 1, 1) */
  readonly timeBias?: Array4;
  readonly residual?: Array4;
  readonly scale?: number;
  readonly activation?: Activation;
}

/** activation(scale * (conv(x, weight) + bias + timeBias + residual)), naive, float64. weight (cOut, cIn, K, K). */
export function conv2d(x: Array4, weight: Array4, bias: ArrayLike<number>, o: ConvReference = {}): Array4 {
  const [n, cIn, hIn, wIn] = x.shape;
  const [cOut, , size] = weight.shape;
  const { stride = 1, scale = 1 } = o;
  const p = (size - 1) / 2;
  const { top, left, bottom, right } = o.padding ?? { top: p, left: p, bottom: p, right: p };
  const h = Math.floor((hIn + top + bottom - size) / stride) + 1;
  const w = Math.floor((wIn + left + right - size) / stride) + 1;
  const shape: Shape = [n, cOut, h, w];
  return make(shape, (index) => {
    const [i, co] = [Math.floor(index / (cOut * h * w)), Math.floor(index / (h * w)) % cOut];
    const [y, xx] = [Math.floor(index / w) % h, index % w];
    let sum = bias[co]!;
    for (let ci = 0; ci < cIn; ci++)
      for (let ky = 0; ky < size; ky++)
        for (let kx = 0; kx < size; kx++) {
          const [sy, sx] = [y * stride + ky - top, xx * stride + kx - left];
          if (sy >= 0 && sy < hIn && sx >= 0 && sx < wIn)
            sum +=
              x.data[((i * cIn + ci) * hIn + sy) * wIn + sx]! *
              weight.data[((co * cIn + ci) * size + ky) * size + kx]!;
        }
    if (o.timeBias) sum += o.timeBias.data[i * cOut + co]!;
    if (o.residual) sum += o.residual.data[index]!;
    return o.activation ? activationOf[o.activation](scale * sum) : scale * sum;
  });
}

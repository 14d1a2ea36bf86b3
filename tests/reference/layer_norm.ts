import { make, type Array4 } from '../helpers/array.ts';

/** Over the channels of each pixel, biased variance. */
export function layerNorm(x: Array4, gamma: ArrayLike<number>, beta: ArrayLike<number>, eps: number): Array4 {
  const [, c, h, w] = x.shape;
  return make(x.shape, (index) => {
    const [n, channel, p] = [
      Math.floor(index / (c * h * w)),
      Math.floor(index / (h * w)) % c,
      index % (h * w),
    ];
    const own = Array.from({ length: c }, (_, k) => x.data[(n * c + k) * h * w + p]!);
    const mean = own.reduce((a, b) => a + b, 0) / c;
    const variance = own.reduce((a, b) => a + (b - mean) ** 2, 0) / c;
    return ((x.data[index]! - mean) / Math.sqrt(variance + eps)) * gamma[channel]! + beta[channel]!;
  });
}

import { make, type Array4 } from '../helpers/array.ts';

export function concat(a: Array4, b: Array4): Array4 {
  const [n, ca, h, w] = a.shape;
  const cb = b.shape[1];
  return make([n, ca + cb, h, w], (index) => {
    const [p, c, i] = [
      index % (h * w),
      Math.floor(index / (h * w)) % (ca + cb),
      Math.floor(index / (h * w * (ca + cb))),
    ];
    return c < ca ? a.data[(i * ca + c) * h * w + p]! : b.data[(i * cb + c - ca) * h * w + p]!;
  });
}

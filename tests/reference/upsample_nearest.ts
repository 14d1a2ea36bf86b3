import { make, type Array4 } from '../helpers/array.ts';

export function upsampleNearest(x: Array4): Array4 {
  const [n, c, h, w] = x.shape;
  return make([n, c, 2 * h, 2 * w], (index) => {
    const [column, row, plane] = [
      index % (2 * w),
      Math.floor(index / (2 * w)) % (2 * h),
      Math.floor(index / (4 * h * w)),
    ];
    return x.data[plane * h * w + (row >> 1) * w + (column >> 1)]!;
  });
}

import { make, type Array4 } from '../helpers/array.ts';

export function downsampleAverage(x: Array4): Array4 {
  const [n, c, h, w] = x.shape;
  return make([n, c, h / 2, w / 2], (index) => {
    const [column, row, plane] = [
      index % (w / 2),
      Math.floor(index / (w / 2)) % (h / 2),
      Math.floor(index / ((h / 2) * (w / 2))),
    ];
    const at = plane * h * w + 2 * row * w + 2 * column;
    return (x.data[at]! + x.data[at + 1]! + x.data[at + w]! + x.data[at + w + 1]!) / 4;
  });
}

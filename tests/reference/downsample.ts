import { make, type Array4 } from '../helpers/array.ts';

export function downsample(x: Array4, max: boolean): Array4 {
  const [n, c, h, w] = x.shape;
  return make([n, c, h / 2, w / 2], (index) => {
    const [column, row, plane] = [
      index % (w / 2),
      Math.floor(index / (w / 2)) % (h / 2),
      Math.floor(index / ((h / 2) * (w / 2))),
    ];
    const at = plane * h * w + 2 * row * w + 2 * column;
    const pixels = [at, at + 1, at + w, at + w + 1].map((k) => x.data[k]!);
    return max ? Math.max(...pixels) : pixels.reduce((sum, v) => sum + v, 0) / 4;
  });
}

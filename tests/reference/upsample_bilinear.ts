import { make, type Array4 } from '../helpers/array.ts';

/** torch.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True) */
export function upsampleBilinear(x: Array4): Array4 {
  const [n, c, h, w] = x.shape;
  return make([n, c, 2 * h, 2 * w], (index) => {
    const plane = Math.floor(index / (4 * h * w)) * h * w;
    const y = ((Math.floor(index / (2 * w)) % (2 * h)) * (h - 1)) / (2 * h - 1);
    const xx = ((index % (2 * w)) * (w - 1)) / (2 * w - 1);
    let sum = 0;
    for (let i = 0; i < h; i++)
      for (let j = 0; j < w; j++) {
        const weight = Math.max(0, 1 - Math.abs(y - i)) * Math.max(0, 1 - Math.abs(xx - j));
        sum += weight * x.data[plane + i * w + j]!;
      }
    return sum;
  });
}

import { make, type Array4 } from '../helpers/array.ts';
import type { Activation } from '../../src/engine/kernels/activation.ts';
import { activationOf } from './activation.ts';

export function groupNorm(
  x: Array4,
  gamma: ArrayLike<number>,
  beta: ArrayLike<number>,
  o: {
    groups: number;
    eps: number;
    activation?: Activation | null;
    scale?: Array4;
    shift?: Array4;
    residual?: Array4;
  },
): Array4 {
  const [n, c, h, w] = x.shape;
  const size = (c / o.groups) * h * w;
  const moments = Array.from({ length: n * o.groups }, (_, k) => {
    const part = x.data.subarray(k * size, (k + 1) * size);
    const mean = part.reduce((a, b) => a + b, 0) / size;
    return [mean, part.reduce((a, b) => a + (b - mean) ** 2, 0) / size] as const;
  });
  return make(x.shape, (index) => {
    const channel = Math.floor(index / (h * w)) % c;
    const [mean, variance] = moments[Math.floor(index / size)]!;
    let y = ((x.data[index]! - mean) / Math.sqrt(variance + o.eps)) * gamma[channel]! + beta[channel]!;
    const own = Math.floor(index / (c * h * w)) * c + channel;
    if (o.scale) y *= 1 + o.scale.data[own]!;
    if (o.shift) y += o.shift.data[own]!;
    if (o.residual) y += o.residual.data[index]!;
    return o.activation ? activationOf[o.activation](y) : y;
  });
}

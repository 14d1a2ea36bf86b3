import { make, type Array4 } from '../helpers/array.ts';
import type { Activation } from '../../src/engine/kernels/activation.ts';
import { activationOf } from './activation.ts';

/** weight * f(x) + bias + addend; x (N, cIn, 1, 1), weight (cOut, cIn, 1, 1), f = activation or identity. */
export function linear(
  x: Array4,
  weight: Array4,
  bias: ArrayLike<number>,
  activation: Activation | null = null,
  addend?: Array4,
): Array4 {
  const [n, cIn] = x.shape;
  const cOut = weight.shape[0];
  return make([n, cOut, 1, 1], (index) => {
    const [i, o] = [Math.floor(index / cOut), index % cOut];
    let sum = bias[o]! + (addend?.data[index] ?? 0);
    for (let k = 0; k < cIn; k++) {
      const v = x.data[i * cIn + k]!;
      sum += weight.data[o * cIn + k]! * (activation ? activationOf[activation](v) : v);
    }
    return sum;
  });
}

import { make, type Array4 } from '../helpers/array.ts';
import { siluOf } from './silu.ts';

/** weight * f(x) + bias; x (N, cIn, 1, 1), weight (cOut, cIn, 1, 1), f = SiLU or identity. */
export function linear(x: Array4, weight: Array4, bias: ArrayLike<number>, silu = false): Array4 {
  const [n, cIn] = x.shape;
  const cOut = weight.shape[0];
  return make([n, cOut, 1, 1], (index) => {
    const [i, o] = [Math.floor(index / cOut), index % cOut];
    let sum = bias[o]!;
    for (let k = 0; k < cIn; k++) {
      const v = x.data[i * cIn + k]!;
      sum += weight.data[o * cIn + k]! * (silu ? siluOf(v) : v);
    }
    return sum;
  });
}

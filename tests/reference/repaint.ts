import type { Repaint } from '../../src/engine/kernels/repaint.ts';
import { make, type Array4 } from '../helpers/array.ts';

/** mask (c x + s z) + (1 - mask) (a known + b z) */
export function repaint(x: Array4, known: Array4, mask: Array4, z: Array4, r: Repaint): Array4 {
  return make(x.shape, (i) => {
    const painted = r.c * x.data[i]! + r.s * z.data[i]!;
    const kept = r.a * known.data[i]! + r.b * z.data[i]!;
    const w = mask.data[i]!;
    return w * painted + (1 - w) * kept;
  });
}

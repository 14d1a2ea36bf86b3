import code from '../../shaders/concat.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type Tensor } from '../tensor.ts';
import { expect, WORKGROUP } from './launch.ts';

/** Joins a (N, CA, H, W) and b (N, CB, H, W) along the channels. shaders/concat.wgsl */
export function concat(tape: Tape, label: string, a: Tensor, b: Tensor): Tensor {
  const [n, ca, h, w] = a.shape;
  const cb = b.shape[1];
  expect(label, b, [n, cb, h, w]);
  const out = tape.temp(label, [n, ca + cb, h, w], a.dtype);
  tape.record({
    label,
    shader: { name: 'concat', code },
    dtype: a.dtype,
    defines: { ALIGNED: ca % 4 === 0 },
    constants: {
      N: n,
      CA: ca,
      CB: cb,
      PIXELS: h * w,
      A_BLOCKS: blocks(ca),
      B_BLOCKS: blocks(cb),
      BLOCKS: blocks(ca + cb),
    },
    bindings: [out, a, b],
    threads: n * blocks(ca + cb) * h * w,
    workgroupSize: WORKGROUP,
  });
  return out;
}

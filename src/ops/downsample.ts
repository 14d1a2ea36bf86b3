import code from '../../shaders/downsample.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type Tensor } from '../tensor.ts';
import { WORKGROUP } from './launch.ts';

/** 2 x 2 pixels become their mean; even sides. (N, C, 2H, 2W) -> (N, C, H, W). shaders/downsample.wgsl */
export const downsampleAverage = (tape: Tape, label: string, x: Tensor): Tensor =>
  halve(tape, label, x, false);

/** 2 x 2 pixels become the largest of them, likewise. */
export const downsampleMax = (tape: Tape, label: string, x: Tensor): Tensor => halve(tape, label, x, true);

function halve(tape: Tape, label: string, x: Tensor, max: boolean): Tensor {
  const [n, c, h, w] = x.shape;
  if (h % 2 || w % 2) throw new Error(`${label}: ${x.label} of ${h} x ${w} cannot be halved`);
  const out = tape.temp(label, [n, c, h / 2, w / 2], x.dtype);
  tape.record({
    label,
    shader: { name: 'downsample', code },
    dtype: x.dtype,
    defines: { MAX: max },
    constants: { PLANES: n * blocks(c), W_IN: w, W_OUT: w / 2, PIXELS: (h / 2) * (w / 2) },
    bindings: [out, x],
    threads: n * blocks(c) * (h / 2) * (w / 2),
    workgroupSize: WORKGROUP,
  });
  return out;
}

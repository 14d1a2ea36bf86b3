import code from '../../shaders/downsample_average.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type Tensor } from '../tensor.ts';
import { WORKGROUP } from './launch.ts';

/** 2 x 2 pixels become their mean; even sides. (N, C, 2H, 2W) -> (N, C, H, W). shaders/downsample_average.wgsl */
export function downsampleAverage(tape: Tape, label: string, x: Tensor): Tensor {
  const [n, c, h, w] = x.shape;
  if (h % 2 || w % 2) throw new Error(`${label}: ${x.label} of ${h} x ${w} cannot be halved`);
  const out = tape.temp(label, [n, c, h / 2, w / 2], x.dtype);
  tape.record({
    label,
    shader: { name: 'downsample_average', code },
    dtype: x.dtype,
    constants: { PLANES: n * blocks(c), W_IN: w, W_OUT: w / 2, PIXELS: (h / 2) * (w / 2) },
    bindings: [out, x],
    threads: n * blocks(c) * (h / 2) * (w / 2),
    workgroupSize: WORKGROUP,
  });
  return out;
}

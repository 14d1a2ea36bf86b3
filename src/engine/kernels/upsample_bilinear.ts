import code from '../../../shaders/upsample_bilinear.wgsl?raw';
import type { GraphRecorder } from '../gpu/recorder.ts';
import { blocks, type Tensor } from '../../core/tensor.ts';
import { WORKGROUP } from './launch.ts';

/** Twice the size, bilinear, corners aligned. (N, C, H, W) -> (N, C, 2H, 2W). shaders/upsample_bilinear.wgsl */
export function upsampleBilinear(recorder: GraphRecorder, label: string, x: Tensor): Tensor {
  const [n, c, h, w] = x.shape;
  const out = recorder.transient(label, [n, c, 2 * h, 2 * w], x.dtype);
  recorder.record({
    label,
    shader: { name: 'upsample_bilinear', code },
    dtype: x.dtype,
    uniforms: {
      planes: n * blocks(c),
      h_in: h,
      w_in: w,
      w_out: 2 * w,
      pixels: 4 * h * w,
      y_step: (h - 1) / (2 * h - 1),
      x_step: (w - 1) / (2 * w - 1),
    },
    bindings: { output: out, input: x },
    invocations: n * blocks(c) * 4 * h * w,
    workgroupSize: WORKGROUP,
  });
  return out;
}

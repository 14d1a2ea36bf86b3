import code from '../../../shaders/upsample_nearest.wgsl?raw';
import type { GraphRecorder } from '../gpu/recorder.ts';
import { blocks, type Tensor } from '../../core/tensor.ts';
import { WORKGROUP } from './launch.ts';

/** Every pixel becomes 2 x 2. (N, C, H, W) -> (N, C, 2H, 2W). shaders/upsample_nearest.wgsl */
export function upsampleNearest(recorder: GraphRecorder, label: string, x: Tensor): Tensor {
  const [n, c, h, w] = x.shape;
  const out = recorder.transient(label, [n, c, 2 * h, 2 * w], x.dtype);
  recorder.record({
    label,
    shader: { name: 'upsample_nearest', code },
    dtype: x.dtype,
    uniforms: { planes: n * blocks(c), h_in: h, w_in: w, w_out: 2 * w, pixels: 4 * h * w },
    bindings: { output: out, input: x },
    invocations: n * blocks(c) * 4 * h * w,
    workgroupSize: WORKGROUP,
  });
  return out;
}

import code from '../../../shaders/concat.wgsl?raw';
import type { GraphRecorder } from '../gpu/recorder.ts';
import { blocks, type Tensor } from '../../core/tensor.ts';
import { assertShape, WORKGROUP } from './launch.ts';

/** Joins a (N, CA, H, W) and b (N, CB, H, W) along the channels. shaders/concat.wgsl */
export function concat(recorder: GraphRecorder, label: string, a: Tensor, b: Tensor): Tensor {
  const [n, ca, h, w] = a.shape;
  const cb = b.shape[1];
  assertShape(label, b, [n, cb, h, w]);
  const out = recorder.transient(label, [n, ca + cb, h, w], a.dtype);
  recorder.record({
    label,
    shader: { name: 'concat', code },
    dtype: a.dtype,
    defines: { ALIGNED: ca % 4 === 0 },
    uniforms: {
      n,
      c_a: ca,
      c_b: cb,
      pixels: h * w,
      a_cblocks: blocks(ca),
      b_cblocks: blocks(cb),
      cblocks: blocks(ca + cb),
    },
    bindings: { output: out, a, b },
    invocations: n * blocks(ca + cb) * h * w,
    workgroupSize: WORKGROUP,
  });
  return out;
}

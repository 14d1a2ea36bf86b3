import code from '../../../shaders/downsample.wgsl?raw';
import type { GraphRecorder } from '../gpu/recorder.ts';
import { blocks, type Tensor } from '../../core/tensor.ts';
import { WORKGROUP } from './launch.ts';

/** 2 x 2 pixels become their mean; even sides. (N, C, 2H, 2W) -> (N, C, H, W). shaders/downsample.wgsl */
export const downsampleAverage = (recorder: GraphRecorder, label: string, x: Tensor): Tensor =>
  halve(recorder, label, x, false);

/** 2 x 2 pixels become the largest of them, likewise. */
export const downsampleMax = (recorder: GraphRecorder, label: string, x: Tensor): Tensor =>
  halve(recorder, label, x, true);

function halve(recorder: GraphRecorder, label: string, x: Tensor, max: boolean): Tensor {
  const [n, c, h, w] = x.shape;
  if (h % 2 || w % 2) throw new Error(`${label}: ${x.label} of ${h} x ${w} cannot be halved`);
  const out = recorder.transient(label, [n, c, h / 2, w / 2], x.dtype);
  recorder.record({
    label,
    shader: { name: 'downsample', code },
    dtype: x.dtype,
    defines: { MAX: max },
    uniforms: { planes: n * blocks(c), w_in: w, w_out: w / 2, pixels: (h / 2) * (w / 2) },
    bindings: { output: out, input: x },
    invocations: n * blocks(c) * (h / 2) * (w / 2),
    workgroupSize: WORKGROUP,
  });
  return out;
}

import code from '../../../shaders/layer_norm.wgsl?raw';
import type { GraphRecorder } from '../gpu/recorder.ts';
import { blocks, type Tensor } from '../../core/tensor.ts';
import type { NormWeights } from './group_norm.ts';
import { assertShape, WORKGROUP } from './launch.ts';

/** Layer normalisation over the channels of each pixel. (N, C, H, W) -> the same. shaders/layer_norm.wgsl */
export function layerNorm(
  recorder: GraphRecorder,
  label: string,
  x: Tensor,
  w: NormWeights,
  eps = 1e-5,
): Tensor {
  const [n, c, h, width] = x.shape;
  assertShape(label, x, [n, w.channels, h, width]);
  const out = recorder.transient(label, x.shape, x.dtype);
  recorder.record({
    label,
    shader: { name: 'layer_norm', code },
    dtype: x.dtype,
    uniforms: { n, c, cblocks: blocks(c), pixels: h * width, eps: eps },
    bindings: { output: out, input: x, gamma: w.gamma, beta: w.beta },
    invocations: n * h * width,
    workgroupSize: WORKGROUP,
  });
  return out;
}

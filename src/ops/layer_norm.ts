import code from '../../shaders/layer_norm.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type Tensor } from '../tensor.ts';
import type { NormWeights } from './group_norm.ts';
import { expect, WORKGROUP } from './launch.ts';

/** Layer normalisation over the channels of each pixel. (N, C, H, W) -> the same. shaders/layer_norm.wgsl */
export function layerNorm(tape: Tape, label: string, x: Tensor, w: NormWeights, eps = 1e-5): Tensor {
  const [n, c, h, width] = x.shape;
  expect(label, x, [n, w.channels, h, width]);
  const out = tape.temp(label, x.shape, x.dtype);
  tape.record({
    label,
    shader: { name: 'layer_norm', code },
    dtype: x.dtype,
    constants: { N: n, C: c, BLOCKS: blocks(c), PIXELS: h * width, EPS: eps },
    bindings: [out, x, w.gamma, w.beta],
    threads: n * h * width,
    workgroupSize: WORKGROUP,
  });
  return out;
}

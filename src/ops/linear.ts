import activation from '../../shaders/lib/activation.wgsl?raw';
import code from '../../shaders/linear.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type Tensor } from '../tensor.ts';
import { expect, WORKGROUP } from './launch.ts';

/** The weights of a linear layer, packed by `packMatrix`. */
export interface LinearWeights {
  readonly weight: GPUBuffer;
  readonly bias: GPUBuffer;
  readonly cIn: number;
  readonly cOut: number;
}

/** out = weight * f(x) + bias, f = SiLU with `silu`, else identity. x (N, cIn, 1, 1) -> (N, cOut, 1, 1). shaders/linear.wgsl */
export function linear(
  tape: Tape,
  label: string,
  x: Tensor,
  w: LinearWeights,
  { silu = false } = {},
): Tensor {
  const [n] = x.shape;
  expect(label, x, [n, w.cIn, 1, 1]);
  const out = tape.temp(label, [n, w.cOut, 1, 1], x.dtype);
  tape.record({
    label,
    shader: { name: 'linear', code: activation + code },
    dtype: x.dtype,
    defines: { SILU: silu },
    constants: { N: n, I_BLOCKS: blocks(w.cIn), O_BLOCKS: blocks(w.cOut) },
    bindings: [out, x, w.weight, w.bias],
    threads: n * blocks(w.cOut),
    workgroupSize: WORKGROUP,
    flops: 2 * n * w.cIn * w.cOut,
  });
  return out;
}

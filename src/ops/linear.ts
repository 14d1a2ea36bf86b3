import code from '../../shaders/linear.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type Tensor } from '../tensor.ts';
import { activationCode, activationDefines, type Activation } from './activation.ts';
import { expect, WORKGROUP } from './launch.ts';

/** The weights of a linear layer, packed by `packMatrix`. */
export interface LinearWeights {
  readonly weight: GPUBuffer;
  readonly bias: GPUBuffer;
  readonly cIn: number;
  readonly cOut: number;
}

export interface LinearOptions {
  /** Of x. */
  readonly activation?: Activation | null;
  /** (N, cOut, 1, 1), added to the result. */
  readonly addend?: Tensor | null;
}

/** out = weight * f(x) + bias + addend, f = activation or identity. x (N, cIn, 1, 1) -> (N, cOut, 1, 1). shaders/linear.wgsl */
export function linear(
  tape: Tape,
  label: string,
  x: Tensor,
  w: LinearWeights,
  { activation = null, addend = null }: LinearOptions = {},
): Tensor {
  const [n] = x.shape;
  expect(label, x, [n, w.cIn, 1, 1]);
  if (addend) expect(label, addend, [n, w.cOut, 1, 1]);
  const out = tape.temp(label, [n, w.cOut, 1, 1], x.dtype);
  tape.record({
    label,
    shader: { name: 'linear', code: activationCode + code },
    dtype: x.dtype,
    defines: { SUM: addend !== null, ...activationDefines(activation) },
    constants: { N: n, I_BLOCKS: blocks(w.cIn), O_BLOCKS: blocks(w.cOut) },
    bindings: [out, x, w.weight, w.bias, addend],
    threads: n * blocks(w.cOut),
    workgroupSize: WORKGROUP,
    flops: 2 * n * w.cIn * w.cOut,
  });
  return out;
}

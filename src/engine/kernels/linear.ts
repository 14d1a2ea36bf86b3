import code from '../../../shaders/linear.wgsl?raw';
import type { GraphRecorder } from '../gpu/recorder.ts';
import { blocks, type BufferHandle, type Tensor } from '../../core/tensor.ts';
import { activationDefines, type Activation } from './activation.ts';
import { assertShape, WORKGROUP } from './launch.ts';

/** The weights of a linear layer, packed by `packMatrix`. */
export interface LinearWeights {
  readonly weight: BufferHandle;
  readonly bias: BufferHandle;
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
  recorder: GraphRecorder,
  label: string,
  x: Tensor,
  w: LinearWeights,
  { activation = null, addend = null }: LinearOptions = {},
): Tensor {
  const [n] = x.shape;
  assertShape(label, x, [n, w.cIn, 1, 1]);
  if (addend) assertShape(label, addend, [n, w.cOut, 1, 1]);
  const out = recorder.transient(label, [n, w.cOut, 1, 1], x.dtype);
  recorder.record({
    label,
    shader: { name: 'linear', code },
    dtype: x.dtype,
    defines: { SUM: addend !== null, ...activationDefines(activation) },
    uniforms: { n, in_cblocks: blocks(w.cIn), out_cblocks: blocks(w.cOut) },
    bindings: { output: out, input: x, weight: w.weight, bias: w.bias, addend },
    invocations: n * blocks(w.cOut),
    workgroupSize: WORKGROUP,
    flops: 2 * n * w.cIn * w.cOut,
  });
  return out;
}

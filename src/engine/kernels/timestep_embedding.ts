import code from '../../../shaders/timestep_embedding.wgsl?raw';
import type { GraphRecorder } from '../gpu/recorder.ts';
import { blocks, type BatchRange, type BufferHandle, type DType, type Tensor } from '../../core/tensor.ts';
import { assertShape, WORKGROUP } from './launch.ts';

const MAX_PERIOD = 10000;

/**
 * frequency[i] = MAX_PERIOD^(-i / (dim / 2 - shift)), rounded where PyTorch's f32 code rounds: at t near 1000 one
 * unit in the last place of a frequency moves its sine by 6e-5.
 */
export function frequencies(dim: number, shift: number): Float32Array<ArrayBuffer> {
  const half = Math.floor(dim / 2);
  return Float32Array.from({ length: half }, (_, i) =>
    Math.exp(Math.fround(Math.fround(-Math.log(MAX_PERIOD) * i) / (half - shift))),
  );
}

/**
 * Sinusoidal embedding of the timestep. t planar (N, 1, 1, 1) f32 -> (N, dim, 1, 1), or a range of it.
 * @param frequency buffer of `frequencies(dim, shift)`, or of 2 pi times the weights of Fourier features with `log`
 */
export function timestepEmbedding(
  recorder: GraphRecorder,
  label: string,
  t: Tensor,
  frequency: BufferHandle,
  options: { dim: number; cosFirst: boolean; dtype: DType; log?: boolean; range?: BatchRange | undefined },
): Tensor {
  const { dim, cosFirst, dtype, log = false } = options;
  const { first, count: n } = options.range ?? { first: 0, count: t.shape[0] };
  assertShape(label, t, [t.shape[0], 1, 1, 1], { layout: 'planar' });
  const out = recorder.transient(label, [n, dim, 1, 1], dtype);
  recorder.record({
    label,
    shader: { name: 'timestep_embedding', code },
    dtype,
    defines: { LOG: log },
    uniforms: {
      n,
      dim,
      cos_first: Number(cosFirst),
      half: Math.floor(dim / 2),
      cblocks: blocks(dim),
      first,
    },
    bindings: { output: out, t, frequency },
    invocations: n * blocks(dim),
    workgroupSize: WORKGROUP,
  });
  return out;
}

import packCode from '../../../shaders/pack.wgsl?raw';
import unpackCode from '../../../shaders/unpack.wgsl?raw';
import type { GraphRecorder } from '../gpu/recorder.ts';
import { blocks, type BatchRange, type DType, type Tensor } from '../../core/tensor.ts';
import { assertShape, WORKGROUP } from './launch.ts';

export interface PackOptions {
  readonly dtype: DType;
  /** The images repeated this many times: with guidance the network sees each twice. */
  readonly repeat?: number;
  readonly scale?: number;
  readonly offset?: number;
  /** Some of the repeated images; default all. */
  readonly range?: BatchRange;
}

/** Planar f32 (N, C, H, W) -> c4 (repeat * N, C, H, W), or a piece of it, times scale plus offset. shaders/pack.wgsl */
export function pack(recorder: GraphRecorder, label: string, x: Tensor, options: PackOptions): Tensor {
  const { dtype, repeat = 1, scale = 1, offset = 0 } = options;
  const [n, c, h, w] = x.shape;
  assertShape(label, x, x.shape, { layout: 'planar' });
  const { first, count } = options.range ?? { first: 0, count: n * repeat };
  const out = recorder.transient(label, [count, c, h, w], dtype);
  recorder.record({
    label,
    shader: { name: 'pack', code: packCode },
    dtype,
    uniforms: {
      n: count,
      n_in: n,
      c,
      pixels: h * w,
      scale,
      offset,
      cblocks: blocks(c),
      first,
    },
    bindings: { output: out, input: x },
    invocations: count * blocks(c) * h * w,
    workgroupSize: WORKGROUP,
  });
  return out;
}

/**
 * c4 -> planar f32, into images `first` and on of `out`, which is pinned by the caller. shaders/unpack.wgsl
 * @param divisor of each image of `out`, planar (N, 1, 1, 1) f32
 */
export function unpack(
  recorder: GraphRecorder,
  label: string,
  x: Tensor,
  out: Tensor,
  divisor: Tensor | null = null,
  first = 0,
): Tensor {
  const [n, c, h, w] = x.shape;
  if (divisor) assertShape(label, divisor, [out.shape[0], 1, 1, 1], { layout: 'planar' });
  assertShape(label, x, x.shape);
  assertShape(label, out, [out.shape[0], c, h, w], { layout: 'planar' });
  recorder.record({
    label,
    shader: { name: 'unpack', code: unpackCode },
    dtype: x.dtype,
    defines: { DIVIDED: divisor !== null },
    uniforms: { n, c, pixels: h * w, cblocks: blocks(c), first },
    bindings: { output: out, input: x, divisor },
    invocations: n * c * h * w,
    workgroupSize: WORKGROUP,
  });
  return out;
}

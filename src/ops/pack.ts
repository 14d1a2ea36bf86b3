import packCode from '../../shaders/pack.wgsl?raw';
import unpackCode from '../../shaders/unpack.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type DType, type Tensor } from '../tensor.ts';
import { expect, WORKGROUP } from './launch.ts';

export interface PackOptions {
  readonly dtype: DType;
  /** The images repeated this many times: with guidance the network sees each twice. */
  readonly repeat?: number;
  readonly scale?: number;
  readonly offset?: number;
}

/** Planar f32 (N, C, H, W) -> c4 (repeat * N, C, H, W), times scale plus offset. shaders/pack.wgsl */
export function pack(tape: Tape, label: string, x: Tensor, options: PackOptions): Tensor {
  const { dtype, repeat = 1, scale = 1, offset = 0 } = options;
  const [n, c, h, w] = x.shape;
  expect(label, x, x.shape, 'planar');
  const out = tape.temp(label, [n * repeat, c, h, w], dtype);
  tape.record({
    label,
    shader: { name: 'pack', code: packCode },
    dtype,
    constants: {
      N: n * repeat,
      N_IN: n,
      C: c,
      PIXELS: h * w,
      SCALE: scale,
      OFFSET: offset,
      BLOCKS: blocks(c),
    },
    bindings: [out, x],
    threads: n * repeat * blocks(c) * h * w,
    workgroupSize: WORKGROUP,
  });
  return out;
}

/**
 * c4 -> planar f32, the same shape; `out` is pinned by the caller. shaders/unpack.wgsl
 * @param divisor of each image, planar (N, 1, 1, 1) f32
 */
export function unpack(
  tape: Tape,
  label: string,
  x: Tensor,
  out: Tensor,
  divisor: Tensor | null = null,
): Tensor {
  const [n, c, h, w] = x.shape;
  if (divisor) expect(label, divisor, [n, 1, 1, 1], 'planar');
  expect(label, x, x.shape);
  expect(label, out, x.shape, 'planar');
  tape.record({
    label,
    shader: { name: 'unpack', code: unpackCode },
    dtype: x.dtype,
    defines: { DIVIDED: divisor !== null },
    constants: { N: n, C: c, PIXELS: h * w, BLOCKS: blocks(c) },
    bindings: [out, x, divisor],
    threads: n * c * h * w,
    workgroupSize: WORKGROUP,
  });
  return out;
}

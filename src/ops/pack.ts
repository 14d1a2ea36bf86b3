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
  /** A piece of the repeated images: so many, from this one. */
  readonly piece?: Piece;
}

/** Images `first` to `first + count - 1` of a batch. */
export interface Piece {
  readonly first: number;
  readonly count: number;
}

/** Planar f32 (N, C, H, W) -> c4 (repeat * N, C, H, W), or a piece of it, times scale plus offset. shaders/pack.wgsl */
export function pack(tape: Tape, label: string, x: Tensor, options: PackOptions): Tensor {
  const { dtype, repeat = 1, scale = 1, offset = 0 } = options;
  const [n, c, h, w] = x.shape;
  expect(label, x, x.shape, { layout: 'planar' });
  const { first, count } = options.piece ?? { first: 0, count: n * repeat };
  const out = tape.temp(label, [count, c, h, w], dtype);
  tape.record({
    label,
    shader: { name: 'pack', code: packCode },
    dtype,
    constants: {
      N: count,
      N_IN: n,
      C: c,
      PIXELS: h * w,
      SCALE: scale,
      OFFSET: offset,
      BLOCKS: blocks(c),
      FIRST: first,
    },
    bindings: [out, x],
    threads: count * blocks(c) * h * w,
    workgroupSize: WORKGROUP,
  });
  return out;
}

/**
 * c4 -> planar f32, into images `first` and on of `out`, which is pinned by the caller. shaders/unpack.wgsl
 * @param divisor of each image of `out`, planar (N, 1, 1, 1) f32
 */
export function unpack(
  tape: Tape,
  label: string,
  x: Tensor,
  out: Tensor,
  divisor: Tensor | null = null,
  first = 0,
): Tensor {
  const [n, c, h, w] = x.shape;
  if (divisor) expect(label, divisor, [out.shape[0], 1, 1, 1], { layout: 'planar' });
  expect(label, x, x.shape);
  expect(label, out, [out.shape[0], c, h, w], { layout: 'planar' });
  tape.record({
    label,
    shader: { name: 'unpack', code: unpackCode },
    dtype: x.dtype,
    defines: { DIVIDED: divisor !== null },
    constants: { N: n, C: c, PIXELS: h * w, BLOCKS: blocks(c), FIRST: first },
    bindings: [out, x, divisor],
    threads: n * c * h * w,
    workgroupSize: WORKGROUP,
  });
  return out;
}

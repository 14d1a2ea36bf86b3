import code from '../../shaders/embedding.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type DType, type Tensor } from '../tensor.ts';
import { expect, WORKGROUP } from './launch.ts';
import type { Piece } from './pack.ts';

/** (rows, C) in c4. */
export interface Table {
  readonly buffer: GPUBuffer;
  readonly rows: number;
  readonly channels: number;
}

/**
 * out = x + table[label], for each image. x (N, C, 1, 1) -> the same. shaders/embedding.wgsl
 * @param labels one u32 an image, from the index `first` on
 */
export function embedding(
  tape: Tape,
  label: string,
  x: Tensor,
  table: Table,
  labels: GPUBuffer,
  first = 0,
): Tensor {
  const [n] = x.shape;
  expect(label, x, [n, table.channels, 1, 1]);
  const out = tape.temp(label, x.shape, x.dtype);
  record(tape, label, out, table, first, false, [out, x, table.buffer, labels]);
  return out;
}

/** out = table[t], for each image or a piece of them; t planar (N, 1, 1, 1) f32, rounded. -> (N, C, 1, 1). shaders/embedding.wgsl */
export function learnedTime(
  tape: Tape,
  label: string,
  t: Tensor,
  table: Table,
  dtype: DType,
  { first, count: n }: Piece = { first: 0, count: t.shape[0] },
): Tensor {
  expect(label, t, [t.shape[0], 1, 1, 1], { layout: 'planar' });
  const out = tape.temp(label, [n, table.channels, 1, 1], dtype);
  record(tape, label, out, table, first, true, [out, t, table.buffer]);
  return out;
}

function record(
  tape: Tape,
  label: string,
  { shape: [n], dtype }: Tensor,
  { rows, channels }: Table,
  first: number,
  time: boolean,
  bindings: (Tensor | GPUBuffer)[],
): void {
  tape.record({
    label,
    shader: { name: 'embedding', code },
    dtype,
    defines: { TIME: time },
    constants: { N: n, C_BLOCKS: blocks(channels), ROWS: rows, FIRST: first },
    bindings,
    threads: n * blocks(channels),
    workgroupSize: WORKGROUP,
  });
}

import code from '../../shaders/embedding.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type DType, type Tensor } from '../tensor.ts';
import { expect, WORKGROUP } from './launch.ts';

/** (rows, C) in c4. */
export interface Table {
  readonly buffer: GPUBuffer;
  readonly rows: number;
  readonly channels: number;
}

/**
 * out = x + table[label], for each image. x (N, C, 1, 1) -> the same. shaders/embedding.wgsl
 * @param labels one u32 an image
 */
export function embedding(tape: Tape, label: string, x: Tensor, table: Table, labels: GPUBuffer): Tensor {
  const [n] = x.shape;
  expect(label, x, [n, table.channels, 1, 1]);
  const out = tape.temp(label, x.shape, x.dtype);
  record(tape, label, out, table, false, [out, x, table.buffer, labels]);
  return out;
}

/** out = table[t], for each image; t planar (N, 1, 1, 1) f32, rounded. -> (N, C, 1, 1). shaders/embedding.wgsl */
export function learnedTime(tape: Tape, label: string, t: Tensor, table: Table, dtype: DType): Tensor {
  const [n] = t.shape;
  expect(label, t, [n, 1, 1, 1], 'planar');
  const out = tape.temp(label, [n, table.channels, 1, 1], dtype);
  record(tape, label, out, table, true, [out, t, table.buffer]);
  return out;
}

function record(
  tape: Tape,
  label: string,
  { shape: [n], dtype }: Tensor,
  { rows, channels }: Table,
  time: boolean,
  bindings: (Tensor | GPUBuffer)[],
): void {
  tape.record({
    label,
    shader: { name: 'embedding', code },
    dtype,
    defines: { TIME: time },
    constants: { N: n, C_BLOCKS: blocks(channels), ROWS: rows },
    bindings,
    threads: n * blocks(channels),
    workgroupSize: WORKGROUP,
  });
}

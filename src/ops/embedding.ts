import code from '../../shaders/embedding.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type Tensor } from '../tensor.ts';
import { expect, WORKGROUP } from './launch.ts';

/**
 * out = x + table[label], for each image. x (N, C, 1, 1) -> the same.
 * @param table (classes, C) in c4
 * @param labels one u32 an image; the caller keeps them below the number of classes
 */
export function embedding(tape: Tape, label: string, x: Tensor, table: GPUBuffer, labels: GPUBuffer): Tensor {
  const [n, c] = x.shape;
  expect(label, x, [n, c, 1, 1]);
  const out = tape.temp(label, x.shape, x.dtype);
  tape.record({
    label,
    shader: { name: 'embedding', code },
    dtype: x.dtype,
    constants: { N: n, C_BLOCKS: blocks(c) },
    bindings: [out, x, table, labels],
    threads: n * blocks(c),
    workgroupSize: WORKGROUP,
  });
  return out;
}

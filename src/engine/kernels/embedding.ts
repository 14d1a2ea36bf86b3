import code from '../../../shaders/embedding.wgsl?raw';
import type { Dispatch, GraphRecorder } from '../gpu/recorder.ts';
import { blocks, type BatchRange, type BufferHandle, type DType, type Tensor } from '../../core/tensor.ts';
import { assertShape, WORKGROUP } from './launch.ts';

/** (rows, C) in c4. */
export interface Table {
  readonly buffer: BufferHandle;
  readonly rows: number;
  readonly channels: number;
}

/**
 * out = x + table[label], for each image. x (N, C, 1, 1) -> the same. shaders/embedding.wgsl
 * @param labels one u32 an image, from the index `first` on
 */
export function embedding(
  recorder: GraphRecorder,
  label: string,
  x: Tensor,
  table: Table,
  labels: BufferHandle,
  first = 0,
): Tensor {
  const [n] = x.shape;
  assertShape(label, x, [n, table.channels, 1, 1]);
  const out = recorder.transient(label, x.shape, x.dtype);
  record(recorder, label, out, table, first, false, {
    output: out,
    input: x,
    table: table.buffer,
    label: labels,
  });
  return out;
}

/** out = table[t], for each image or a piece of them; t planar (N, 1, 1, 1) f32, rounded. -> (N, C, 1, 1). shaders/embedding.wgsl */
export function learnedTime(
  recorder: GraphRecorder,
  label: string,
  t: Tensor,
  table: Table,
  dtype: DType,
  { first, count: n }: BatchRange = { first: 0, count: t.shape[0] },
): Tensor {
  assertShape(label, t, [t.shape[0], 1, 1, 1], { layout: 'planar' });
  const out = recorder.transient(label, [n, table.channels, 1, 1], dtype);
  record(recorder, label, out, table, first, true, { output: out, t, table: table.buffer });
  return out;
}

function record(
  recorder: GraphRecorder,
  label: string,
  { shape: [n], dtype }: Tensor,
  { rows, channels }: Table,
  first: number,
  time: boolean,
  bindings: Dispatch['bindings'],
): void {
  recorder.record({
    label,
    shader: { name: 'embedding', code },
    dtype,
    defines: { TIME: time },
    uniforms: { n, cblocks: blocks(channels), rows, first },
    bindings,
    invocations: n * blocks(channels),
    workgroupSize: WORKGROUP,
  });
}

import code from '../../../shaders/repaint.wgsl?raw';
import type { GraphRecorder } from '../gpu/recorder.ts';
import { packStruct, structLayout } from '../gpu/uniforms.ts';
import type { BufferHandle, Tensor } from '../../core/tensor.ts';
import { assertShape, WORKGROUP } from './launch.ts';
import type { NoiseSource } from './noise.ts';

/** The numbers of shaders/repaint.wgsl: x <- mask (c x + s z) + (1 - mask) (a known + b z). */
export interface Repaint {
  readonly c: number;
  readonly s: number;
  readonly a: number;
  readonly b: number;
  /** Address of z. */
  readonly index: number;
}

const REPAINT = structLayout(code, 'Repaint');

/** Bytes of the uniform buffer. */
export const REPAINT_BYTES = REPAINT.bytes;

/** The uniform's bytes. */
export const packRepaint = (numbers: Repaint): ArrayBuffer => packStruct(REPAINT, { ...numbers });

export interface RepaintBindings {
  /** The state (N, C, H, W), changed in place. */
  readonly x: Tensor;
  /** The picture, the same shape. */
  readonly known: Tensor;
  /** The same shape: 1 for pixels that are regenerated, 0 for pixels that are kept. */
  readonly mask: Tensor;
  /** Uniform buffer of REPAINT_BYTES. */
  readonly numbers: BufferHandle;
  readonly source: NoiseSource;
}

/** shaders/repaint.wgsl on planar f32 tensors. */
export function repaint(
  recorder: GraphRecorder,
  label: string,
  { x, known, mask, numbers, source }: RepaintBindings,
): void {
  const [n, c, h, w] = x.shape;
  for (const tensor of [x, known, mask]) assertShape(label, tensor, x.shape, { layout: 'planar' });
  const size = c * h * w;
  recorder.record({
    label,
    shader: { name: 'repaint', code },
    dtype: 'f32',
    uniforms: { n, elements: size, counters: Math.ceil(size / 4) },
    bindings: { x, known, mask, repaint: numbers, seeds: source.seeds, normal_table: source.normalTable },
    invocations: n * Math.ceil(size / 4),
    workgroupSize: WORKGROUP,
  });
}

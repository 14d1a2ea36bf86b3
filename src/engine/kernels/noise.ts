import code from '../../../shaders/noise.wgsl?raw';
import type { GraphRecorder } from '../gpu/recorder.ts';
import type { BufferHandle, Tensor } from '../../core/tensor.ts';
import { assertShape, WORKGROUP } from './launch.ts';

/** Philox keys of the images (N pairs of u32), and the table of the normal distribution. */
export interface NoiseSource {
  readonly seeds: BufferHandle;
  readonly normalTable: BufferHandle;
}

/** Fills x, planar (N, C, H, W), with sigma times standard normal noise: stream 0, step 0. shaders/noise.wgsl */
export function noise(
  recorder: GraphRecorder,
  label: string,
  x: Tensor,
  source: NoiseSource,
  sigma: number,
): void {
  const [n, c, h, w] = x.shape;
  assertShape(label, x, x.shape, { layout: 'planar' });
  recorder.record({
    label,
    shader: { name: 'noise', code },
    dtype: 'f32',
    uniforms: { n, elements: c * h * w, sigma: sigma, counters: Math.ceil((c * h * w) / 4) },
    bindings: { x, seeds: source.seeds, normal_table: source.normalTable },
    invocations: n * Math.ceil((c * h * w) / 4),
    workgroupSize: WORKGROUP,
  });
}

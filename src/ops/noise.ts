import code from '../../shaders/noise.wgsl?raw';
import normal from '../../shaders/lib/normal.wgsl?raw';
import philox from '../../shaders/lib/philox.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import type { Tensor } from '../tensor.ts';
import { expect, WORKGROUP } from './launch.ts';

/** Philox keys of the images (N pairs of u32), and the table of the normal distribution. */
export interface NoiseSource {
  readonly seeds: GPUBuffer;
  readonly normalTable: GPUBuffer;
}

/** Fills x, planar (N, C, H, W), with sigma times standard normal noise: stream 0, step 0. shaders/noise.wgsl */
export function noise(tape: Tape, label: string, x: Tensor, source: NoiseSource, sigma: number): void {
  const [n, c, h, w] = x.shape;
  expect(label, x, x.shape, { layout: 'planar' });
  tape.record({
    label,
    shader: { name: 'noise', code: philox + normal + code },
    dtype: 'f32',
    constants: { N: n, ELEMENTS: c * h * w, SIGMA: sigma, BLOCKS: Math.ceil((c * h * w) / 4) },
    bindings: [x, source.seeds, source.normalTable],
    threads: n * Math.ceil((c * h * w) / 4),
    workgroupSize: WORKGROUP,
  });
}

import normal from '../../shaders/lib/normal.wgsl?raw';
import philox from '../../shaders/lib/philox.wgsl?raw';
import code from '../../shaders/update.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import type { Tensor } from '../tensor.ts';
import { expect, WORKGROUP } from './launch.ts';
import type { NoiseSource } from './noise.ts';

/** The numbers of one step, by the field names of shaders/update.wgsl. */
export interface UpdateStep {
  readonly x0_x: number;
  readonly x0_m: number;
  /** Half width of the clipping interval; null for none. */
  readonly clip: number | null;
  readonly next_x: number;
  readonly next_x0: number;
  readonly next_m: number;
  readonly sigma: number;
  readonly guidance: number;
  /** Address of the step's noise. */
  readonly index: number;
}

/** Bytes of the uniform buffer. */
export const UPDATE_STEP_BYTES = 48;

const MAX_F32 = 3.4028234663852886e38;

/** The uniform's bytes. */
export function packUpdateStep(s: UpdateStep): ArrayBuffer {
  const bytes = new ArrayBuffer(UPDATE_STEP_BYTES);
  const clip = s.clip ?? MAX_F32;
  new Float32Array(bytes, 0, 8).set([s.x0_x, s.x0_m, clip, s.next_x, s.next_x0, s.next_m, s.sigma, s.guidance]);
  new Uint32Array(bytes, 32, 1)[0] = s.index;
  return bytes;
}

export interface UpdateBindings {
  /** The state (N, C, H, W), changed in place. */
  readonly x: Tensor;
  /** Receives the predicted clean image, the same shape. */
  readonly x0Hat: Tensor;
  /** The network's output: (N, C, H, W), or (2 N, C, H, W) with guidance: images with their class, then without. */
  readonly output: Tensor;
  /** Uniform buffer of UPDATE_STEP_BYTES. */
  readonly step: GPUBuffer;
  /** Four bytes that become non-zero when the state takes a number that is not finite. */
  readonly fault: GPUBuffer;
  /** Where z comes from: the generator, or a tensor of the state's shape. */
  readonly z: NoiseSource | Tensor;
}

/** One step of the sampler on the state, all tensors planar f32. shaders/update.wgsl */
export function update(tape: Tape, label: string, b: UpdateBindings): void {
  const { x, x0Hat, output, z } = b;
  const [n, c, h, w] = x.shape;
  const guided = output.shape[0] === 2 * n;
  const given = 'storage' in z;
  expect(label, x, x.shape, 'planar');
  expect(label, x0Hat, x.shape, 'planar');
  expect(label, output, [guided ? 2 * n : n, c, h, w], 'planar');
  if (given) expect(label, z, x.shape, 'planar');
  tape.record({
    label,
    shader: { name: 'update', code: (given ? '' : philox + normal) + code },
    dtype: 'f32',
    defines: { GUIDED: guided, GIVEN: given },
    constants: { N: n, ELEMENTS: c * h * w },
    bindings: [x, x0Hat, output, b.step, b.fault, ...(given ? [z] : [z.seeds, z.normalTable])],
    threads: n * Math.ceil((c * h * w) / 4),
    workgroupSize: WORKGROUP,
  });
}

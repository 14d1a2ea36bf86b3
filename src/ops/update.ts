import normal from '../../shaders/lib/normal.wgsl?raw';
import philox from '../../shaders/lib/philox.wgsl?raw';
import sum from '../../shaders/lib/sum.wgsl?raw';
import stepCode from '../../shaders/lib/step.wgsl?raw';
import measureCode from '../../shaders/measure.wgsl?raw';
import code from '../../shaders/update.wgsl?raw';
import type { GraphRecorder } from '../gpu/recorder.ts';
import { MAX_HISTORY, type LinearCombination, type Step } from '../schedule/step.ts';
import type { BufferHandle, Tensor } from '../tensor.ts';
import { assertShape, WORKGROUP } from './launch.ts';
import type { NoiseSource } from './noise.ts';

/** The numbers of one step, by the field names of shaders/lib/step.wgsl. */
export interface UpdateStep {
  readonly x0_x: number;
  readonly x0_m: number;
  /** Half width of the interval for x0Hat, dynamic thresholding, or null for none. */
  readonly clip: number | { readonly quantile: number; readonly max: number } | null;
  readonly sigma: number;
  /** Bounds of the log variance that the network chooses between; sigma alone unless given. */
  readonly logVariance?: readonly [min: number, max: number];
  readonly guidance: number;
  /** How far the guided output is rescaled to the spread of the one with a class, 0 (not at all) to 1. */
  readonly rescale?: number;
  /** Address of the step's noise. */
  readonly index: number;
  /** Row 0 gives x, row k + 1 slot h_k: the factors of x, x0Hat, m, h_0 ... h_5. Rows left out change nothing. */
  readonly mix: readonly (readonly number[] | undefined)[];
}

/** Bytes of the uniform buffer. */
export const UPDATE_STEP_BYTES = 48 + 7 * 48;

const MAX_F32 = 3.4028234663852886e38;

/** The row that leaves x (row 0) or a slot as it is. */
const keep = (row: number): number[] => [
  Number(row === 0),
  0,
  0,
  ...Array.from({ length: 6 }, (_, k) => Number(k === row - 1)),
];

/** The uniform's bytes. */
export function packUpdateStep(s: UpdateStep): ArrayBuffer {
  const bytes = new ArrayBuffer(UPDATE_STEP_BYTES);
  const clip = typeof s.clip === 'number' ? s.clip : (s.clip?.max ?? MAX_F32);
  const quantile = typeof s.clip === 'number' ? 0 : (s.clip?.quantile ?? 0);
  new Float32Array(bytes, 0, 5).set([s.x0_x, s.x0_m, clip, s.sigma, s.guidance]);
  new Uint32Array(bytes, 20, 1)[0] = s.index;
  new Float32Array(bytes, 24, 4).set([s.rescale ?? 0, quantile, ...(s.logVariance ?? [0, 0])]);
  for (let row = 0; row < 7; row++) {
    const out = new Float32Array(bytes, 48 + row * 48, 12);
    const [x = 0, x0Hat = 0, m = 0, ...h] = s.mix[row] ?? keep(row);
    out.set([x, x0Hat, m, 0, ...h]);
  }
  return bytes;
}

/**
 * A step of a sampler as the uniform's bytes.
 * @param guidance of this step; 1 is off
 * @param rescale as in UpdateStep
 */
export function packStep(step: Step, guidance: number, rescale: number): ArrayBuffer {
  const { x0Hat, clip, next, history = [], sigma, logVariance, index } = step;
  const row = (mix: LinearCombination | undefined) =>
    mix && [
      mix.x ?? 0,
      mix.x0Hat ?? 0,
      mix.modelOutput ?? 0,
      ...Array.from({ length: MAX_HISTORY }, (_, k) => mix.history?.[k] ?? 0),
    ];
  return packUpdateStep({
    x0_x: x0Hat.x,
    x0_m: x0Hat.modelOutput,
    clip,
    sigma,
    ...(logVariance ? { logVariance } : {}),
    guidance,
    rescale,
    index,
    mix: [row(next), ...Array.from(history, row)],
  });
}

export interface UpdateBindings {
  /** The state (N, C, H, W), changed in place. */
  readonly x: Tensor;
  /** Receives the predicted clean image, the same shape. */
  readonly x0Hat: Tensor;
  /**
   * The network's output: (N, C, H, W), or (2 N, C, H, W) with guidance: images with their class, then without.
   * (..., 2 C, H, W) where the variance is learned.
   */
  readonly output: Tensor;
  /** Uniform buffer of UPDATE_STEP_BYTES. */
  readonly step: BufferHandle;
  /** Four bytes that become non-zero when the state takes a number that is not finite. */
  readonly fault: BufferHandle;
  /** Where z comes from: the generator, or a tensor of the state's shape. */
  readonly z: NoiseSource | Tensor;
  /** (slots * N, C, H, W): what the sampler remembers; null for one that remembers nothing. */
  readonly history: Tensor | null;
}

/**
 * One step of the sampler on the state, all tensors planar f32. shaders/update.wgsl
 * @param measured rescaling or dynamic thresholding may be asked for: needs a pass over each image before
 *   (shaders/measure.wgsl)
 */
export function update(recorder: GraphRecorder, label: string, b: UpdateBindings, measured = false): void {
  const { x, x0Hat, output, step, z, history } = b;
  const [n, c, h, w] = x.shape;
  const guided = output.shape[0] === 2 * n;
  const given = 'storage' in z;
  const channels = output.shape[1] === 2 * c ? 2 * c : c;
  assertShape(label, x, x.shape, { layout: 'planar' });
  assertShape(label, x0Hat, x.shape, { layout: 'planar' });
  assertShape(label, output, [guided ? 2 * n : n, channels, h, w], { layout: 'planar' });
  if (given) assertShape(label, z, x.shape, { layout: 'planar' });
  const slots = history ? history.shape[0] / n : 0;
  if (history) assertShape(label, history, [slots * n, c, h, w], { layout: 'planar' });
  const size = c * h * w;
  const uniforms = {
    N: n,
    ELEMENTS: size,
    OUT: channels * h * w,
    BLOCKS: Math.ceil(size / 4),
    SLOTS: slots,
  };
  const measures = measured ? recorder.transient(`${label}.measures`, [n, 2, 1, 1], 'f32', 'planar') : null;
  if (measures)
    recorder.record({
      label: `${label}.measure`,
      shader: { name: 'measure', code: stepCode + measureCode + sum },
      dtype: 'f32',
      defines: { GUIDED: guided },
      uniforms,
      bindings: { measures, x, output, step },
      invocations: n * WORKGROUP,
      workgroupSize: WORKGROUP,
    });
  recorder.record({
    label,
    shader: { name: 'update', code: (given ? '' : philox + normal) + stepCode + code },
    dtype: 'f32',
    defines: { GUIDED: guided, GIVEN: given, HISTORY: history !== null, MEASURED: measured },
    uniforms,
    bindings: {
      ...{ x, x0Hat, output, step, fault: b.fault, h: history, measures },
      ...(given ? { z } : { seeds: z.seeds, normal_table: z.normalTable }),
    },
    invocations: n * Math.ceil(size / 4),
    workgroupSize: WORKGROUP,
  });
}

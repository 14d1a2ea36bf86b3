import stepCode from '../../../shaders/lib/step.wgsl?raw';
import measureCode from '../../../shaders/measure.wgsl?raw';
import code from '../../../shaders/update.wgsl?raw';
import type { GraphRecorder } from '../gpu/recorder.ts';
import { packStruct, structLayout, unpackStruct } from '../gpu/uniforms.ts';
import { MAX_HISTORY, type Clip, type LinearCombination, type Step } from '../../schedule/step.ts';
import type { BufferHandle, Tensor } from '../../core/tensor.ts';
import { assertShape, WORKGROUP } from './launch.ts';
import type { NoiseSource } from './noise.ts';

/** struct Step. */
const STEP = structLayout(stepCode, 'Step');

/** Bytes of the uniform buffer. */
export const UPDATE_STEP_BYTES = STEP.bytes;

/** The numbers of one step. */
export interface UpdateStep {
  readonly x0_x: number;
  readonly x0_m: number;
  /** Half width of the interval for x0Hat, dynamic thresholding, or null for no clipping. */
  readonly clip: Clip;
  readonly sigma: number;
  /** Bounds between which the network chooses the log variance; default sigma alone. */
  readonly logVariance?: readonly [min: number, max: number];
  readonly guidance: number;
  /** How far the guided output is rescaled to the spread of the one with a class, 0 (default) to 1. */
  readonly rescale?: number;
  /** Address of the step's noise. */
  readonly index: number;
  /** Factors of x, x0Hat, m, h_0 ... h_5: row 0 gives x, row k + 1 gives h_k. An absent row changes nothing. */
  readonly mix: readonly (readonly number[] | undefined)[];
}

const MAX_F32 = 3.4028234663852886e38;
const ROWS = 1 + MAX_HISTORY;

/** The row that keeps x (row 0) or an entry of the history. */
const identity = (row: number): number[] => [
  Number(row === 0),
  0,
  0,
  ...Array.from({ length: MAX_HISTORY }, (_, k) => Number(k === row - 1)),
];

/** The uniform's bytes. */
export function packUpdateStep({
  clip,
  logVariance = [0, 0],
  rescale = 0,
  mix,
  ...numbers
}: UpdateStep): ArrayBuffer {
  const dynamic = typeof clip === 'number' ? null : clip;
  return packStruct(STEP, {
    ...numbers,
    clip: typeof clip === 'number' ? clip : (dynamic?.max ?? MAX_F32),
    quantile: dynamic?.quantile ?? 0,
    rescale,
    log_variance: logVariance,
    rows: Array.from({ length: ROWS }, (_, row) => {
      const [x = 0, x0Hat = 0, m = 0, ...history] = mix[row] ?? identity(row);
      const h = Array.from({ length: 8 }, (_, k) => history[k] ?? 0);
      return { own: [x, x0Hat, m, 0], h: [h.slice(0, 4), h.slice(4)] };
    }),
  });
}

/**
 * A step of a sampler as the uniform's bytes.
 * @param guidance of this step; 1 is off
 * @param rescale as in UpdateStep
 */
export function packStep(step: Step, guidance: number, rescale: number): ArrayBuffer {
  const { x0Hat, clip, next, history = [], sigma, logVariance, index } = step;
  const row = (mix: LinearCombination | undefined) =>
    mix && [mix.x ?? 0, mix.x0Hat ?? 0, mix.modelOutput ?? 0, ...(mix.history ?? [])];
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

/** The numbers of packed bytes, as the kernel reads them. `x`, `x0Hat` and `m` are the factors of the next state. */
export function unpackStep(bytes: ArrayBuffer) {
  const { x0_x, x0_m, clip, sigma, guidance, index, rows } = unpackStruct(STEP, bytes);
  const [{ own }] = rows as unknown as readonly [{ own: readonly [number, number, number, number] }];
  const [x, x0Hat, m] = own;
  const numbers = { x0_x, x0_m, clip, sigma, guidance, index } as Record<
    'x0_x' | 'x0_m' | 'clip' | 'sigma' | 'guidance' | 'index',
    number
  >;
  return { ...numbers, x, x0Hat, m };
}

export interface UpdateBindings {
  /** The state (N, C, H, W), changed in place. */
  readonly x: Tensor;
  /** Receives the predicted clean image, the same shape. */
  readonly x0Hat: Tensor;
  /**
   * The network's output: (N, C, H, W), or (2 N, C, H, W) with guidance: images with their class, then without.
   * (..., 2 C, H, W) if the variance is learned.
   */
  readonly output: Tensor;
  /** Uniform buffer of UPDATE_STEP_BYTES. */
  readonly step: BufferHandle;
  /** Four bytes that become non-zero when the state takes a number that is not finite. */
  readonly fault: BufferHandle;
  /** The source of z: the generator, or a tensor of the state's shape. */
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
    n,
    elements: size,
    out_elements: channels * h * w,
    counters: Math.ceil(size / 4),
    slots,
  };
  const measures = measured ? recorder.transient(`${label}.measures`, [n, 2, 1, 1], 'f32', 'planar') : null;
  if (measures)
    recorder.record({
      label: `${label}.measure`,
      shader: { name: 'measure', code: measureCode },
      dtype: 'f32',
      defines: { GUIDED: guided },
      uniforms,
      bindings: { measures, x, output, step },
      invocations: n * WORKGROUP,
      workgroupSize: WORKGROUP,
    });
  recorder.record({
    label,
    shader: { name: 'update', code },
    dtype: 'f32',
    defines: { GUIDED: guided, GIVEN_NOISE: given, HISTORY: history !== null, MEASURED: measured },
    uniforms,
    bindings: {
      ...{ x, x0Hat, output, step, fault: b.fault, h: history, measures },
      ...(given ? { z } : { seeds: z.seeds, normal_table: z.normalTable }),
    },
    invocations: n * Math.ceil(size / 4),
    workgroupSize: WORKGROUP,
  });
}

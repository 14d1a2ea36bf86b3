/** What the variants of a convolution have in common: their inputs, and what follows the sum. */

import type { Gpu } from '../gpu/device.ts';
import type { BufferHandle, Shape, Tensor } from '../../core/tensor.ts';
import { activationDefines, type Activation } from './activation.ts';
import type { ConvShape, NetworkRecorder } from './kernel_policy.ts';
import { sliceUniforms } from './launch.ts';

export interface Padding {
  readonly top: number;
  readonly left: number;
  readonly bottom: number;
  readonly right: number;
}

/** The weights of a convolution, in the layout of `packMatrix`. */
export interface ConvWeights {
  readonly weight: BufferHandle;
  readonly bias: BufferHandle;
  readonly cIn: number;
  readonly cOut: number;
  /** Side of the square kernel. */
  readonly size: number;
}

export interface ConvOptions {
  readonly stride?: number;
  /** Zeros around the image; default `(size - 1) / 2` on every side. */
  readonly padding?: Padding;
  /** Upsamples x by two first, by repeating every pixel. */
  readonly upsampled?: boolean;
  /** (N, cOut, 1, 1) or a slice, added to every pixel of its image. */
  readonly timeBias?: Tensor | null;
  /** Added before `scale`; same shape as the output. */
  readonly residual?: Tensor | null;
  readonly scale?: number;
  /** Further input channels, after those of x. For 1x1 kernels only, and in whole blocks of four. */
  readonly concatWith?: Tensor | null;
  /** Of the result. */
  readonly activation?: Activation | null;
}

/** One convolution to record; shapes are checked. */
export interface ConvLaunch {
  readonly label: string;
  readonly x: Tensor;
  readonly weights: ConvWeights;
  /** Of the output. */
  readonly shape: Shape;
  readonly padding: Padding;
  readonly options: ConvOptions;
}

/** One way to compute a convolution. */
export interface ConvKernel {
  readonly name: string;
  /** Whether the tuner measures it for this shape on this adapter. */
  takes(shape: ConvShape, adapter: Pick<Gpu, 'isSoftware'>): boolean;
  /** Whether it is the choice for this shape on an adapter that is not measured, if no variant before it is. */
  preferred(shape: ConvShape, adapter: Pick<Gpu, 'isSoftware'>): boolean;
  /** Whether it can compute this launch; if not, the direct variant does. */
  canRecord(launch: ConvLaunch): boolean;
  record(recorder: NetworkRecorder, launch: ConvLaunch): Tensor;
}

/** The end of a convolution (shaders/lib/epilogue.wgsl): its defines, uniforms and bindings. */
export function epilogue(weights: ConvWeights, options: ConvOptions) {
  const { timeBias = null, residual = null, activation = null, scale = 1 } = options;
  return {
    defines: {
      BIAS: true,
      TIME_BIAS: timeBias !== null,
      RESIDUAL: residual !== null,
      ...activationDefines(activation),
    },
    uniforms: { scale, ...sliceUniforms(timeBias, 'time') },
    bindings: { bias: weights.bias, timeBias, residual },
  };
}

/** The same for a kernel that only stores its sums. */
export const noEpilogue: Omit<ReturnType<typeof epilogue>, 'bindings'> = {
  defines: { BIAS: false, TIME_BIAS: false, RESIDUAL: false, ...activationDefines(null) },
  uniforms: { scale: 1, ...sliceUniforms(null, 'time') },
};

/** FLOPs of a convolution done directly, by which all variants are counted. */
export const convFlops = ({ cIn, cOut, size }: ConvWeights, [n, , h, w]: Shape): number =>
  2 * n * cOut * h * w * cIn * size ** 2;

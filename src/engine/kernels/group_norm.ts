import code from '../../../shaders/group_norm.wgsl?raw';
import { blocks, type BufferHandle, type Shape, type Tensor } from '../../core/tensor.ts';
import { activationDefines, type Activation } from './activation.ts';
import type { NetworkRecorder } from './kernel_policy.ts';
import { assertShape, sliceUniforms } from './launch.ts';

/** gamma and beta: C scalars each, padded with zeros to whole blocks. */
export interface NormWeights {
  readonly gamma: BufferHandle;
  readonly beta: BufferHandle;
  readonly channels: number;
}

export interface NormOptions {
  readonly groups: number;
  readonly eps: number;
  readonly activation?: Activation | null;
  /** Adaptive group norm: the normalised x times 1 + scale, plus shift; (N, C, 1, 1) each, or slices. */
  readonly scale?: Tensor | null;
  readonly shift?: Tensor | null;
  /** Added before the activation; the shape of the result. */
  readonly residual?: Tensor | null;
  /** Further channels, after those of x (see `canConcatInPlace`). */
  readonly concatWith?: Tensor | null;
}

/** Whether x and y, concatWith along the channels, can be read where they are: in whole blocks of four. */
export const canConcatInPlace = (x: Tensor, y: Tensor, groups: number): boolean =>
  [x.shape[1], y.shape[1], (x.shape[1] + y.shape[1]) / groups].every((c) => c % 4 === 0);

/** Group normalisation, modulated and with an activation behind it where asked for. (N, C, H, W) -> the same. shaders/group_norm.wgsl */
export function groupNorm(
  recorder: NetworkRecorder,
  label: string,
  x: Tensor,
  w: NormWeights,
  options: NormOptions,
): Tensor {
  const { groups, eps, activation = null, scale = null, shift = null, residual = null } = options;
  const { concatWith = null } = options;
  const [n, ca, h, width] = x.shape;
  const c = ca + (concatWith?.shape[1] ?? 0);
  const shape: Shape = [n, c, h, width];
  if (concatWith) assertShape(label, concatWith, [n, c - ca, h, width]);
  if (concatWith && !canConcatInPlace(x, concatWith, groups))
    throw new Error(`${label}: ${x.label} and ${concatWith.label} do not join in blocks`);
  if (c !== w.channels || c % groups !== 0)
    throw new Error(
      `${label}: ${x.label} has ${c} channels, expected ${w.channels} in ${groups} equal groups`,
    );
  for (const part of [scale, shift]) if (part) assertShape(label, part, [n, c, 1, 1], { slice: true });
  if (residual) assertShape(label, residual, shape);
  const out = recorder.transient(label, shape, x.dtype);
  const aligned = (c / groups) % 4 === 0;
  recorder.record({
    label,
    shader: { name: 'group_norm', code },
    dtype: x.dtype,
    defines: {
      ALIGNED: aligned,
      SCALAR: !aligned,
      SCALED: scale !== null,
      SHIFTED: shift !== null,
      RESIDUAL: residual !== null,
      CONCAT: concatWith !== null,
      ...activationDefines(activation),
    },
    uniforms: {
      n,
      c,
      groups: groups,
      pixels: h * width,
      eps: eps,
      cblocks: blocks(c),
      channels_per_group: c / groups,
      items: ((c / groups) * h * width) / (aligned ? 4 : 1),
      a_cblocks: blocks(ca),
      ...sliceUniforms(scale, 'scale'),
      ...sliceUniforms(shift, 'shift'),
    },
    bindings: {
      output: out,
      input: x,
      gamma: w.gamma,
      beta: w.beta,
      scale,
      shift,
      residual,
      second: concatWith,
    },
    invocations: n * groups * recorder.policy.workgroupSize,
    workgroupSize: recorder.policy.workgroupSize,
  });
  return out;
}

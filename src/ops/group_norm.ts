import code from '../../shaders/group_norm.wgsl?raw';
import sum from '../../shaders/lib/sum.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type Shape, type Tensor } from '../tensor.ts';
import { activationCode, activationDefines, type Activation } from './activation.ts';
import { expect, partOf } from './launch.ts';

/** gamma and beta: C scalars each, padded with zeros to whole blocks. */
export interface NormWeights {
  readonly gamma: GPUBuffer;
  readonly beta: GPUBuffer;
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
  /** More channels, behind those of x (`joins` says whether that is possible). */
  readonly joined?: Tensor | null;
}

/** Whether x and y, joined along the channels, can be read where they are: in whole blocks of four. */
export const joins = (x: Tensor, y: Tensor, groups: number): boolean =>
  [x.shape[1], y.shape[1], (x.shape[1] + y.shape[1]) / groups].every((c) => c % 4 === 0);

/** Group normalisation, modulated and with an activation behind it where asked for. (N, C, H, W) -> the same. shaders/group_norm.wgsl */
export function groupNorm(
  tape: Tape,
  label: string,
  x: Tensor,
  w: NormWeights,
  options: NormOptions,
): Tensor {
  const { groups, eps, activation = null, scale = null, shift = null, residual = null } = options;
  const { joined = null } = options;
  const [n, ca, h, width] = x.shape;
  const c = ca + (joined?.shape[1] ?? 0);
  const shape: Shape = [n, c, h, width];
  if (joined) expect(label, joined, [n, c - ca, h, width]);
  if (joined && !joins(x, joined, groups))
    throw new Error(`${label}: ${x.label} and ${joined.label} do not join in blocks`);
  if (c !== w.channels || c % groups !== 0)
    throw new Error(
      `${label}: ${x.label} has ${c} channels, expected ${w.channels} in ${groups} equal groups`,
    );
  for (const part of [scale, shift]) if (part) expect(label, part, [n, c, 1, 1], { slice: true });
  if (residual) expect(label, residual, shape);
  const out = tape.temp(label, shape, x.dtype);
  const aligned = (c / groups) % 4 === 0;
  tape.record({
    label,
    shader: { name: 'group_norm', code: activationCode + code + sum },
    dtype: x.dtype,
    defines: {
      ALIGNED: aligned,
      SCALAR: !aligned,
      SCALED: scale !== null,
      SHIFTED: shift !== null,
      RESIDUAL: residual !== null,
      JOINED: joined !== null,
      ...activationDefines(activation),
    },
    constants: {
      N: n,
      C: c,
      GROUPS: groups,
      PIXELS: h * width,
      EPS: eps,
      C_BLOCKS: blocks(c),
      CHANNELS: c / groups,
      ITEMS: ((c / groups) * h * width) / (aligned ? 4 : 1),
      A_BLOCKS: blocks(ca),
      ...partOf(scale, 'SCALE'),
      ...partOf(shift, 'SHIFT'),
    },
    bindings: [out, x, w.gamma, w.beta, scale, shift, residual, joined],
    threads: n * groups * tape.variants.lanes,
    workgroupSize: tape.variants.lanes,
  });
  return out;
}

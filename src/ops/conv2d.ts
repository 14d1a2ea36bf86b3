import code from '../../shaders/conv2d.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type Shape, type Tensor } from '../tensor.ts';
import { activationCode, activationDefines, type Activation } from './activation.ts';
import { expect } from './launch.ts';

export interface Padding {
  readonly top: number;
  readonly left: number;
  readonly bottom: number;
  readonly right: number;
}

/** The weights of a convolution, packed by `packMatrix`. */
export interface ConvWeights {
  readonly weight: GPUBuffer;
  readonly bias: GPUBuffer;
  readonly cIn: number;
  readonly cOut: number;
  /** Side of the square kernel. */
  readonly size: number;
}

export interface ConvOptions {
  readonly stride?: number;
  /** Zeros around the image; `(size - 1) / 2` on every side unless given. */
  readonly padding?: Padding;
  /** (N, cOut, 1, 1), added to every pixel of its image. */
  readonly timeBias?: Tensor | null;
  /** Added before `scale`; same shape as the output. */
  readonly residual?: Tensor | null;
  readonly scale?: number;
  /** Of the result. */
  readonly activation?: Activation | null;
}

/** out = activation(scale * (conv(x) + bias + timeBias + residual)). x (N, cIn, H, W) -> (N, cOut, H', W'). shaders/conv2d.wgsl */
export function conv2d(
  tape: Tape,
  label: string,
  x: Tensor,
  w: ConvWeights,
  options: ConvOptions = {},
): Tensor {
  const { stride = 1, timeBias = null, residual = null, scale = 1, activation = null } = options;
  const around = (w.size - 1) / 2;
  const { top, left, bottom, right } = options.padding ?? {
    top: around,
    left: around,
    bottom: around,
    right: around,
  };
  const [n, , hIn, wIn] = x.shape;
  expect(label, x, [n, w.cIn, hIn, wIn]);
  const h = Math.floor((hIn + top + bottom - w.size) / stride) + 1;
  const width = Math.floor((wIn + left + right - w.size) / stride) + 1;
  const shape: Shape = [n, w.cOut, h, width];
  if (timeBias) expect(label, timeBias, [n, w.cOut, 1, 1]);
  if (residual) expect(label, residual, shape);
  const out = tape.temp(label, shape, x.dtype);
  const plain = w.size === 1 && stride === 1 && h === hIn && width === wIn;
  const tiles = Math.ceil((h * width) / 16);
  const groups = Math.ceil(blocks(w.cOut) / 4);
  tape.record({
    label,
    shader: { name: 'conv2d', code: (activation ? activationCode : '') + code },
    dtype: x.dtype,
    defines: {
      PLAIN: plain,
      STACKED: false,
      BIAS: true,
      TIME_BIAS: timeBias !== null,
      RESIDUAL: residual !== null,
      ...activationDefines(activation),
    },
    constants: {
      N: n,
      CI_BLOCKS: blocks(w.cIn),
      CO_BLOCKS: blocks(w.cOut),
      H_IN: hIn,
      W_IN: wIn,
      W_OUT: width,
      K: w.size,
      STRIDE: stride,
      TOP: top,
      LEFT: left,
      SCALE: scale,
      PIXELS_IN: hIn * wIn,
      PIXELS: h * width,
      TILES: tiles,
      GROUPS: groups,
      STORES: 16,
    },
    bindings: [out, x, w.weight, w.bias, timeBias, residual],
    threads: n * groups * tiles * 4,
    workgroupSize: 32,
    flops: 2 * n * w.cOut * h * width * w.cIn * w.size ** 2,
  });
  return out;
}

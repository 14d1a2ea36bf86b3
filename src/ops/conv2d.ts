import code from '../../shaders/conv2d.wgsl?raw';
import sumCode from '../../shaders/conv2d_sum.wgsl?raw';
import epilogueCode from '../../shaders/lib/epilogue.wgsl?raw';
import tiledCode from '../../shaders/conv2d_tiled.wgsl?raw';
import inputCode from '../../shaders/winograd_input.wgsl?raw';
import outputCode from '../../shaders/winograd_output.wgsl?raw';
import weightsCode from '../../shaders/winograd_weights.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type Shape, type Tensor } from '../tensor.ts';
import { activationCode, activationDefines, type Activation } from './activation.ts';
import { expect, partOf, WORKGROUP } from './launch.ts';
import { upsampleNearest } from './upsample_nearest.ts';
import { sumSteps } from './variants.ts';

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
  /** x is first upsampled by two, every pixel repeated. */
  readonly upsampled?: boolean;
  /** (N, cOut, 1, 1) or a slice, added to every pixel of its image. */
  readonly timeBias?: Tensor | null;
  /** Added before `scale`; same shape as the output. */
  readonly residual?: Tensor | null;
  readonly scale?: number;
  /** More channels, behind those of x: of 1x1 kernels only, and in whole blocks of four. */
  readonly joined?: Tensor | null;
  /** Of the result. */
  readonly activation?: Activation | null;
}

/** Bytes of one temporary of Winograd's convolution; a batch that needs more is done in parts. */
const PART = 2 ** 25;

/**
 * out = activation(scale * (conv(x) + bias + timeBias + residual)). x (N, cIn, H, W) -> (N, cOut, H', W').
 * shaders/conv2d.wgsl, conv2d_tiled.wgsl or winograd_*.wgsl: the tape chooses, by the shape of one image.
 */
export function conv2d(
  tape: Tape,
  label: string,
  x: Tensor,
  w: ConvWeights,
  options: ConvOptions = {},
): Tensor {
  const { stride = 1, timeBias = null, residual = null, upsampled = false } = options;
  const around = (w.size - 1) / 2;
  const even = { top: around, left: around, bottom: around, right: around };
  const padding = options.padding ?? even;
  const [n, , hSmall, wSmall] = x.shape;
  const { joined = null } = options;
  const more = joined?.shape[1] ?? 0;
  expect(label, x, [n, w.cIn - more, hSmall, wSmall]);
  if (joined) expect(label, joined, [n, more, hSmall, wSmall]);
  if (joined && (w.size > 1 || stride > 1 || x.shape[1] % 4))
    throw new Error(`${label}: ${joined.label} cannot be joined to ${x.label} here`);
  const zoom = upsampled ? 2 : 1;
  const [hIn, wIn] = [hSmall * zoom, wSmall * zoom];
  const h = Math.floor((hIn + padding.top + padding.bottom - w.size) / stride) + 1;
  const width = Math.floor((wIn + padding.left + padding.right - w.size) / stride) + 1;
  const shape: Shape = [n, w.cOut, h, width];
  if (timeBias) expect(label, timeBias, [n, w.cOut, 1, 1], { slice: true });
  if (residual) expect(label, residual, shape);
  const tileable = w.size === 3 && stride === 1 && Object.values(padding).every((p) => p === 1);
  const variant = tape.variants.conv({ cIn: w.cIn, cOut: w.cOut, size: w.size, stride, h, w: width });
  if (variant === 'winograd' && tileable) return winograd(tape, label, x, w, shape, options);
  if (variant.startsWith('tiled') && !joined)
    return tiled(tape, label, x, w, shape, padding, options, TILES[variant as keyof typeof TILES]);
  const image = upsampled ? upsampleNearest(tape, `${label}.upsampled`, x) : x;
  return direct(tape, label, image, w, shape, padding, options);
}

const extras = ({ timeBias = null, residual = null, activation = null }: ConvOptions) => ({
  defines: { TIME_BIAS: timeBias !== null, RESIDUAL: residual !== null, ...activationDefines(activation) },
  text: activation ? activationCode : '',
  bindings: [timeBias, residual],
});

function direct(
  tape: Tape,
  label: string,
  x: Tensor,
  w: ConvWeights,
  shape: Shape,
  { top, left }: Padding,
  options: ConvOptions,
): Tensor {
  const [n, , hIn, wIn] = x.shape;
  const [, , h, width] = shape;
  const { stride = 1, scale = 1, joined = null } = options;
  const out = tape.temp(label, shape, x.dtype);
  const { defines, text, bindings } = extras(options);
  tape.record({
    label,
    shader: { name: 'conv2d', code: text + epilogueCode + code },
    dtype: x.dtype,
    defines: {
      PLAIN: w.size === 1 && stride === 1 && h === hIn && width === wIn,
      STACKED: false,
      BIAS: true,
      JOINED: joined !== null,
      ...defines,
    },
    constants: {
      ...product(n, w.cIn, w.cOut, h * width),
      H_IN: hIn,
      W_IN: wIn,
      W_OUT: width,
      K: w.size,
      STRIDE: stride,
      TOP: top,
      LEFT: left,
      SCALE: scale,
      PIXELS_IN: hIn * wIn,
      A_BLOCKS: blocks(x.shape[1]),
      ...partOf(options.timeBias ?? null, 'TIME'),
    },
    bindings: [out, x, w.weight, w.bias, ...bindings, joined],
    ...grid(n, w.cOut, h * width),
    flops: 2 * n * w.cOut * h * width * w.cIn * w.size ** 2,
  });
  return out;
}

const product = (n: number, cIn: number, cOut: number, pixels: number) => ({
  N: n,
  CI_BLOCKS: blocks(cIn),
  CO_BLOCKS: blocks(cOut),
  PIXELS: pixels,
  TILES: Math.ceil(pixels / 16),
  GROUPS: Math.ceil(blocks(cOut) / 4),
  STORES: 16,
  SKIP: 0,
});

const grid = (n: number, cOut: number, pixels: number) => ({
  threads: n * Math.ceil(blocks(cOut) / 4) * Math.ceil(pixels / 16) * 4,
  workgroupSize: 32,
});

/** Pixels and blocks of output channels of a workgroup, and invocations along the pixels; each has 4 or 8 pixels, 1 or 2 blocks. */
const TILES = {
  'tiled-16': { ROWS: 16, COLUMNS: 16, THREADS: 4 },
  'tiled-16/4': { ROWS: 16, COLUMNS: 16, THREADS: 4, parts: 4 },
  'tiled-16/16': { ROWS: 16, COLUMNS: 16, THREADS: 4, parts: 16 },
  'tiled-32': { ROWS: 32, COLUMNS: 16, THREADS: 8 },
  'tiled-64': { ROWS: 64, COLUMNS: 16, THREADS: 8 },
} as const satisfies Record<string, Tile>;

interface Tile {
  readonly ROWS: number;
  readonly COLUMNS: number;
  readonly THREADS: number;
  /** Workgroups that share a sum (split K); 1 unless given. */
  readonly parts?: number;
}

/** A product of matrices in workgroup memory. */
function tiled(
  tape: Tape,
  label: string,
  x: Tensor,
  w: ConvWeights,
  shape: Shape,
  { top, left }: Padding,
  options: ConvOptions,
  { parts: most = 1, ...tile }: Tile,
): Tensor {
  const [n, , hSmall, wSmall] = x.shape;
  const [, , h, width] = shape;
  const { stride = 1, scale = 1, upsampled = false } = options;
  const zoom = upsampled ? 2 : 1;
  const out = tape.temp(label, shape, x.dtype);
  const { defines, text, bindings } = extras(options);
  const { ROWS, COLUMNS, THREADS } = tile;
  const tiles = Math.ceil((n * h * width) / ROWS);
  const parts = Math.min(most, sumSteps(w));
  const split = parts > 1;
  const partial = split ? tape.temp(`${label}.parts`, [parts * n, w.cOut, h, width], 'f32') : null;
  const time = partOf(options.timeBias ?? null, 'TIME');
  tape.record({
    label: split ? `${label}.parts` : label,
    shader: { name: 'conv2d_tiled', code: split ? tiledCode : text + epilogueCode + tiledCode },
    dtype: x.dtype,
    defines: {
      ...tile,
      TALL: ROWS / THREADS === 8,
      WIDE: (COLUMNS * THREADS) / WORKGROUP === 2,
      UPSAMPLED: upsampled,
      SPLIT: split,
      BIAS: true,
      ...(split ? extras({}).defines : defines),
    },
    constants: {
      N: n,
      CI_BLOCKS: blocks(w.cIn),
      CO_BLOCKS: blocks(w.cOut),
      H_IN: hSmall * zoom,
      W_IN: wSmall * zoom,
      W_OUT: width,
      K: w.size,
      STRIDE: stride,
      TOP: top,
      LEFT: left,
      SCALE: scale,
      PIXELS: h * width,
      TILES: tiles,
      PARTS: parts,
      SKIP: 0,
      ...time,
    },
    bindings: partial ? [partial, x, w.weight] : [out, x, w.weight, w.bias, ...bindings],
    threads: tiles * parts * Math.ceil(blocks(w.cOut) / COLUMNS) * WORKGROUP,
    workgroupSize: WORKGROUP,
    flops: 2 * n * w.cOut * h * width * w.cIn * w.size ** 2,
  });
  if (partial)
    tape.record({
      label,
      shader: { name: 'conv2d_sum', code: text + epilogueCode + sumCode },
      dtype: x.dtype,
      defines: { BIAS: true, ...defines },
      constants: {
        N: n,
        CO_BLOCKS: blocks(w.cOut),
        PIXELS: h * width,
        PARTS: parts,
        SCALE: scale,
        ...time,
      },
      bindings: [out, partial, null, w.bias, ...bindings],
      threads: n * blocks(w.cOut) * h * width,
      workgroupSize: WORKGROUP,
    });
  return out;
}

/** F(4x4, 3x3): 36 products of matrices instead of 144 multiplications for every sixteen pixels. */
function winograd(
  tape: Tape,
  label: string,
  x: Tensor,
  w: ConvWeights,
  shape: Shape,
  options: ConvOptions,
): Tensor {
  const [n, , h, width] = shape;
  const { scale = 1, upsampled = false } = options;
  const [ciBlocks, coBlocks] = [blocks(w.cIn), blocks(w.cOut)];
  const weights = tape.prepared(`${label}.winograd`, [36, coBlocks, ciBlocks, 16], (made) => ({
    label: `${label}.winograd`,
    shader: { name: 'winograd_weights', code: weightsCode },
    dtype: x.dtype,
    constants: { CI_BLOCKS: ciBlocks, CO_BLOCKS: coBlocks },
    bindings: [made, w.weight],
    threads: coBlocks * ciBlocks * 4,
    workgroupSize: WORKGROUP,
  }));
  const out = tape.temp(label, shape, x.dtype);
  const { defines, text, bindings } = extras(options);
  const tilesX = Math.ceil(width / 4);
  const image = tilesX * Math.ceil(h / 4);
  const part = Math.max(1, Math.floor(PART / (image * 36 * 16 * Math.max(ciBlocks, coBlocks))));
  for (let first = 0; first < n; first += part) {
    const count = Math.min(part, n - first);
    const tiles = image * count;
    const common = { H: h, W: width, TILES_X: tilesX, TILES_IMAGE: image, TILES: tiles, FIRST: first };
    const patches = tape.temp(`${label}.patches`, [36, w.cIn, 1, tiles], 'f32');
    tape.record({
      label: `${label}.patches`,
      shader: { name: 'winograd_input', code: inputCode },
      dtype: x.dtype,
      defines: { UPSAMPLED: upsampled },
      constants: { C_BLOCKS: ciBlocks, ...common },
      bindings: [patches, x],
      threads: ciBlocks * tiles,
      workgroupSize: WORKGROUP,
    });
    const products = tape.temp(`${label}.products`, [36, w.cOut, 1, tiles], 'f32');
    tape.record({
      label: `${label}.products`,
      shader: { name: 'conv2d', code: epilogueCode + code },
      dtype: 'f32',
      defines: { PLAIN: true, STACKED: true, BIAS: false, JOINED: false, ...extras({}).defines },
      constants: {
        ...product(36, w.cIn, w.cOut, tiles),
        H_IN: 1,
        W_IN: tiles,
        W_OUT: tiles,
        K: 1,
        STRIDE: 1,
        TOP: 0,
        LEFT: 0,
        SCALE: 1,
        PIXELS_IN: tiles,
        A_BLOCKS: 0,
        ...partOf(null, 'TIME'),
      },
      bindings: [products, patches, weights],
      ...grid(36, w.cOut, tiles),
      flops: 2 * count * w.cOut * h * width * w.cIn * 9, // as the direct way counts
      weight: 0.5,
    });
    tape.record({
      label,
      shader: { name: 'winograd_output', code: text + outputCode },
      dtype: x.dtype,
      defines,
      constants: { C_BLOCKS: coBlocks, ...common, SCALE: scale, ...partOf(options.timeBias ?? null, 'TIME') },
      bindings: [out, products, null, w.bias, ...bindings],
      threads: coBlocks * tiles,
      workgroupSize: WORKGROUP,
    });
  }
  return out;
}

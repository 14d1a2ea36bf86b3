import sumCode from '../../../shaders/conv2d_sum.wgsl?raw';
import code from '../../../shaders/conv2d_tiled.wgsl?raw';
import { blocks, type Tensor } from '../../core/tensor.ts';
import {
  convFlops,
  epilogue,
  noEpilogue,
  type ConvKernel,
  type ConvLaunch,
  type ConvWeights,
} from './conv_launch.ts';
import type { Defines } from '../gpu/shader.ts';
import type { ConvShape, NetworkRecorder } from './kernel_policy.ts';
import { WORKGROUP } from './launch.ts';

/** A tile of the output that a workgroup computes. */
interface Tile {
  /** Pixels. */
  readonly rows: number;
  /** Blocks of output channels. */
  readonly columns: number;
  /** Invocations along the pixels. Each computes 4 or 8 pixels of 1 or 2 blocks. */
  readonly threads: number;
  /** Workgroups that share a sum (split K). */
  readonly splitK: number;
}

/** Workgroups for one image. */
const workgroups = ({ cOut, h, w }: ConvShape, { rows, columns }: Tile): number =>
  Math.ceil((h * w) / rows) * Math.ceil(blocks(cOut) / columns);

/** Workgroups that keep a GPU busy: a guess. */
const BUSY = 64;

/** Steps of the sum: four blocks of input channels at one kernel position. */
const sumSteps = ({ cIn, size }: Pick<ConvWeights, 'cIn' | 'size'>): number =>
  Math.ceil(blocks(cIn) / 4) * size ** 2;

/** Whether even the smallest tiles leave a GPU idle, and the sum is long enough to be split. */
const splits = (shape: ConvShape, tile: Tile): boolean =>
  workgroups(shape, tile) < BUSY && sumSteps(shape) >= 4 * tile.splitK;

/**
 * A product of matrices in workgroup memory (implicit GEMM), for GPUs. `tiled-R/P`: tiles of R pixels, with the sum of each
 * split in P parts. shaders/conv2d_tiled.wgsl, and for split sums conv2d_sum.wgsl.
 */
function tiledKernel(tile: Tile, rule: (shape: ConvShape) => boolean): ConvKernel {
  return {
    name: `tiled-${tile.rows}${tile.splitK > 1 ? `/${tile.splitK}` : ''}`,
    takes: (shape, { isSoftware }) => !isSoftware && (tile.splitK === 1 || splits(shape, tile)),
    // Few channels fill no tile.
    preferred: (shape, { isSoftware }) => !isSoftware && Math.min(shape.cIn, shape.cOut) >= 16 && rule(shape),
    canRecord: ({ options }) => !options.concatWith,
    record: (recorder, launch) => record(recorder, launch, tile),
  };
}

const TILE_64: Tile = { rows: 64, columns: 16, threads: 8, splitK: 1 };
const TILE_32: Tile = { rows: 32, columns: 16, threads: 8, splitK: 1 };
const TILE_16: Tile = { rows: 16, columns: 16, threads: 4, splitK: 1 };
const SPLIT_4: Tile = { ...TILE_16, splitK: 4 };
const SPLIT_16: Tile = { ...TILE_16, splitK: 16 };

/** The largest tile that still keeps a GPU busy; of the smallest one, as many parts as that takes. */
export const tiled: readonly ConvKernel[] = [
  tiledKernel(TILE_64, (shape) => workgroups(shape, TILE_64) >= BUSY),
  tiledKernel(TILE_32, (shape) => workgroups(shape, TILE_32) >= BUSY),
  tiledKernel(SPLIT_16, (shape) => workgroups(shape, TILE_16) * 4 < BUSY && splits(shape, SPLIT_16)),
  tiledKernel(SPLIT_4, (shape) => splits(shape, SPLIT_4)),
  tiledKernel(TILE_16, () => true),
];

function record(recorder: NetworkRecorder, launch: ConvLaunch, tile: Tile): Tensor {
  const { label, x, weights: w, shape, options } = launch;
  const out = recorder.transient(label, shape, x.dtype);
  const parts = Math.min(tile.splitK, sumSteps(w));
  const end = epilogue(w, options);
  if (parts === 1) {
    recordTiles(recorder, launch, tile, { ...end, bindings: { output: out, ...end.bindings } }, 1);
    return out;
  }
  const [n, , h, width] = shape;
  const partial = recorder.transient(`${label}.parts`, [parts * n, w.cOut, h, width], 'f32');
  recordTiles(
    recorder,
    { ...launch, label: `${label}.parts` },
    tile,
    { ...noEpilogue, uniforms: end.uniforms, bindings: { partial } },
    parts,
  );
  recorder.record({
    label,
    shader: { name: 'conv2d_sum', code: sumCode },
    dtype: x.dtype,
    defines: end.defines,
    uniforms: {
      n,
      out_cblocks: blocks(w.cOut),
      pixels: h * width,
      split_k: parts,
      ...end.uniforms,
    },
    bindings: { output: out, partial, ...end.bindings },
    invocations: n * blocks(w.cOut) * h * width,
    workgroupSize: WORKGROUP,
  });
  return out;
}

/** What follows the sums of a tile. */
type End = Pick<ReturnType<typeof epilogue>, 'uniforms'> & {
  readonly defines: Defines;
  readonly bindings: Readonly<Record<string, Tensor | ConvWeights['bias'] | null>>;
};

function recordTiles(
  recorder: NetworkRecorder,
  { label, x, weights: w, shape, padding, options }: ConvLaunch,
  { rows, columns, threads }: Tile,
  end: End,
  parts: number,
): void {
  const [n, , hSmall, wSmall] = x.shape;
  const [, , h, width] = shape;
  const { stride = 1, upsampled = false } = options;
  const zoom = upsampled ? 2 : 1;
  const tiles = Math.ceil((n * h * width) / rows);
  recorder.record({
    label,
    shader: { name: 'conv2d_tiled', code },
    dtype: x.dtype,
    defines: {
      ROWS: rows,
      COLUMNS: columns,
      THREADS: threads,
      ROWS_8: rows / threads === 8,
      CBLOCKS_2: (columns * threads) / WORKGROUP === 2,
      UPSAMPLED: upsampled,
      SPLIT_K: parts > 1,
      ...end.defines,
    },
    uniforms: {
      n,
      in_cblocks: blocks(w.cIn),
      out_cblocks: blocks(w.cOut),
      h_in: hSmall * zoom,
      w_in: wSmall * zoom,
      w_out: width,
      kernel_size: w.size,
      stride,
      pad_top: padding.top,
      pad_left: padding.left,
      pixels: h * width,
      tiles,
      split_k: parts,
      workgroup_offset: 0,
      ...end.uniforms,
    },
    bindings: { input: x, weight: w.weight, ...end.bindings },
    invocations: tiles * parts * Math.ceil(blocks(w.cOut) / columns) * WORKGROUP,
    workgroupSize: WORKGROUP,
    flops: convFlops(w, shape),
  });
}

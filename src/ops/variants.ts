/** How a network is computed: by adapter and by the shape of one image, never by the batch. */

import type { Gpu } from '../gpu/device.ts';
import { PLAIN, type ConvShape, type Variants } from '../gpu/tape.ts';
import { blocks } from '../tensor.ts';

/**
 * What Winograd's convolution can do, and may take: its weights, 144 cIn cOut bytes that stay, at most 9 MiB a layer (a
 * deep network has most of its weights where it has the fewest pixels, and would double in memory).
 */
export const takesWinograd = ({ cIn, cOut, size, stride, h, w }: ConvShape): boolean =>
  size === 3 && stride === 1 && h * w * Math.max(cIn, cOut) <= 2 ** 22 && cIn * cOut <= 2 ** 16;

/**
 * For software adapters, measured on llvmpipe and SwiftShader (docs/decisions/003-winograd.md): Winograd's passes over memory pay from 24
 * channels and 16 tiles of 4 x 4 pixels on (below, a row of 16 products is not full).
 */
export const softwareTable: Variants['conv'] = (shape) => {
  const tiles = Math.ceil(shape.h / 4) * Math.ceil(shape.w / 4);
  const pays = Math.min(shape.cIn, shape.cOut) >= 24 && tiles >= 16;
  return pays && takesWinograd(shape) ? 'winograd' : 'direct';
};

/** Workgroups of the tiled convolution with so many rows. */
const groups = ({ cOut, h, w }: ConvShape, rows: number): number =>
  Math.ceil((h * w) / rows) * Math.ceil(blocks(cOut) / 16);

/** Workgroups that a GPU needs to be busy: a guess. */
const BUSY = 64;

/** Steps of the tiled convolution's sum: four blocks of input channels at one kernel position. */
export const sumSteps = ({ cIn, size }: Pick<ConvShape, 'cIn' | 'size'>): number =>
  Math.ceil(blocks(cIn) / 4) * size ** 2;

/** Whether even the smallest tiles leave a GPU idle, and the sum is long enough to be shared. */
export const takesSplit = (shape: ConvShape, parts: number): boolean =>
  groups(shape, 16) < BUSY && sumSteps(shape) >= 4 * parts;

/**
 * For GPUs that were not measured: the largest tile that still gives 64 workgroups, of the smallest one as many parts as
 * that takes; few channels fill none.
 */
export const hardwareTable: Variants['conv'] = (shape) => {
  if (Math.min(shape.cIn, shape.cOut) < 16) return 'direct';
  if (groups(shape, 64) >= BUSY) return 'tiled-64';
  if (groups(shape, 32) >= BUSY) return 'tiled-32';
  if (groups(shape, 16) * 4 < BUSY && takesSplit(shape, 16)) return 'tiled-16/16';
  return takesSplit(shape, 4) ? 'tiled-16/4' : 'tiled-16';
};

/**
 * On a software adapter a barrier costs as much as thousands of multiply-adds, unless the workgroup is one subgroup,
 * which needs none.
 */
export const variantsFor = ({ isSoftware, subgroup }: Pick<Gpu, 'isSoftware' | 'subgroup'>): Variants =>
  isSoftware
    ? { conv: softwareTable, lanes: subgroup, alone: true, most: 3.5e8 }
    : { ...PLAIN, conv: hardwareTable };

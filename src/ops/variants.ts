/** How a network is computed: by adapter and by the shape of one image, never by the batch. */

import type { Gpu } from '../gpu/device.ts';
import { PLAIN, type ConvShape, type Variants } from '../gpu/tape.ts';
import { blocks } from '../tensor.ts';

/**
 * What Winograd's convolution can do, and may take: its weights, 64 cIn cOut bytes that stay, at most 8 MiB a layer (a
 * deep network has most of its weights where it has the fewest pixels, and would double in memory).
 */
export const takesWinograd = ({ cIn, cOut, size, stride, h, w }: ConvShape): boolean =>
  size === 3 && stride === 1 && h * w * Math.max(cIn, cOut) <= 2 ** 22 && cIn * cOut <= 2 ** 17;

/**
 * For software adapters, measured on llvmpipe and SwiftShader (docs/engine.md): Winograd's passes over memory pay from 128
 * channels and 16 tiles of 2 x 2 pixels on, or 64 and 128 (below, it is no faster, and has more to compile).
 */
export const softwareTable: Variants['conv'] = (shape) => {
  const channels = Math.min(shape.cIn, shape.cOut);
  const tiles = Math.ceil(shape.h / 2) * Math.ceil(shape.w / 2);
  const pays = channels >= 128 ? tiles >= 16 : channels >= 64 && tiles >= 128;
  return pays && takesWinograd(shape) ? 'winograd' : 'direct';
};

/** For GPUs that were not measured: the largest tile that still gives 64 workgroups; few channels fill none. */
export const hardwareTable: Variants['conv'] = ({ cIn, cOut, h, w }) => {
  if (Math.min(cIn, cOut) < 16) return 'direct';
  const groups = (rows: number): number => Math.ceil((h * w) / rows) * Math.ceil(blocks(cOut) / 16);
  if (groups(64) >= 64) return 'tiled-64';
  return groups(32) >= 64 ? 'tiled-32' : 'tiled-16';
};

/**
 * On a software adapter a barrier costs as much as thousands of multiply-adds, unless the workgroup is one subgroup,
 * which needs none.
 */
export const variantsFor = ({ isSoftware, subgroup }: Pick<Gpu, 'isSoftware' | 'subgroup'>): Variants =>
  isSoftware ? { conv: softwareTable, lanes: subgroup, alone: true } : { ...PLAIN, conv: hardwareTable };

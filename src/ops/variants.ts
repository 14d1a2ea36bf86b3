/** How a network is computed: by adapter and by the shape of one image, never by the batch. */

import type { Gpu } from '../gpu/device.ts';
import { PLAIN, type Variants } from '../gpu/tape.ts';

/**
 * For software adapters, measured on llvmpipe and SwiftShader (docs/engine.md). Winograd's passes over memory pay
 * from 32 channels on; its quads take 16 tiles of 2 x 2 pixels. Its weights, 64 cIn cOut bytes that stay, may take 8 MiB
 * a layer: a deep network has most of its weights where it has the fewest pixels, and would double in memory.
 */
export const softwareTable: Variants['conv'] = ({ cIn, cOut, size, stride, h, w }) =>
  size === 3 &&
  stride === 1 &&
  Math.min(cIn, cOut) >= 32 &&
  Math.ceil(h / 2) * Math.ceil(w / 2) >= 16 &&
  h * w * Math.max(cIn, cOut) <= 2 ** 22 &&
  cIn * cOut <= 2 ** 17
    ? 'winograd'
    : 'direct';

/**
 * On a software adapter a barrier costs as much as thousands of multiply-adds, unless the workgroup is one subgroup,
 * which needs none.
 */
export const variantsFor = ({ isSoftware, subgroup }: Pick<Gpu, 'isSoftware' | 'subgroup'>): Variants =>
  isSoftware ? { conv: softwareTable, lanes: subgroup, alone: true } : PLAIN;

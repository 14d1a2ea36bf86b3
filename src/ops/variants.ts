/** Which way a convolution is computed: by adapter and by the shape of one image, never by the batch. */

import type { Choose } from '../gpu/tape.ts';

/**
 * For software adapters, measured on llvmpipe and SwiftShader (docs/engine.md). Winograd's passes over memory pay
 * from 32 channels on; its quads take 16 tiles of 2 x 2 pixels. Its weights, 64 cIn cOut bytes that stay, may take 8 MiB
 * a layer: a deep network has most of its weights where it has the fewest pixels, and would double in memory.
 */
export const softwareTable: Choose = ({ cIn, cOut, size, stride, h, w }) =>
  size === 3 &&
  stride === 1 &&
  Math.min(cIn, cOut) >= 32 &&
  Math.ceil(h / 2) * Math.ceil(w / 2) >= 16 &&
  h * w * Math.max(cIn, cOut) <= 2 ** 22 &&
  cIn * cOut <= 2 ** 17
    ? 'winograd'
    : 'direct';

export const chooseFor = ({ isSoftware }: { readonly isSoftware: boolean }): Choose =>
  isSoftware ? softwareTable : () => 'direct';

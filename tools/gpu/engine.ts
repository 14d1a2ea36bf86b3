/** All that tools/gpu takes of the engine itself: its modules may move, and only this file follows. */

export { DiffusionError } from '../../src/errors.ts';
export { openGpu, type Gpu } from '../../src/gpu/device.ts';
export {
  PLAIN,
  run,
  Tape,
  type ConvShape,
  type ConvVariant,
  type Recording,
} from '../../src/gpu/tape.ts';
export { readBuffer } from '../../src/gpu/transfer.ts';
export { convShapes } from '../../src/memory.ts';
export { conv2d, type ConvWeights } from '../../src/ops/conv2d.ts';
export { toDType } from '../../src/ops/packing.ts';
export { shapeKey } from '../../src/ops/tune.ts';
export { variantsFor } from '../../src/ops/variants.ts';
export { blocks, type DType } from '../../src/tensor.ts';
export { parseUNetConfig } from '../../src/unet/config.ts';
export { diskFiles } from '../../src/cli/files.ts';
export { f16ToF32 } from '../../src/weights/half.ts';
export { httpFiles, type ModelFiles } from '../../src/weights/files.ts';

/** All that tools/gpu takes of the engine itself: its modules may move, and only this file follows. */

export { diskFiles } from '../../src/cli/files.ts';
export { FORCED_ADAPTER, openGpu, type Gpu } from '../../src/gpu/device.ts';
export { type ConvShape, type ConvVariant } from '../../src/gpu/tape.ts';
export { convShapes } from '../../src/memory.ts';
export { candidate, shapeKey, Trials } from '../../src/ops/tune.ts';
export { variantsFor } from '../../src/ops/variants.ts';
export { type DType } from '../../src/tensor.ts';
export { httpFiles } from '../../src/weights/files.ts';

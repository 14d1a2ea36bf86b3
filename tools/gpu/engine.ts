/** All that tools/gpu takes of the engine itself: its modules may move, and only this file follows. */

export { diskFiles } from '../../src/cli/files.ts';
export { FORCED_ADAPTER, openGpu, type Gpu } from '../../src/gpu/device.ts';
export { convShapes } from '../../src/memory.ts';
export { kernelPolicyFor } from '../../src/ops/conv_variants.ts';
export { convShapeKey, type ConvShape, type ConvVariant } from '../../src/ops/kernel_policy.ts';
export { candidate, Trials } from '../../src/ops/tune.ts';
export { type DType } from '../../src/tensor.ts';
export { httpFiles } from '../../src/weights/files.ts';

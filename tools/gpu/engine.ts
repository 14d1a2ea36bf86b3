/** All that tools/gpu takes of the engine itself: its modules may move, and only this file follows. */

export { diskFiles } from '../../src/apps/cli/files.ts';
export { FORCED_ADAPTER, openGpu, type Gpu } from '../../src/engine/gpu/device.ts';
export { convShapes } from '../../src/engine/memory.ts';
export { kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
export { convShapeKey, type ConvShape, type ConvVariant } from '../../src/engine/kernels/kernel_policy.ts';
export { candidate, Trials } from '../../src/engine/kernels/tune.ts';
export { type DType } from '../../src/core/tensor.ts';
export { httpFiles } from '../../src/loading/http_files.ts';

/**
 * The registry of convolution variants. A new one is a file that exports a `ConvKernel`, and its line here. The tuner, the
 * rule for adapters that are not measured, and the tests read the registry.
 */

import type { Gpu } from '../gpu/device.ts';
import type { ConvKernel } from './conv_launch.ts';
import { direct } from './conv2d_direct.ts';
import { tiled } from './conv2d_tiled.ts';
import { winograd } from './conv2d_winograd.ts';
import { DEFAULT_KERNELS, type ConvShape, type ConvVariant, type KernelPolicy } from './kernel_policy.ts';

/** In the order of preference of the rule. `direct` is last: it takes everything, and the others must agree with it. */
export const CONV_KERNELS: readonly ConvKernel[] = [winograd, ...tiled, direct];

export const CONV_VARIANTS: readonly ConvVariant[] = CONV_KERNELS.map(({ name }) => name);

/** @throws Error for a name that is not registered */
export function convKernel(name: ConvVariant): ConvKernel {
  const kernel = CONV_KERNELS.find((k) => k.name === name);
  if (!kernel) throw new Error(`there is no convolution variant ${name}`);
  return kernel;
}

/** The variants that the tuner measures for a shape; the direct one, which the others must agree with, first. */
export const candidateKernels = (shape: ConvShape, adapter: Pick<Gpu, 'isSoftware'>): ConvKernel[] => [
  direct,
  ...CONV_KERNELS.filter((kernel) => kernel !== direct && kernel.takes(shape, adapter)),
];

/** The rule for an adapter that is not measured. */
export function kernelPolicyFor(adapter: Pick<Gpu, 'isSoftware' | 'subgroup'>): KernelPolicy {
  const conv = (shape: ConvShape): ConvVariant =>
    CONV_KERNELS.find((kernel) => kernel.preferred(shape, adapter))!.name;
  if (!adapter.isSoftware) return { ...DEFAULT_KERNELS, conv };
  // On a software adapter a barrier costs as much as thousands of multiply-adds, unless the workgroup is one subgroup,
  // which needs none.
  return { conv, workgroupSize: adapter.subgroup, barrierFree: true, maxFlopsPerDispatch: 3.5e8 };
}

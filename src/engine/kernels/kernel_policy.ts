/** How the layers of a network are computed: chosen by adapter and by the shape of one image, never by the batch. */

import { GraphRecorder } from '../gpu/recorder.ts';

/** A convolution of one image: what its variant may depend on. (Not the batch, so that batches equal singles.) */
export interface ConvShape {
  readonly cIn: number;
  readonly cOut: number;
  /** Side of the square kernel. */
  readonly size: number;
  readonly stride: number;
  /** Of the output. */
  readonly h: number;
  readonly w: number;
}

export const convShapeKey = ({ cIn, cOut, size, stride, h, w }: ConvShape): string =>
  `${cIn}-${cOut} ${size}/${stride} ${h}x${w}`;

/** Name of a registered variant (conv_variants.ts). */
export type ConvVariant = string;

export interface KernelPolicy {
  /** Chooses the variant of a convolution. */
  conv(this: void, shape: ConvShape): ConvVariant;
  /** Invocations of a workgroup that synchronises with barriers: 4, 8, ... 64. */
  readonly workgroupSize: number;
  /** Attention without barriers: one invocation for four queries, not one workgroup. */
  readonly barrierFree: boolean;
  /** Larger dispatches are split, so that none keeps the GPU for long. FLOPs count by their cost factor. */
  readonly maxFlopsPerDispatch: number;
}

/** Kernels that run on every adapter, tuned to none. */
export const DEFAULT_KERNELS: KernelPolicy = {
  conv: () => 'direct',
  workgroupSize: 64,
  barrierFree: false,
  maxFlopsPerDispatch: 2e10,
};

/** Kernels with the fewest demands on a driver: no barriers and no workgroup memory but in the norms. */
export const FALLBACK_KERNELS: KernelPolicy = { ...DEFAULT_KERNELS, barrierFree: true };

/** Records the layers of a network by a policy. */
export class NetworkRecorder extends GraphRecorder {
  readonly policy: KernelPolicy;

  constructor(policy: KernelPolicy = DEFAULT_KERNELS) {
    super(policy.maxFlopsPerDispatch);
    this.policy = policy;
  }
}

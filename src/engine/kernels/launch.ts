/** What the launchers share: shape checks with names, and the size of workgroups. */

import { blocks, sameShape, showShape, type Layout, type Shape, type Tensor } from '../../core/tensor.ts';

/** Invocations of a workgroup of every kernel here; a power of two, within every adapter's limits. */
export const WORKGROUP = 64;

/**
 * Checks the shape and layout of a tensor.
 * @param allowed slice: whether the kernel can read some channels of a larger tensor
 * @throws Error that names the launch, the tensor, and both shapes
 */
export function assertShape(
  launch: string,
  tensor: Tensor,
  shape: Shape,
  { layout = 'c4', slice = false }: { readonly layout?: Layout; readonly slice?: boolean } = {},
): void {
  if (!sameShape(tensor.shape, shape) || tensor.layout !== layout || (tensor.slice && !slice))
    throw new Error(
      `${launch}: ${tensor.label} should be ${layout} ${showShape(shape)}, but is ${tensor.slice ? 'a slice, ' : ''}${tensor.layout} ${showShape(tensor.shape)}`,
    );
}

/** The place of a tensor that may be a slice: its first block, and the blocks per image; zeros for null. */
export function sliceUniforms(tensor: Tensor | null, name: string): Record<string, number> {
  const whole = { firstBlock: 0, blocks: tensor ? blocks(tensor.shape[1]) : 0 };
  const { firstBlock, blocks: perImage } = tensor?.slice ?? whole;
  return { [`${name}_offset`]: firstBlock, [`${name}_stride`]: perImage };
}

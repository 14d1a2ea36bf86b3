/** What the launchers share: shape checks with names, and the sizes of workgroups. */

import { blocks, sameShape, showShape, type Layout, type Shape, type Tensor } from '../tensor.ts';

/** Invocations of a workgroup of every kernel here; a power of two, within every adapter's limits. */
export const WORKGROUP = 64;

/**
 * Throws when a tensor is not what the launch needs: names the launch, the tensor, what was expected and what came.
 * @param allowed slice: the kernel reads some channels of a larger tensor, too
 */
export function expect(
  launch: string,
  tensor: Tensor,
  shape: Shape,
  { layout = 'c4', slice = false }: { readonly layout?: Layout; readonly slice?: boolean } = {},
): void {
  if (!sameShape(tensor.shape, shape) || tensor.layout !== layout || (tensor.part && !slice))
    throw new Error(
      `${launch}: ${tensor.label} should be ${layout} ${showShape(shape)}, but is ${tensor.part ? 'a slice, ' : ''}${tensor.layout} ${showShape(tensor.shape)}`,
    );
}

/** Where a kernel finds a tensor that may be a slice: blocks of an image, and the first; zeros for none. */
export function partOf(tensor: Tensor | null, name: string): Record<string, number> {
  const { first, of } = tensor?.part ?? { first: 0, of: tensor ? blocks(tensor.shape[1]) : 0 };
  return { [`${name}_FIRST`]: first, [`${name}_OF`]: of };
}

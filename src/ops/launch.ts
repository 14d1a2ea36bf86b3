/** What the launchers share: shape checks with names, and the sizes of workgroups. */

import { sameShape, showShape, type Layout, type Shape, type Tensor } from '../tensor.ts';

/** Invocations of a workgroup of every kernel here; a power of two, within every adapter's limits. */
export const WORKGROUP = 64;

/** Throws when a tensor is not what the launch needs: names the launch, the tensor, what was expected and what came. */
export function expect(launch: string, tensor: Tensor, shape: Shape, layout: Layout = 'c4'): void {
  if (!sameShape(tensor.shape, shape) || tensor.layout !== layout)
    throw new Error(
      `${launch}: ${tensor.label} should be ${layout} ${showShape(shape)}, but is ${tensor.layout} ${showShape(tensor.shape)}`,
    );
}

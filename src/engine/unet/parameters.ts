/** The parameters of a network, by its config: their shapes, their number, and whether a checkpoint has them. */

import { DiffusionError } from '../../core/errors.ts';
import { showShape } from '../../core/tensor.ts';
import type { WeightTensor } from '../formats/safetensors.ts';
import { architectureOf } from './architectures.ts';
import type { UNetConfig } from './config.ts';

/** Every parameter by name and shape, in the order of the network. */
export const expectedParameters = (config: UNetConfig): ReadonlyMap<string, readonly number[]> =>
  architectureOf(config).parameters(config).shapes;

/** Counts the parameters. */
export const parameterCount = (config: UNetConfig): number =>
  [...expectedParameters(config).values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);

/**
 * Checks that a file has the parameters of the config and no others. Old attention weights of shape
 * [C, C, 1, 1] count as [C, C].
 * @throws bad-weights, listing every missing, extra and misshaped tensor by name
 */
export function checkParameters(
  config: UNetConfig,
  tensors: ReadonlyMap<string, WeightTensor>,
  source: string,
): void {
  const expected = expectedParameters(config);
  const faults: string[] = [];
  for (const [name, shape] of expected) {
    const tensor = tensors.get(name);
    if (!tensor) faults.push(`${name} is missing`);
    else {
      const came = tensor.shape.length === 4 && shape.length === 2 ? trim(tensor.shape) : tensor.shape;
      if (came.length !== shape.length || came.some((d, i) => d !== shape[i]))
        faults.push(`${name} has shape ${showShape(tensor.shape)} and should have ${showShape(shape)}`);
    }
  }
  for (const name of tensors.keys())
    if (!expected.has(name)) faults.push(`${name.slice(0, 200)} is not expected`);
  if (faults.length)
    throw new DiffusionError(
      'bad-weights',
      `The weights of ${source} do not fit its config: ${faults.length} of ${expected.size} parameters. ${faults.join('; ')}.`,
      'Check that config.json and the weights are of the same model.',
    );
}

const trim = (shape: readonly number[]): readonly number[] =>
  shape[2] === 1 && shape[3] === 1 ? shape.slice(0, 2) : shape;

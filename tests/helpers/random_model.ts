/** A model with random weights, from its config alone. */

import { normals } from '../../src/schedule/noise.ts';
import { parseUNetConfig } from '../../src/engine/unet/config.ts';
import { expectedParameters } from '../../src/engine/unet/parameters.ts';
import type { ModelFiles } from '../../src/engine/formats/files.ts';
import { writeSafetensors } from '../../src/engine/formats/safetensors.ts';

/** Numbers of one tensor; `k` counts the tensors by name. */
export type Fill = (name: string, shape: readonly number[], k: number) => Float32Array<ArrayBuffer>;

/** The weights that the makers of the fixtures have: tensor k, by name, from seed 1000 + k. */
export const fill: Fill = (name, shape, k) => {
  const count = (s: readonly number[]) => s.reduce((a, b) => a * b, 1);
  const z = normals(1000 + k, 0, 0, count(shape));
  if (name === 'time_proj.weight' && shape.length === 1) return z.map((v) => 0.5 * v);
  if (shape.length === 1) return z.map((v) => (name.endsWith('weight') ? 1 + 0.2 * v : 0.1 * v));
  if (name === 'class_embedding.weight' || name === 'time_proj.weight') return z;
  return z.map((v) => v / Math.sqrt(count(shape.slice(1))));
};

/** A flat folder in memory. */
export function randomModel(config: object, make: Fill = fill): ModelFiles {
  const parameters = expectedParameters(parseUNetConfig(config, 'random'));
  const tensors = [...parameters.keys()].sort().map((name, k) => {
    const shape = parameters.get(name)!;
    return { name, shape, data: make(name, shape, k) };
  });
  const all: Record<string, Uint8Array> = {
    'config.json': new TextEncoder().encode(JSON.stringify(config)),
    'diffusion_pytorch_model.safetensors': writeSafetensors(tensors),
  };
  return { label: 'a random model', read: (path) => Promise.resolve(all[path] ?? null) };
}

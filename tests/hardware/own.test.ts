/** The bundled models on the adapter as it is: the self-check replaces no kernel, and both pictures of a pair are the same. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it, vi } from 'vitest';
import { diskFiles } from '../../src/apps/cli/files.ts';
import { readTensor } from '../../src/engine/gpu/transfer.ts';
import { Model } from '../../src/engine/model.ts';
import { sample } from '../../src/session/sample.ts';
import { DTYPES, needs, useGpu } from '../helpers/gpu.ts';

const gpu = useGpu();
const weights = new URL('../../weights/', import.meta.url);
const MODELS = (
  JSON.parse(readFileSync(new URL('models.json', weights)).toString()) as { name: string }[]
).map(({ name }) => name);

it.each(MODELS.flatMap((name) => DTYPES.map((dtype) => [name, dtype] as const)))('%s in %s', async (name, dtype) => {
  needs(gpu(), dtype);
  const warn = vi.spyOn(console, 'warn');
  const model = await Model.load(gpu(), diskFiles(fileURLToPath(new URL(name, weights))), { dtype });
  expect(warn.mock.calls.flat().join(' ')).toBe('');
  warn.mockRestore();
  const draw = async (): Promise<Float32Array> => {
    let last = new Float32Array();
    for await (const { index, steps, xT } of sample(model, { count: 1, seed: 3, steps: 3 }))
      if (index === steps) last = await readTensor(gpu(), xT);
    return last;
  };
  const first = await draw();
  expect(model.usesFallbackKernels).toBe(false);
  expect(first.every(Number.isFinite)).toBe(true);
  expect(new Set(first).size).toBeGreaterThan(50);
  expect(await draw()).toEqual(first);
  model.destroy();
}); // prettier-ignore

/** What numbers.test.ts runs inside the page. */

import { openGpu } from '../../src/engine/gpu/device.ts';
import { readTensor } from '../../src/engine/gpu/transfer.ts';
import { Model } from '../../src/engine/model.ts';
import { sample } from '../../src/session/sample.ts';
import type { Shape } from '../../src/core/tensor.ts';
import { httpFiles } from '../../src/loading/http_files.ts';

export interface PredictInput {
  readonly folder: string;
  readonly shape: readonly number[];
  readonly sample: readonly number[];
  readonly timestep: readonly number[];
  readonly labels: readonly number[] | null;
}

export const inside = {
  async predict({ folder, shape, sample, timestep, labels }: PredictInput): Promise<number[]> {
    const gpu = await openGpu();
    const model = await Model.load(gpu, httpFiles(new URL(`/${folder}/`, location.href)));
    const { eps } = await model.predict({
      shape: [...shape] as unknown as Shape,
      sample: Float32Array.from(sample),
      timestep: Float32Array.from(timestep),
      labels,
    });
    gpu.destroy();
    return Array.from(eps);
  },

  /** x_T of a batch of two. */
  async noise(folder: string, seed: number): Promise<number[]> {
    const gpu = await openGpu();
    const model = await Model.load(gpu, httpFiles(new URL(`/${folder}/`, location.href)));
    for await (const { xT } of sample(model, { count: 2, seed })) {
      const numbers = Array.from(await readTensor(gpu, xT));
      gpu.destroy();
      return numbers;
    }
    return [];
  },
};
export type Inside = typeof inside;

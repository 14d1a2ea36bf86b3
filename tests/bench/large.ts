/**
 * The largest network that must fit WebGPU's default limits: google/ddpm-ema-celebahq-256, 113.7 million parameters at
 * 256 x 256, with random weights; one step of one picture. `npm run bench:large [-- f16]`.
 */

import { nodeGpu } from '../../src/apps/cli/node_gpu.ts';
import { openGpu } from '../../src/engine/gpu/device.ts';
import { kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
import { bindingLimit, planMemory, smallestRun } from '../../src/engine/memory.ts';
import { Model } from '../../src/engine/model.ts';
import { sample } from '../../src/session/sample.ts';
import { normals } from '../../src/schedule/noise.ts';
import { parseUNetConfig } from '../../src/engine/unet/config.ts';
import type { DType } from '../../src/core/tensor.ts';
import { countBuffers } from '../helpers/count_buffers.ts';
import { randomModel } from '../helpers/random_model.ts';
import { CELEBAHQ_256 } from './networks.ts';

/** @returns the exit code: 0 when the step came out finite and the peak of buffers was the planned one */
export async function large(dtype: DType): Promise<number> {
  const config = parseUNetConfig(CELEBAHQ_256, 'celebahq-256');
  const opened = await openGpu(await nodeGpu());
  const { gpu, peak } = countBuffers(opened);
  const limit = bindingLimit(gpu);
  const planned = planMemory(config, smallestRun(config)!, dtype, limit, kernelPolicyFor(gpu));
  const print = (what: string, value: unknown): void => console.log(`${what.padEnd(28)}${String(value)}`);
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB (${bytes})`;
  print('adapter', opened.adapter);
  print('one binding, at most', mib(limit));
  print('largest binding', mib(planned.largestBinding));
  print('weights', mib(planned.weights));
  print('working memory', mib(planned.working));
  let began = performance.now();
  const seconds = (): string => `${((performance.now() - began) / 1000).toFixed(1)} s`;
  // The numbers of one block of noise over and over: 113 million of their own would take minutes.
  const noise = normals(1, 0, 0, 2 ** 20);
  const files = randomModel(CELEBAHQ_256, (name, shape) => {
    const [rows, ...rest] = shape;
    const fan = rest.reduce((a, b) => a * b, 1);
    const norm = rest.length === 0 && name.endsWith('weight') ? 1 : 0;
    return Float32Array.from({ length: rows! * fan }, (_, i) => norm + (rest.length ? noise[i % noise.length]! / Math.sqrt(fan) : 0)); // prettier-ignore
  });
  print('weights made', seconds());
  began = performance.now();
  const model = await Model.load(gpu, files, { dtype });
  print('parameters', model.parameters);
  print('loaded', seconds());
  began = performance.now();
  let finite = false;
  for await (const { index, steps } of sample(model, { steps: 1, seed: 0, scheduler: 'ddim' }))
    finite = index === steps; // a number that is not finite ends the run with numeric-fault
  print('one step, with compilation', seconds());
  const plan = await model.acquirePlan(smallestRun(config)!);
  print('GFLOP a step', (plan.flops / 1e9).toFixed(1));
  print('dispatches', plan.step.commands.length);
  print('peak of buffers', mib(peak()));
  print('planned', mib(planned.total));
  const right = finite && peak() === planned.total;
  print('equal', right);
  model.destroy();
  opened.destroy();
  return right ? 0 : 1;
}

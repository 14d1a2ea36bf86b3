/** A recording is data: counted, built, and built again on another device. */

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { nodeGpu } from '../../src/apps/cli/node_gpu.ts';
import { openGpu, type Gpu } from '../../src/engine/gpu/device.ts';
import { largestTransient } from '../../src/engine/gpu/memory_plan.ts';
import { buildProgram, run } from '../../src/engine/gpu/program.ts';
import { GraphRecorder } from '../../src/engine/gpu/recorder.ts';
import { readTensor } from '../../src/engine/gpu/transfer.ts';
import { memoryPlan } from '../../src/engine/memory.ts';
import { kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
import { NetworkRecorder } from '../../src/engine/kernels/kernel_policy.ts';
import { linear } from '../../src/engine/kernels/linear.ts';
import { packStep } from '../../src/engine/kernels/update.ts';
import { parseSchedulerConfig } from '../../src/schedule/config.ts';
import { makeSteps } from '../../src/schedule/make_steps.ts';
import { graphsOf, recordStep, type StepGraph } from '../../src/engine/step_graph.ts';
import { buildStep } from '../../src/engine/step_plan.ts';
import { bufferHandle } from '../../src/core/tensor.ts';
import { parseUNetConfig } from '../../src/engine/unet/config.ts';
import { recordNetwork } from '../../src/engine/unet/network.ts';
import { GpuWeights, WeightLayout } from '../../src/engine/unet/weights.ts';
import { loadFolder } from '../../src/engine/formats/load.ts';
import { countBuffers } from '../helpers/count_buffers.ts';
import { randomModel } from '../helpers/random_model.ts';

const json = JSON.parse(readFileSync(new URL('../fixtures/unets/attention/unet/config.json', import.meta.url)).toString()) as object; // prettier-ignore
const CONFIG = { ...json, block_out_channels: [32, 32], sample_size: 8 };
const config = parseUNetConfig(CONFIG, 'x');
const SHAPE = { count: 2, height: 8, width: 8, guided: true, slots: 1 };
const gpus: Gpu[] = [];
beforeAll(async () => {
  for (let i = 0; i < 2; i++) gpus.push(await openGpu(await nodeGpu()));
});
afterAll(() => gpus.forEach((gpu) => gpu.destroy()));

/** Everything that a recording consists of, but functions and handles' identities. */
const snapshot = (graph: StepGraph): string =>
  JSON.stringify(graphsOf(graph).map(({ dispatches, preparations, kept }) => [preparations, dispatches, [...kept]])); // prettier-ignore

it('the bytes counted are the bytes built, on two devices, with the same numbers', async () => {
  const layout = new WeightLayout(config, 'f32');
  const graph = recordStep(config, layout, SHAPE, 'x', 2 ** 27, kernelPolicyFor(gpus[0]!));
  const before = snapshot(graph);
  const plan = memoryPlan(layout, graph);
  const { readTensors } = await loadFolder(randomModel(CONFIG));
  const tensors = await readTensors();
  const steps = makeSteps(parseSchedulerConfig({}, 'x'), { scheduler: 'ddim', steps: 2 });
  const results: number[][] = [];
  for (const real of gpus) {
    const { gpu, alive } = countBuffers(real);
    const weights = await GpuWeights.upload(gpu, config, tensors, layout, 'x');
    expect(alive()).toBe(plan.weights);
    const built = await buildStep(gpu, graph, SHAPE, weights.buffers, 'x', plan.working);
    expect(alive() - plan.weights + 4).toBe(plan.working); // 4 are read back
    const { queue } = gpu.device;
    queue.writeBuffer(built.seeds, 0, Uint32Array.of(1, 0, 2, 0));
    queue.writeBuffer(built.labels!, 0, new Uint32Array(built.labels!.size / 4).fill(1));
    queue.writeBuffer(built.uniforms, 0, packStep(steps[0]!, 2, 0));
    queue.writeBuffer(built.cache!.timestep.buffer, 0, new Float32Array(built.cache!.timestep.shape[0]).fill(500)); // prettier-ignore
    run(gpu.device, built.start);
    run(gpu.device, built.cache!.tables);
    run(gpu.device, built.step, undefined, built.cache!.copies);
    results.push([...(await readTensor(gpu, built.x))]);
    built.destroy();
    weights.destroy();
    expect(alive()).toBe(0);
    expect(snapshot(graph)).toBe(before);
  }
  expect(results[0]!.some((v) => Math.abs(v) > 0.1)).toBe(true);
  expect(results[1]).toEqual(results[0]);
});

it('a batch that fits is walked once; one that does not, until its parts fit', () => {
  const layout = new WeightLayout(config, 'f32');
  const walk = (limit: number) => {
    const recorder = new NetworkRecorder();
    const rewinds: number[] = [];
    const rewind = recorder.rewind.bind(recorder);
    recorder.rewind = (count) => (rewinds.push(count), rewind(count));
    const x = recorder.persistent('x', [6, config.inChannels, 8, 8], 'f32');
    const timestep = recorder.persistent('t', [12, 1, 1, 1], 'f32');
    const inputs = { x, timestep, labels: bufferHandle('labels', 48, 'persistent'), passes: 2 };
    recordNetwork(recorder, config, layout, inputs, limit);
    const parts = recorder.dispatches.filter(({ label }) => label === 'conv_in').length;
    return { rewinds: rewinds.length, parts, largest: largestTransient(recorder.dispatches) };
  };
  const whole = walk(2 ** 27);
  expect(whole).toMatchObject({ rewinds: 0, parts: 1 });
  const limit = Math.floor(whole.largest / 3);
  const split = walk(limit);
  expect(split.parts).toBe(3);
  expect(split.rewinds).toBe(1);
  expect(split.largest).toBeLessThanOrEqual(limit);
  expect(walk(1).parts).toBe(12); // one image at a time, and no fewer
});

it('faults of a launcher are told by name, before the GPU sees them', async () => {
  const record = (change: object) => {
    const recorder = new GraphRecorder();
    const x = recorder.persistent('x', [1, 4, 1, 1], 'f32', 'c4');
    const weight = bufferHandle('weight', 64, 'persistent');
    const bias = bufferHandle('bias', 16, 'persistent');
    linear(recorder, 'dense', x, { weight, bias, cIn: 4, cOut: 4 });
    Object.assign(recorder.dispatches[0]!, change);
    return buildProgram(gpus[0]!, recorder, 'test');
  };
  const recorder = new GraphRecorder();
  const x = recorder.persistent('x', [1, 4, 1, 1], 'f32', 'c4');
  const weight = bufferHandle('the weight', 64, 'external');
  linear(recorder, 'dense', x, { weight, bias: weight, cIn: 4, cOut: 4 });
  await expect(buildProgram(gpus[0]!, recorder, 'test')).rejects.toThrow('dense: the weight is not bound');
  await expect(record({ bindings: { output: x } })).rejects.toThrow(
    /dense: shader linear .* input, weight, bias/,
  );
  await expect(record({ uniforms: { n: 1 } })).rejects.toThrow(
    /dense: shader linear: Layer\.in_cblocks is missing/,
  );
  (await record({})).destroy();
});

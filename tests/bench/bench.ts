/** What a step costs: `digits`, and the DDPM network of CIFAR-10 with random weights. Prints a table; see README. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { diskFiles } from '../../src/cli/files.ts';
import { nodeGpu } from '../../src/cli/node_gpu.ts';
import { openGpu, type Gpu } from '../../src/gpu/device.ts';
import { Tape } from '../../src/gpu/tape.ts';
import { Model } from '../../src/model.ts';
import { repaint, REPAINT_BYTES } from '../../src/ops/repaint.ts';
import { packUpdateStep, update, UPDATE_STEP_BYTES } from '../../src/ops/update.ts';
import { packStep } from '../../src/sampler.ts';
import { parseSchedulerConfig } from '../../src/scheduler/config.ts';
import { makeSteps, SCHEDULERS } from '../../src/scheduler/index.ts';
import { normalTable } from '../../src/scheduler/normal_table.ts';
import { slotsOf } from '../../src/scheduler/step.ts';
import type { Shape, Tensor } from '../../src/tensor.ts';
import { parseUNetConfig } from '../../src/unet/config.ts';
import { expectedParameters } from '../../src/unet/parameters.ts';
import type { ModelFiles } from '../../src/weights/files.ts';
import { writeSafetensors } from '../../src/weights/safetensors.ts';
import { random } from '../helpers/array.ts';
import { multiplyAddPeak } from './peak.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BATCHES = [1, 16];

/** google/ddpm-cifar10-32: 35.7 M parameters (Ho et al. 2020, appendix B). */
const CIFAR10 = {
  sample_size: 32,
  in_channels: 3,
  out_channels: 3,
  block_out_channels: [128, 256, 256, 256],
  down_block_types: ['DownBlock2D', 'AttnDownBlock2D', 'DownBlock2D', 'DownBlock2D'],
  up_block_types: ['UpBlock2D', 'UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'],
  layers_per_block: 2,
  attention_head_dim: null,
  downsample_padding: 0,
  flip_sin_to_cos: false,
  freq_shift: 1,
  norm_eps: 1e-6,
};

/** A folder that exists in memory only: the config, and small random weights. */
function randomModel(label: string, config: object): ModelFiles {
  const u = random(1);
  const tensors = [...expectedParameters(parseUNetConfig(config, label))].map(([name, shape]) => ({
    name,
    shape,
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 0.05 * (u() - 0.5)),
  }));
  const files: Record<string, Uint8Array> = {
    'config.json': new TextEncoder().encode(JSON.stringify(config)),
    'diffusion_pytorch_model.safetensors': writeSafetensors(tensors),
  };
  return { label, read: (path) => Promise.resolve(files[path] ?? null) };
}

interface Row {
  readonly model: string;
  readonly batch: number;
  readonly msPerStep: number;
  readonly gflops: number;
  readonly share: number;
  readonly dispatches: number;
  /** Load, compile, and the first step, in seconds; of the first batch of a model only. */
  readonly coldStart: number | null;
}

async function measure(gpu: Gpu, label: string, files: ModelFiles, peak: number): Promise<Row[]> {
  const rows: Row[] = [];
  const began = performance.now();
  const model = await Model.load(gpu, files);
  const [height, width] = model.config.sampleSize!;
  for (const batch of BATCHES) {
    const plan = await model.takePlan({
      count: batch,
      height,
      width,
    });
    // A step that stands still: x stays finite whatever the weights are.
    const still = { x0_x: 0, x0_m: 0, clip: 1, sigma: 0, guidance: 1, index: 0, mix: [] };
    gpu.device.queue.writeBuffer(plan.uniforms, 0, packUpdateStep(still));
    const run = async (steps: number): Promise<number> => {
      const since = performance.now();
      for (let i = 0; i < steps; i++) {
        const encoder = gpu.device.createCommandEncoder();
        const pass = encoder.beginComputePass();
        plan.step.replay(pass);
        pass.end();
        gpu.device.queue.submit([encoder.finish()]);
      }
      await gpu.settled();
      return (performance.now() - since) / steps;
    };
    await run(1);
    const coldStart = batch === BATCHES[0] ? (performance.now() - began) / 1000 : null;
    const guess = await run(1);
    const steps = Math.max(1, Math.min(50, Math.round(500 / guess)));
    const times: number[] = [];
    for (let i = 0, spent = 0; i < 7 && spent < 20_000; i++) {
      times.push(await run(steps));
      spent += times.at(-1)! * steps;
    }
    const msPerStep = times.sort((a, b) => a - b)[times.length >> 1]!;
    const gflops = plan.flops / msPerStep / 1e6;
    rows.push({
      model: label,
      batch,
      msPerStep,
      gflops,
      share: gflops / peak,
      dispatches: plan.step.commands.length,
      coldStart,
    });
    model.givePlanBack(plan);
    print(rows.at(-1)!);
  }
  model.destroy();
  return rows;
}

interface Cost {
  readonly sampler: string;
  readonly slots: number;
  readonly msPerStep: number;
  readonly share: number;
}

/** What the update costs by itself, for every sampler and edit, beside a whole step of the same model and batch. */
async function updates(gpu: Gpu, config: object, files: ModelFiles, whole: Row): Promise<Cost[]> {
  const { inChannels, sampleSize } = parseUNetConfig(config, whole.model);
  const json = await files.read('scheduler/scheduler_config.json');
  const schedule = parseSchedulerConfig(json && JSON.parse(new TextDecoder().decode(json)), whole.model);
  const shape = [whole.batch, inChannels, ...sampleSize!] as Shape;
  const costs: Cost[] = [];
  for (const [name, scheduler, measured, masked] of [
    ...SCHEDULERS.map((s) => [s, s, false, false] as const),
    ['ddim, rescaled and thresholded', 'ddim', true, false] as const,
    ['ddpm, inpainting', 'ddpm', false, true] as const,
  ]) {
    const steps = makeSteps(schedule, { scheduler, steps: 20 });
    const slots = slotsOf(steps);
    const buffers: GPUBuffer[] = [];
    const make = (bytes: number, usage: number): GPUBuffer => {
      const buffer = gpu.device.createBuffer({ size: Math.ceil(bytes / 16) * 16, usage: usage | 0x08 });
      buffers.push(buffer);
      return buffer;
    };
    const tape = new Tape();
    const tensor = (label: string, n = 1): Tensor =>
      tape.pinned(label, [n * shape[0], shape[1], shape[2], shape[3]], 'f32');
    const source = { seeds: make(shape[0] * 8, 0x80), normalTable: make(normalTable.byteLength, 0x80) };
    gpu.device.queue.writeBuffer(source.normalTable, 0, normalTable);
    const uniforms = make(UPDATE_STEP_BYTES, 0x40);
    const x = tensor('x');
    const bindings = {
      x,
      x0Hat: tensor('x0Hat'),
      output: tensor('output', measured ? 2 : 1),
      step: uniforms,
    };
    const history = slots ? tensor('history', slots) : null;
    update(tape, 'update', { ...bindings, fault: make(16, 0x80), z: source, history }, measured);
    const numbers = make(REPAINT_BYTES, 0x40);
    if (masked)
      repaint(tape, 'repaint', { x, known: tensor('known'), mask: tensor('mask'), numbers, source });
    const recording = await tape.build(gpu, name);
    const packed = packStep(steps[10]!, 2, measured ? 0.7 : 0);
    if (measured) new Float32Array(packed, 28, 1)[0] = 0.995;
    gpu.device.queue.writeBuffer(uniforms, 0, packed);
    const run = async (times: number): Promise<number> => {
      const since = performance.now();
      const encoder = gpu.device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (let i = 0; i < times; i++) recording.replay(pass);
      pass.end();
      gpu.device.queue.submit([encoder.finish()]);
      await gpu.settled();
      return (performance.now() - since) / times;
    };
    await run(10);
    const times: number[] = [];
    for (let i = 0; i < 7; i++) times.push(await run(200));
    const msPerStep = times.sort((a, b) => a - b)[3]!;
    costs.push({ sampler: name, slots, msPerStep, share: msPerStep / whole.msPerStep });
    const [ms, share] = [msPerStep.toFixed(3).padStart(9), `${(100 * costs.at(-1)!.share).toFixed(2)} %`];
    console.log(`${name.padEnd(32)} ${String(slots).padStart(5)} ${ms} ${share.padStart(12)}`);
    recording.destroy();
    buffers.forEach((buffer) => buffer.destroy());
  }
  return costs;
}

function print(r: Row): void {
  const cells = [
    r.model.padEnd(8),
    String(r.batch).padStart(5),
    r.msPerStep.toFixed(r.msPerStep < 10 ? 2 : 1).padStart(9),
    r.gflops.toFixed(1).padStart(8),
    `${(100 * r.share).toFixed(1)} %`.padStart(13),
    String(r.dispatches).padStart(10),
    (r.coldStart === null ? '' : `${r.coldStart.toFixed(1)} s`).padStart(10),
  ];
  console.log(cells.join(' '));
}

export async function main(args: string[]): Promise<number> {
  const only = args[0] === '--only' ? args[1] : undefined;
  const gpu = await openGpu(await nodeGpu());
  const peak = await multiplyAddPeak(gpu);
  console.log(`\nadapter: ${gpu.adapter}${gpu.isSoftware ? ' (software: its ratios are not a GPU’s)' : ''}`);
  console.log(`host: ${cpus()[0]?.model.trim()} x ${cpus().length}, Node ${process.version}`);
  console.log(`multiply-add peak, measured, f32: ${peak.toFixed(1)} GFLOP/s\n`);
  console.log('model    batch   ms/step  GFLOP/s share of peak dispatches cold start');
  const rows: Row[] = [];
  const digits = diskFiles(`${ROOT}weights/digits`);
  if (!only || only === 'digits') rows.push(...(await measure(gpu, 'digits', digits, peak)));
  if (!only || only === 'cifar10')
    rows.push(...(await measure(gpu, 'cifar10', randomModel('cifar10', CIFAR10), peak)));
  const costs: Record<string, Cost[]> = {};
  for (const row of rows.filter((r) => r.model === 'digits')) {
    console.log(`\nthe update alone, digits, batch ${row.batch}`.padEnd(32));
    console.log(`${'sampler'.padEnd(32)} slots   ms/step share of step`);
    const config = JSON.parse(new TextDecoder().decode((await digits.read('unet/config.json'))!)) as object;
    costs[`digits ${row.batch}`] = await updates(gpu, config, digits, row);
  }
  mkdirSync(`${ROOT}tests/output`, { recursive: true });
  writeFileSync(
    `${ROOT}tests/output/bench.json`,
    JSON.stringify({ adapter: gpu.adapter, peak, rows, updates: costs }, null, 2),
  );
  gpu.destroy();
  return 0;
}

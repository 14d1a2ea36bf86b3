/** What the update x_t -> x_{t-1} costs by itself, for every sampler and edit, beside a whole step. */

import { openGpu, type Gpu } from '../../src/engine/gpu/device.ts';
import { buildProgram } from '../../src/engine/gpu/program.ts';
import { NetworkRecorder } from '../../src/engine/kernels/kernel_policy.ts';
import { repaint, REPAINT_BYTES } from '../../src/engine/kernels/repaint.ts';
import { replayTime } from '../../src/engine/kernels/tune.ts';
import { update, UPDATE_STEP_BYTES } from '../../src/engine/kernels/update.ts';
import { packStep } from '../../src/engine/kernels/update.ts';
import { makeSteps } from '../../src/schedule/make_steps.ts';
import { SCHEDULERS } from '../../src/schedule/samplers.ts';
import { normalTable } from '../../src/schedule/normal_table.ts';
import { historyLength } from '../../src/schedule/step.ts';
import { bufferHandle, type Shape, type Tensor } from '../../src/core/tensor.ts';
import type { Outcome, Place } from './job.ts';
import { openNetwork, type Network } from './networks.ts';

export interface Cost {
  readonly sampler: string;
  readonly slots: number;
  readonly msPerStep: number;
  readonly share: number;
}

async function measure(
  gpu: Gpu,
  { config, schedule }: Network,
  batch: number,
  stepMs: number,
  say: (line: string) => void,
): Promise<Cost[]> {
  const shape = [batch, config.inChannels, ...config.sampleSize!] as Shape;
  const costs: Cost[] = [];
  for (const [name, scheduler, measured, masked] of [
    ...SCHEDULERS.map((s) => [s, s, false, false] as const),
    ['ddim, rescaled and thresholded', 'ddim', true, false] as const,
    ['ddpm, inpainting', 'ddpm', false, true] as const,
  ]) {
    const steps = makeSteps(schedule, { scheduler, steps: 20 });
    const slots = historyLength(steps);
    const recorder = new NetworkRecorder();
    const tensor = (label: string, n = 1): Tensor =>
      recorder.persistent(label, [n * shape[0], shape[1], shape[2], shape[3]], 'f32');
    const source = {
      seeds: bufferHandle('seeds', shape[0] * 8, 'persistent'),
      normalTable: bufferHandle('table', normalTable.byteLength, 'persistent'),
    };
    const uniforms = bufferHandle('step', UPDATE_STEP_BYTES, 'persistent', true);
    const x = tensor('x');
    const bindings = {
      x,
      x0Hat: tensor('x0Hat'),
      output: tensor('output', measured ? 2 : 1),
      step: uniforms,
    };
    const history = slots ? tensor('history', slots) : null;
    update(
      recorder,
      'update',
      { ...bindings, fault: bufferHandle('fault', 4, 'persistent'), z: source, history },
      measured,
    );
    const numbers = bufferHandle('numbers', REPAINT_BYTES, 'persistent', true);
    if (masked)
      repaint(recorder, 'repaint', { x, known: tensor('known'), mask: tensor('mask'), numbers, source });
    const program = await buildProgram(gpu, recorder, name);
    gpu.device.queue.writeBuffer(program.bufferOf(source.normalTable), 0, normalTable);
    const packed = packStep(steps[10]!, 2, measured ? 0.7 : 0);
    if (measured) new Float32Array(packed, 28, 1)[0] = 0.995;
    gpu.device.queue.writeBuffer(program.bufferOf(uniforms), 0, packed);
    await replayTime(gpu, program, 10);
    const times: number[] = [];
    for (let i = 0; i < 7; i++) times.push(await replayTime(gpu, program, 200));
    const msPerStep = times.sort((a, b) => a - b)[3]!;
    costs.push({ sampler: name, slots, msPerStep, share: msPerStep / stepMs });
    const [ms, share] = [msPerStep.toFixed(3).padStart(9), `${(100 * costs.at(-1)!.share).toFixed(2)} %`];
    say(`${name.padEnd(32)} ${String(slots).padStart(5)} ${ms} ${share.padStart(12)}`);
    program.destroy();
  }
  return costs;
}

/** For every batch of `outcomes`, which are those of one network. */
export async function updates(
  place: Place,
  outcomes: readonly Outcome[],
  say: (line: string) => void,
): Promise<Record<string, Cost[]>> {
  const all: Record<string, Cost[]> = {};
  for (const { name, batch, timings } of outcomes) {
    const whole = timings.find((t) => t.engine === 'ours');
    const network = await openNetwork(name, place.open);
    if (!whole || !network) continue;
    const gpu = await openGpu(await place.gpu());
    say(`the update alone, ${name}, batch ${batch}`);
    say(`${'sampler'.padEnd(32)} slots   ms/step share of step`);
    all[`${name} ${batch}`] = await measure(gpu, network, batch, whole.ms, say);
    gpu.destroy();
  }
  return all;
}

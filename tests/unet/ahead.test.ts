/** What a run takes from timesteps and classes is computed for many steps at a time: the same bits as step by step. */

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { readTensor } from '../../src/engine/gpu/transfer.ts';
import { Model } from '../../src/engine/model.ts';
import { sample } from '../../src/session/sample.ts';
import { stepsOf, type SampleOptions } from '../../src/session/sample_options.ts';
import { randomModel } from '../helpers/random_model.ts';
import { DTYPES, narrow, needs, useGpu } from '../helpers/gpu.ts';

const gpu = useGpu();
const json = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url)).toString()) as never;
const DIGITS = json('../../weights/digits/unet/config.json') as Record<string, unknown>;
const CONFIGS = json('../fixtures/configs.json') as Record<string, unknown>[];
const FOURIER = CONFIGS.find((c) => c['time_embedding_type'] === 'fourier' && !c['class_embed_type'])!;
const LECTURE = (json('../fixtures/lecture.json') as { configs: Record<string, unknown>[] }).configs[1]!;

/** Much to know of the time, and little to draw. */
const SMALL = { ...(json('../fixtures/unets/attention/unet/config.json') as object), block_out_channels: [64, 64], sample_size: 4 }; // prettier-ignore

const KINDS: [string, Record<string, unknown>, readonly (number | null)[]][] = [
  ['digits', DIGITS, [3, null, 7]],
  ['Fourier features', FOURIER, [null, null]],
  ['the lecture', LECTURE, [1, 0]],
];

it.each(
  KINDS.flatMap(([name, config, labels]) => DTYPES.map((dtype) => [name, dtype, config, labels] as const)),
)('%s, %s: 18 steps', async (_, dtype, config, labels) => {
  needs(gpu(), dtype);
  const model = await Model.load(gpu(), randomModel(config), { dtype });
  const classes =
    model.config.numClassEmbeds === null ? null : labels.map((k) => k ?? model.config.nullClass!);
  const options: SampleOptions = {
    ...(classes ? { labels } : { count: labels.length }),
    ...{ steps: 18, scheduler: 'ddim', seed: 4 },
  };
  const steps = stepsOf(model.schedulerConfig, options);
  let x = new Float32Array();
  let seen = 0;
  const draw = async () => {
    for await (const { index, xT, x0Hat, step } of sample(model, options)) {
      if (step) {
        // The network alone, which computes its own.
        const timestep = new Float32Array(labels.length).fill(step.t);
        const { eps } = await model.predict({ shape: xT.shape, sample: x, timestep, labels: classes });
        const { x0Hat: mix, clip } = step;
        const [size, out] = [x.length / labels.length, eps.length / labels.length]; // a learned variance comes second
        const of = (i: number) => eps[Math.floor(i / size) * out + (i % size)]!;
        const wanted = x.map((v, i) => Math.fround(mix.x) * v + Math.fround(mix.modelOutput) * of(i));
        const most = typeof clip === 'number' ? clip : Infinity;
        const got = await readTensor(gpu(), x0Hat!);
        const off = got.reduce((worst, y, i) => Math.max(worst, Math.abs(y - Math.min(most, Math.max(-most, wanted[i]!))) / (1 + Math.abs(wanted[i]!))), 0); // prettier-ignore
        expect(off, `step ${index}`).toBeLessThan(1e-5);
      }
      x = await readTensor(gpu(), xT);
      seen = index;
    }
  };
  if (config['time_embedding_type'] === 'fourier') {
    // The logarithm of its last timestep, 0, is not finite: the run says so, though x0Hat is clamped.
    expect(steps[17]!.t).toBe(0);
    await expect(draw()).rejects.toMatchObject({ code: 'numeric-fault' });
    expect(seen).toBe(17);
  } else {
    await draw();
    expect(seen).toBe(18);
  }
  model.destroy();
});

it('a run that begins in the middle of the tables of another', async () => {
  const model = await Model.load(gpu(), randomModel(DIGITS));
  const options: SampleOptions = { labels: [2, 5], steps: 18, scheduler: 'ddim', seed: 4 };
  let middle = new Float32Array();
  let end = new Float32Array();
  for await (const { index, xT } of sample(model, options)) {
    if (index === 13) middle = await readTensor(gpu(), xT);
    if (index === 18) end = await readTensor(gpu(), xT);
  }
  const begin = stepsOf(model.schedulerConfig, options)[13]!.t;
  expect(begin).toBeLessThan(400);
  const saved = { shape: [2, 1, 32, 32] as const, data: middle };
  const { device } = gpu();
  const buffer = device.createBuffer({ size: saved.data.byteLength, usage: 0x8c });
  device.queue.writeBuffer(buffer, 0, saved.data);
  const xT = { buffer, shape: saved.shape, dtype: 'f32', layout: 'planar', label: 'saved' } as const;
  let last = new Float32Array();
  for await (const state of sample(model, { ...options, resume: { index: 13, xT, history: null } }))
    last = await readTensor(gpu(), state.xT);
  expect(last).toEqual(end);
  buffer.destroy();
  model.destroy();
});

it('where the tables of a batch would be too large, a step computes its own: the same bits', async () => {
  const labels = Array.from({ length: 600 }, (_, n) => n % 3);
  const runs: Float32Array[] = [];
  const ahead: (number | null)[] = [];
  for (const limit of [2 ** 27, 2 ** 20]) {
    const model = await Model.load(narrow(gpu(), limit), randomModel(SMALL));
    const plan = await model.acquirePlan({ count: 600, height: 4, width: 4, guided: false, slots: 0, givenNoise: false, measured: false, masked: false }); // prettier-ignore
    ahead.push(plan.cache?.steps ?? null);
    expect(plan.labels!.size).toBe(600 * 4 * (plan.cache?.steps ?? 1));
    model.releasePlan(plan);
    let last = new Float32Array();
    for await (const { xT } of sample(model, { labels, steps: 2, scheduler: 'ddim', seed: 4 }))
      last = await readTensor(gpu(), xT);
    runs.push(last);
    model.destroy();
  }
  expect(ahead).toEqual([13, null]);
  expect(Buffer.from(runs[1]!.buffer).equals(Buffer.from(runs[0]!.buffer))).toBe(true);
});

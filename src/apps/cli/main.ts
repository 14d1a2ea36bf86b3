/** The command line. Its contract (names, tensors, errors) is fixed: docs/cli.md. */

import { mkdir, readdir } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { parseArgs, type ParseArgsConfig } from 'node:util';
import { megabytes } from '../../core/format.ts';
import { DiffusionError } from '../../core/errors.ts';
import { openGpu, type Gpu } from '../../engine/gpu/device.ts';
import { readTensor } from '../../engine/gpu/transfer.ts';
import { bindingLimit, planMemory } from '../../engine/memory.ts';
import { Model } from '../../engine/model.ts';
import { kernelPolicyFor } from '../../engine/kernels/conv_variants.ts';
import { qSample } from '../../session/latents.ts';
import { sample } from '../../session/sample.ts';
import { imageCount, stepsOf, type SampleOptions } from '../../session/sample_options.ts';
import type { RunOptions } from '../../schedule/run_options.ts';
import type { DType, Shape } from '../../core/tensor.ts';
import { parseUNetConfig } from '../../engine/unet/config.ts';
import { toFloat32, toIntegers, writeSafetensors } from '../../engine/formats/safetensors.ts';
import { hash } from '../../loading/download.ts';
import { isModelFile, type ModelFiles } from '../../engine/formats/files.ts';
import { loadFolder, wantedFiles } from '../../engine/formats/load.ts';
import { openSource, type Notice } from '../../loading/source.ts';
import { diskFiles, floats, png, readPicture, readTensors, write } from './files.ts';
import { nodeGpu } from './node_gpu.ts';
import { convertTfjs } from './tfjs.ts';
import { USAGE } from './usage.ts';

type Values = Record<string, string | boolean | undefined>;

const text = { type: 'string' } as const;
export const COMMANDS: Record<
  string,
  { options: ParseArgsConfig['options']; run: (values: Values) => Promise<void> }
> = {
  eps: { options: { model: text, input: text, output: text, dtype: text }, run: eps },
  sample: {
    options: {
      model: text,
      scheduler: text,
      steps: text,
      eta: text,
      guidance: text,
      labels: text,
      count: text,
      seed: text,
      spacing: text,
      variance: text,
      prediction: text,
      sigmas: text,
      churn: text,
      respacing: text,
      timesteps: text,
      begin: text,
      init: text,
      strength: text,
      'guidance-interval': text,
      'guidance-rescale': text,
      epsilon: text,
      clip: text,
      threshold: text,
      order: text,
      bh: text,
      mask: text,
      jumps: text,
      interpolate: text,
      noise: text,
      output: text,
      png: text,
      trajectory: { type: 'boolean' },
      compat: text,
      dtype: text,
    },
    run: draw,
  },
  invert: {
    options: {
      model: text,
      init: text,
      steps: text,
      labels: text,
      count: text,
      spacing: text,
      prediction: text,
      respacing: text,
      output: text,
      dtype: text,
    },
    run: invert,
  },
  noise: {
    options: { model: text, init: text, timestep: text, seed: text, count: text, output: text, png: text },
    run: addNoise,
  },
  'convert-tfjs': { options: { model: text, output: text }, run: convert },
  inspect: { options: { model: text, dtype: text }, run: inspect },
  manifest: { options: { model: text, title: text, licence: text }, run: manifest },
};

/** @returns the exit code */
export async function main(args: string[]): Promise<number> {
  try {
    const [name = '', ...rest] = args;
    if (['', 'help', '--help', '-h'].includes(name)) {
      process.stdout.write(USAGE);
      return name === '' ? 1 : 0;
    }
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (!command) throw usage(`There is no command ${name}.`);
    let values: Values;
    try {
      ({ values } = parseArgs({ args: rest, options: { ...command.options }, strict: true }) as {
        values: Values;
      });
    } catch (cause) {
      throw usage(cause instanceof Error ? cause.message.replace(/([^.])$/, '$1.') : String(cause));
    }
    await command.run(values);
    return 0;
  } catch (error) {
    // A fault of ours comes with its stack; what a user can mend comes in a sentence.
    process.stderr.write(
      error instanceof DiffusionError
        ? `error ${error.code}: ${error.message.replace(/\s+/g, ' ')}\n`
        : `error internal: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    return 1;
  }
}

const usage = (what: string): DiffusionError =>
  new DiffusionError('bad-option', what, 'Run `npm run --silent cli -- help` for the options.');

function required(values: Values, name: string): string {
  const value = values[name];
  if (typeof value !== 'string' || value === '') throw usage(`--${name} is missing.`);
  return value;
}

function number(values: Values, name: string): number | undefined {
  const value = values[name];
  if (value === undefined) return undefined;
  if (typeof value !== 'string' || value.trim() === '' || !Number.isFinite(Number(value)))
    throw usage(`--${name} ${String(value)} is not a number.`);
  return Number(value);
}

/** Leaves out what is not given. */
function given<V extends object>(values: V): V {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as V;
}

/**
 * A folder on this machine; huggingface:owner/name@revision or an https address is downloaded, and not kept. As in
 * Hugging Face's own tools, HF_ENDPOINT names a mirror of the hub.
 */
async function filesOf(model: string): Promise<ModelFiles> {
  if (!/^(huggingface:|https?:\/\/)/.test(model)) return diskFiles(model);
  const onNotice = ({ message }: Notice) => void process.stderr.write(`notice: ${message}\n`);
  const onProgress = (received: number, total: number | null) =>
    void process.stderr.write(
      `\r${megabytes(received)} of ${total === null ? '?' : megabytes(total)}${received === total ? '\n' : ''}`,
    );
  const shown = process.stderr.isTTY ? { onProgress } : {};
  return (await openSource(model, { cached: false, onNotice, ...shown, ...hub() })).files;
}

function hub(): { hub?: URL } {
  const mirror = process.env['HF_ENDPOINT'];
  if (!mirror) return {};
  const address = mirror.replace(/\/?$/, '/');
  if (!URL.canParse(address)) throw usage(`HF_ENDPOINT is ${mirror}, which is no address.`);
  return { hub: new URL(address) };
}

async function withModel(values: Values, run: (model: Model, gpu: Gpu) => Promise<void>): Promise<void> {
  const folder = required(values, 'model');
  const gpu = await openGpu(await nodeGpu());
  try {
    const selfCheck = process.env['SAMPLER_SELF_CHECK'] !== '0'; // devices that only compile compute nothing
    const options = { ...given({ dtype: values['dtype'] as DType }), selfCheck };
    const model = await Model.load(gpu, await filesOf(folder), options);
    await run(model, gpu);
    model.destroy();
  } finally {
    gpu.destroy();
  }
}

async function eps(values: Values): Promise<void> {
  const [input, output] = [required(values, 'input'), required(values, 'output')];
  const tensors = await readTensors(input);
  const x = floats(tensors, 'sample', 4, input);
  const t = floats(tensors, 'timestep', 1, input);
  const labels = tensors.get('class_labels');
  await withModel(values, async (model) => {
    const result = await model.predict({
      shape: x.shape as Shape,
      sample: x.data,
      timestep: t.data,
      labels: labels ? (/^[IU]/.test(labels.dtype) ? toIntegers(labels) : toFloat32(labels)) : null,
    });
    await write(output, writeSafetensors([{ name: 'eps', shape: result.shape, data: result.eps }]));
  });
}

/** What `sample` and `invert` have in common; options that a command does not have are undefined. */
function runOptions(values: Values): SampleOptions {
  return given({
    scheduler: values['scheduler'] as RunOptions['scheduler'],
    steps: number(values, 'steps'),
    eta: number(values, 'eta'),
    guidance: number(values, 'guidance'),
    labels: typeof values['labels'] === 'string' ? values['labels'].split(',').map(label) : undefined,
    count: number(values, 'count'),
    seed: number(values, 'seed'),
    spacing: values['spacing'] as RunOptions['spacing'],
    variance: values['variance'] as RunOptions['variance'],
    prediction: values['prediction'] as RunOptions['prediction'],
    sigmas: values['sigmas'] as RunOptions['sigmas'],
    churn: number(values, 'churn'),
    respacing: values['respacing'] as string | undefined,
    timesteps:
      typeof values['timesteps'] === 'string' ? values['timesteps'].split(',').map(Number) : undefined,
    compat: values['compat'] as RunOptions['compat'],
    startStep: number(values, 'begin'),
    strength: number(values, 'strength'),
    guidanceInterval: pair(values, 'guidance-interval'),
    guidanceRescale: number(values, 'guidance-rescale'),
    epsFromClipped: epsilon(values),
    clip: clip(values),
    order: number(values, 'order'),
    bh: values['bh'],
    ...jumps(values),
    interpolate: pair(values, 'interpolate'),
  }) as SampleOptions;
}

async function draw(values: Values): Promise<void> {
  const output = required(values, 'output');
  const options = runOptions(values);
  const noise = typeof values['noise'] === 'string' ? await readNoise(values['noise']) : {};
  await withModel(values, async (model, gpu) => {
    const init = await picture(values, 'init', model, options);
    const mask = (await picture(values, 'mask', model, options))?.map((v) => (v + 1) / 2);
    const edit = given({ init, mask });
    const steps = stepsOf(model.schedulerConfig, { ...options, ...edit });
    if (noise.xT && !noise.z && !options.startStep && steps.some((s) => s.sigma > 0))
      throw new DiffusionError(
        'bad-input',
        'The sampler adds noise, and the noise file has no z.',
        'Add z [steps,N,C,H,W], or sample with ddim and eta 0.',
      );
    const states: Float32Array[] = [];
    let shape: Shape = [1, 1, 1, 1];
    let last: Float32Array<ArrayBuffer> | null = null;
    for await (const state of sample(model, { ...options, ...noise, ...edit } as SampleOptions)) {
      shape = state.xT.shape;
      if (values['trajectory'] || state.index === state.steps) last = await readTensor(gpu, state.xT);
      if (values['trajectory'] && last) states.push(last);
    }
    const clean = last!.map((x) => Math.min(Math.max(x, -1), 1));
    const tensors = [{ name: 'x_0', shape, data: clean }] as {
      name: string;
      shape: readonly number[];
      data: Float32Array;
    }[];
    if (values['trajectory']) {
      const all = new Float32Array(states.length * clean.length);
      states.forEach((state, i) => all.set(state, i * clean.length));
      tensors.push({ name: 'x_t', shape: [states.length, ...shape], data: all });
      tensors.push({ name: 'timesteps', shape: [steps.length], data: Float32Array.from(steps, (s) => s.t) });
    }
    await write(output, writeSafetensors(tensors));
    if (typeof values['png'] === 'string') await write(values['png'], png(clean, shape));
  });
}

/** The picture of --init or --mask, once for each image of the run. */
async function picture(
  values: Values,
  name: 'init' | 'mask',
  model: Model,
  options: SampleOptions,
): Promise<Float32Array<ArrayBuffer> | undefined> {
  const path = values[name];
  if (typeof path !== 'string') return undefined;
  const count = imageCount(options);
  const [height, width] = model.config.sampleSize ?? [0, 0];
  const one = await readPicture(path, [1, model.config.inChannels, height, width]);
  const all = new Float32Array(count * one.length);
  for (let n = 0; n < count; n++) all.set(one, n * one.length);
  return all;
}

async function addNoise(values: Values): Promise<void> {
  const output = required(values, 'output');
  required(values, 'init');
  required(values, 'timestep');
  const options = runOptions(values);
  const { count = 1, seed = 0 } = options;
  await withModel(values, async (model) => {
    const x0 = (await picture(values, 'init', model, options))!;
    const data = qSample(model.schedulerConfig, x0, number(values, 'timestep')!, { count, seed });
    const [height, width] = model.config.sampleSize ?? [0, 0];
    const shape: Shape = [count, model.config.inChannels, height, width];
    await write(output, writeSafetensors([{ name: 'x_T', shape, data }]));
    if (typeof values['png'] === 'string')
      await write(values['png'], png(data.map((x) => Math.min(Math.max(x, -1), 1)), shape)); // prettier-ignore
  });
}

async function invert(values: Values): Promise<void> {
  const output = required(values, 'output');
  required(values, 'init');
  const options: SampleOptions = { ...runOptions(values), scheduler: 'ddim', invert: true };
  await withModel(values, async (model, gpu) => {
    const init = (await picture(values, 'init', model, options))!;
    for await (const state of sample(model, { ...options, init }))
      if (state.index === state.steps)
        await write(
          output,
          writeSafetensors([{ name: 'x_T', shape: state.xT.shape, data: await readTensor(gpu, state.xT) }]),
        );
  });
}

async function convert(values: Values): Promise<void> {
  const [input, output] = [required(values, 'model'), required(values, 'output')];
  const { config, scheduler, tensors } = await convertTfjs(diskFiles(input));
  const json = (value: object) => new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
  await mkdir(join(output, 'unet'), { recursive: true });
  await mkdir(join(output, 'scheduler'), { recursive: true });
  await write(join(output, 'unet', 'config.json'), json(config));
  await write(join(output, 'scheduler', 'scheduler_config.json'), json(scheduler));
  await write(join(output, 'unet', 'diffusion_pytorch_model.safetensors'), writeSafetensors(tensors));
}

function pair(values: Values, name: string): [number, number] | undefined {
  const value = values[name];
  if (value === undefined) return undefined;
  const numbers = String(value).split(',').map(Number);
  if (numbers.length !== 2 || !numbers.every(Number.isFinite))
    throw usage(`--${name} ${String(value)} is not two numbers.`);
  return numbers as [number, number];
}

function clip(values: Values): SampleOptions['clip'] {
  const [own, threshold] = [values['clip'], values['threshold']];
  if (own !== undefined && threshold !== undefined)
    throw usage('--clip and --threshold are given, and x0Hat takes one of them.');
  if (own === 'none') return null;
  if (typeof threshold !== 'string') return number(values, 'clip');
  const [quantile, max = 1e6, ...rest] = threshold.split(',').map(Number);
  if (rest.length > 0 || !Number.isFinite(quantile) || !Number.isFinite(max))
    throw usage(`--threshold ${threshold} is not a quantile, or a quantile and a maximum.`);
  return { quantile: quantile!, max };
}

/** Whether DDIM's epsilon follows the clipped x0Hat. */
function epsilon(values: Values): boolean | undefined {
  const value = values['epsilon'];
  if (value === undefined) return undefined;
  if (value !== 'clipped' && value !== 'raw')
    throw usage(`--epsilon ${String(value)} is not clipped or raw.`);
  return value === 'clipped';
}

function jumps(values: Values): SampleOptions {
  const [jumpLength, jumpSamples] = pair(values, 'jumps') ?? [];
  return jumpLength === undefined ? {} : { jumpLength, jumpSamples: jumpSamples! };
}

function label(item: string): number {
  if (!/^\s*\d+\s*$/.test(item))
    throw usage(`--labels has ${JSON.stringify(item)}, which is not a whole number.`);
  return Number(item);
}

async function readNoise(path: string): Promise<Pick<SampleOptions, 'xT' | 'z'>> {
  const tensors = await readTensors(path);
  const xT = floats(tensors, 'x_T', 4, path).data;
  if (!tensors.has('z')) return { xT };
  const { shape, data } = floats(tensors, 'z', 5, path);
  const length = data.length / Math.max(shape[0]!, 1);
  return { xT, z: Array.from({ length: shape[0]! }, (_, i) => data.slice(i * length, (i + 1) * length)) };
}

async function inspect(values: Values): Promise<void> {
  await withModel(values, async (model, gpu) => {
    const { config } = model;
    const [height, width] = config.sampleSize ?? [32, 32];
    const shape = { count: 1, height, width };
    const planned = planMemory(config, shape, model.dtype, bindingLimit(gpu), kernelPolicyFor(gpu));
    const plan = await model.acquirePlan(shape);
    process.stdout.write(
      `${JSON.stringify(
        {
          model: model.label,
          parameters: model.parameters,
          dtype: model.dtype,
          input: [1, config.inChannels, height, width],
          classes: config.numClassEmbeds,
          labels: model.labels,
          flopsPerStep: plan.flops,
          dispatchesPerStep: plan.step.commands.length,
          weightBytes: model.weightBytes,
          workingBytes: plan.bytes,
          bufferBytes: model.weightBytes + plan.bytes,
          largestBinding: planned.largestBinding,
          adapter: gpu.adapter,
          software: gpu.isSoftware,
          f16: gpu.f16,
        },
        null,
        2,
      )}\n`,
    );
    model.releasePlan(plan);
  });
}

async function manifest(values: Values): Promise<void> {
  const folder = required(values, 'model');
  const list = await readdir(folder, { recursive: true }).catch((cause: unknown) => {
    throw new DiffusionError('file-not-found', `${folder} is no folder.`, 'Check the path.', { cause });
  });
  const wanted = wantedFiles(list.map((path) => path.split(sep).join('/')).filter(isModelFile));
  if (![/(^|\/)config\.json$/, /\.safetensors$/].every((kind) => wanted.some((path) => kind.test(path))))
    throw new DiffusionError(
      'file-not-found',
      `${folder} has no config, or no weights, that would be read.`,
      'Give a folder in diffusers layout, with config.json and a .safetensors file.',
    );
  const files = [];
  for (const path of wanted) {
    const bytes = new Uint8Array((await diskFiles(folder).read(path))!);
    files.push({ path, bytes: bytes.length, sha256: await hash('SHA-256', bytes) });
  }
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const { unetConfig } = await loadFolder(diskFiles(folder));
  const { inChannels, sampleSize } = parseUNetConfig(unetConfig, `config.json of ${folder}`);
  const shape = sampleSize ? [inChannels, ...sampleSize] : undefined;
  const { title, licence } = values;
  const text = JSON.stringify({ title, licence, shape, bytes, files }, null, 2);
  await write(join(folder, 'manifest.json'), new TextEncoder().encode(`${text}\n`));
}

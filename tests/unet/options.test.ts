/** No option of a config is read and ignored: in a golden that has it, its absence changes the network or its output. */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DiffusionError } from '../../src/core/errors.ts';
import { Model } from '../../src/engine/model.ts';
import { normals } from '../../src/schedule/noise.ts';
import { parseUNetConfig } from '../../src/engine/unet/config.ts';
import { expectedParameters } from '../../src/engine/unet/parameters.ts';
import { useGpu } from '../helpers/gpu.ts';
import { randomModel } from '../helpers/random_model.ts';

type Json = Record<string, unknown>;
const gpu = useGpu();
const read = (path: string) => readFileSync(new URL(path, import.meta.url)).toString();
const json = (name: string) => JSON.parse(read(`../fixtures/${name}.json`)) as unknown;
const GOLDENS: Json[] = [
  ...(json('configs') as Json[]),
  ...(json('openai') as { config: Json }[]).map(({ config }) => config),
  json('keras') as Json,
];
const LECTURE = (json('lecture') as { configs: Json[] }).configs;

/** What the reader says to a config; null when it takes it. */
function refusalOf(config: Json): string | null {
  try {
    parseUNetConfig(config, 'x');
    return null;
  } catch (error) {
    if (error instanceof DiffusionError) return error.what;
    throw error;
  }
}

/** Every word of the reader's source that it takes as a key of this class. */
function accepted(className: string): string[] {
  const words = new Set([...read('../../src/engine/unet/config.ts').matchAll(/'([a-z]+(?:_[a-z]+)*)'/g)].map((m) => m[1]!));
  return [...words].filter((word) => {
    const what = refusalOf({ _class_name: className, block_out_channels: [32, 32, 32, 32], [word]: 'no such value' });
    return what === null || !/is not an option of/.test(what);
  });
} // prettier-ignore

/** Of training only: taken, and without effect on purpose. */
const WITHOUT_EFFECT = ['dropout'];
/** Says what size a picture has and which class means "any"; the network is the same. */
const OF_THE_RUN = ['sample_size', 'null_class'];
async function eps(config: Json, weightsOf: Json = config): Promise<Float32Array> {
  const parsed = parseUNetConfig(config, 'x');
  const files = randomModel(weightsOf);
  const encoded = new TextEncoder().encode(JSON.stringify(config));
  const model = await Model.load(gpu(), {
    label: 'x',
    read: (path) => (path === 'config.json' ? Promise.resolve(encoded) : files.read(path)),
  });
  const [side, c] = [config['sample_size'] as number, parsed.inChannels];
  const vectors = parsed.classEmbedType === 'identity' ? normals(2, 0, 0, 2 * parsed.timeEmbeddingDim) : null;
  const labels = vectors ?? (parsed.classEmbedType === 'timestep' || parsed.numClassEmbeds !== null ? [1, 0] : null);
  const result = await model.predict({
    shape: [2, c, side, side],
    sample: normals(1, 0, 0, 2 * c * side * side),
    timestep: Float32Array.of(20, 700),
    labels,
  });
  model.destroy();
  return result.eps;
} // prettier-ignore

const shapes = (config: Json) => JSON.stringify([...expectedParameters(parseUNetConfig(config, 'x'))]);

/** Whether `to` is another network than `from`, or the same weights give other numbers. */
async function differs(from: Json, to: Json): Promise<boolean> {
  if (refusalOf(to) !== null) return true; // the value is needed by another one: it is not ignored
  if (shapes(from) !== shapes(to)) return true;
  const [a, b] = [await eps(from), await eps(to, from)];
  return a.some((v, i) => Math.abs(v - b[i]!) > 1e-5);
}

async function matters(key: string): Promise<void> {
  const having = GOLDENS.filter((config) => key in config);
  expect(having.length, 'goldens with it').toBeGreaterThan(0);
  for (const config of having) {
    const without = Object.fromEntries(Object.entries(config).filter(([name]) => name !== key));
    if (await differs(config, without)) return;
  }
  expect.fail(`${key} changes nothing in any of ${having.length} goldens`);
}

describe('options of UNet2DModel', () => {
  const keys = accepted('UNet2DModel');

  it('are those of diffusers', () => {
    expect(keys.length).toBeGreaterThan(25);
    for (const key of ['act_fn', 'freq_shift', 'downsample_padding', 'attention_head_dim', 'norm_eps', 'resnet_time_scale_shift'])
      expect(keys).toContain(key);
  }); // prettier-ignore

  it.each(keys.filter((key) => ![...WITHOUT_EFFECT, ...OF_THE_RUN].includes(key)))('%s', matters);
});

describe('options of our own class', () => {
  const own = accepted('ExtendedUNet2DModel').filter((key) => !accepted('UNet2DModel').includes(key));

  it('are six', () => expect(own).toHaveLength(6));
  it.each(own.filter((key) => !OF_THE_RUN.includes(key)))('%s', matters);
});

describe("options of the lecture's class", () => {
  const [plain, conditional] = LECTURE as [Json, Json];

  it.each([
    ['base_channels', plain, 12],
    ['time_embedding_dim', plain, 16],
    ['num_attention_heads', plain, 2],
    ['in_channels', plain, 1],
    ['out_channels', plain, 6],
    ['num_class_embeds', conditional, 7],
  ] as const)('%s', async (key, golden, other) => {
    expect(golden[key]).not.toBe(other);
    expect(await differs(golden, { ...golden, [key]: other })).toBe(true);
  });

  it('are all of its golden', () => {
    const tested = ['base_channels', 'time_embedding_dim', 'num_attention_heads', 'in_channels', 'out_channels', 'num_class_embeds'];
    expect(Object.keys(plain).sort()).toEqual(['_class_name', 'sample_size', ...tested].sort());
    for (const key of accepted('UNet2DModel').filter((key) => !(key in plain)))
      expect(refusalOf({ ...plain, [key]: 1 })).toContain(`${key} is not an option of LectureUNet2DModel`);
  });
}); // prettier-ignore

it('any other key is refused by name', () => {
  for (const key of ['encoder_hid_dim', 'cross_attention_dim', 'addition_embed_type', 'dual_cross_attention', 'conv_in_kernel', 'resnet_skip_time_act', 'toString', 'constructor', 'length'])
    expect(refusalOf({ block_out_channels: [32, 32, 32, 32], [key]: 1 })).toContain(`${key} is not an option`);
}); // prettier-ignore

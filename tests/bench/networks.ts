/** What is measured: whole networks and single layers, with their weights. Runs in Node and in the page alike. */

import { convertTfjs } from '../../src/apps/cli/tfjs.ts';
import { parseSchedulerConfig, type SchedulerConfig } from '../../src/schedule/config.ts';
import { parseUNetConfig, type UNetConfig } from '../../src/engine/unet/config.ts';
import { expectedParameters } from '../../src/engine/unet/parameters.ts';
import type { ModelFiles } from '../../src/engine/formats/files.ts';
import { loadFolder } from '../../src/engine/formats/load.ts';
import { toFloat32, writeSafetensors } from '../../src/engine/formats/safetensors.ts';

export interface Weight {
  readonly shape: readonly number[];
  readonly data: Float32Array<ArrayBuffer>;
}

/** A network as every engine takes it. */
export interface Network {
  readonly name: string;
  /** As our engine loads it. */
  readonly files: ModelFiles;
  readonly config: UNetConfig;
  readonly schedule: SchedulerConfig;
  /** diffusers' names and shapes. */
  readonly weights: ReadonlyMap<string, Weight>;
  readonly parameters: number;
}

/** Four equal layers in a row, each with weights of its own: (N, 128, size, size) -> the same. */
export interface Layer {
  readonly name: string;
  readonly kind: 'conv3' | 'conv1' | 'norm' | 'attention';
  readonly size: number;
  readonly weights: ReadonlyMap<string, Weight>;
}
export const LAYER = { channels: 128, groups: 32, eps: 1e-5, repeats: 4 };

/** Opens a folder of this repository, or of ../shared; null where it is not there. */
export type OpenFolder = (path: string) => Promise<ModelFiles | null>;

const block = (kind: 'Down' | 'Up', attends: readonly boolean[]): string[] =>
  attends.map((attn) => `${attn ? 'Attn' : ''}${kind}Block2D`);

/** google/ddpm-ema-celebahq-256: 113.7 million parameters. */
export const CELEBAHQ_256 = {
  _class_name: 'UNet2DModel',
  act_fn: 'silu',
  attention_head_dim: null,
  block_out_channels: [128, 128, 256, 256, 512, 512],
  center_input_sample: false,
  down_block_types: [
    'DownBlock2D',
    'DownBlock2D',
    'DownBlock2D',
    'DownBlock2D',
    'AttnDownBlock2D',
    'DownBlock2D',
  ],
  downsample_padding: 0,
  flip_sin_to_cos: false,
  freq_shift: 1,
  in_channels: 3,
  layers_per_block: 2,
  mid_block_scale_factor: 1,
  norm_eps: 1e-6,
  norm_num_groups: 32,
  out_channels: 3,
  sample_size: 256,
  time_embedding_type: 'positional',
  up_block_types: ['UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D', 'UpBlock2D', 'UpBlock2D', 'UpBlock2D'],
};

/** Configs without a checkpoint of their own: weights are random. */
const CONFIGS: Readonly<Record<string, object>> = {
  /** 4.4 M parameters, attention at 16 x 16. */
  small32: {
    sample_size: 32,
    block_out_channels: [64, 128, 128],
    down_block_types: block('Down', [false, true, false]),
    up_block_types: block('Up', [false, true, false]),
    layers_per_block: 1,
    attention_head_dim: null,
    downsample_padding: 0,
    flip_sin_to_cos: false,
    freq_shift: 1,
    norm_eps: 1e-6,
  },
  /** google/ddpm-cifar10-32: 35.7 M parameters (Ho et al. 2020, appendix B). */
  cifar10: {
    sample_size: 32,
    block_out_channels: [128, 256, 256, 256],
    down_block_types: block('Down', [false, true, false, false]),
    up_block_types: block('Up', [false, false, true, false]),
    layers_per_block: 2,
    attention_head_dim: null,
    downsample_padding: 0,
    flip_sin_to_cos: false,
    freq_shift: 1,
    norm_eps: 1e-6,
  },
  'celebahq-256': CELEBAHQ_256,
};
/** Where the checkpoints lie. */
const FOLDERS: Readonly<Record<string, string>> = {
  digits: 'weights/digits',
  avatars: 'weights/avatars',
  anime64: '../shared/peers/keras-ddpm-anime64',
};
/** A folder of weights/ counts as a network, too. */
export const NETWORKS = [...Object.keys(FOLDERS), ...Object.keys(CONFIGS)];
export const LAYERS: Readonly<Record<string, readonly [Layer['kind'], number]>> = {
  'conv3-32': ['conv3', 32],
  'conv3-16': ['conv3', 16],
  'conv1-16': ['conv1', 16],
  'norm-32': ['norm', 32],
  'attention-16': ['attention', 16],
};

/** Random weights that keep the numbers of a deep network near one: uniform, of variance 1 / fan-in; norms near identity. */
function randomWeights(shapes: ReadonlyMap<string, readonly number[]>): Map<string, Weight> {
  let state = 1;
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes' generator
    return state / 2 ** 31 - 1;
  };
  const out = new Map<string, Weight>();
  for (const [name, shape] of shapes) {
    const length = shape.reduce((a, b) => a * b, 1);
    const affine = shape.length === 1;
    const spread = affine ? 0.1 : Math.sqrt((3 * shape[0]!) / length);
    const centre = affine && name.endsWith('.weight') ? 1 : 0;
    const data = Float32Array.from({ length }, () => centre + spread * uniform());
    out.set(name, { shape, data });
  }
  return out;
}

function folderOf(label: string, config: object, weights: ReadonlyMap<string, Weight>): ModelFiles {
  const files: Record<string, Uint8Array> = {
    'config.json': new TextEncoder().encode(JSON.stringify(config)),
    'diffusion_pytorch_model.safetensors': writeSafetensors(
      [...weights].map(([name, weight]) => ({ name, ...weight })),
    ),
  };
  return { label, read: (path) => Promise.resolve(files[path] ?? null) };
}

const madeConfig = (name: string): object => ({ in_channels: 3, out_channels: 3, ...CONFIGS[name] });

/** Without its weights; null where its checkpoint is not there. */
export async function networkConfig(name: string, open: OpenFolder): Promise<UNetConfig | null> {
  if (CONFIGS[name]) return parseUNetConfig(madeConfig(name), name);
  const files = await open(FOLDERS[name]!);
  return files && parseUNetConfig((await loadFolder(files)).unetConfig, name);
}

/** null where its checkpoint is not there. */
export async function openNetwork(name: string, open: OpenFolder): Promise<Network | null> {
  const finish = async (files: ModelFiles): Promise<Network> => {
    const folder = await loadFolder(files);
    const config = parseUNetConfig(folder.unetConfig, name);
    const weights = new Map(
      [...(await folder.readTensors())].map(([key, t]) => [key, { shape: t.shape, data: toFloat32(t) }]),
    );
    const parameters = [...weights.values()].reduce((sum, w) => sum + w.data.length, 0);
    const schedule = parseSchedulerConfig(folder.schedulerConfig, name);
    return { name, files, config, schedule, weights, parameters };
  };
  if (CONFIGS[name]) {
    const config = madeConfig(name);
    return finish(folderOf(name, config, randomWeights(expectedParameters(parseUNetConfig(config, name)))));
  }
  const files = await open(FOLDERS[name] ?? `weights/${name}`);
  if (!files || !(await files.read(name === 'anime64' ? 'model.json' : 'unet/config.json'))) return null;
  if (name !== 'anime64') return finish(files);
  const { config, tensors } = await convertTfjs(files);
  return finish(folderOf(name, config, new Map(tensors.map((t) => [t.name, t]))));
}

export function openLayer(name: string): Layer {
  const [kind, size] = LAYERS[name]!;
  const { channels: c, repeats } = LAYER;
  const shapes = new Map<string, readonly number[]>();
  const affine = (label: string, ...shape: number[]): void => {
    shapes.set(`${label}.weight`, shape);
    shapes.set(`${label}.bias`, [shape[0]!]);
  };
  for (let i = 0; i < repeats; i++) {
    if (kind === 'conv3') affine(`${i}`, c, c, 3, 3);
    else if (kind === 'conv1') affine(`${i}`, c, c, 1, 1);
    else if (kind === 'norm') affine(`${i}`, c);
    else for (const part of ['to_q', 'to_k', 'to_v', 'to_out.0']) affine(`${i}.${part}`, c, c);
  }
  return { name, kind, size, weights: randomWeights(shapes) };
}

/** The config of a diffusers `UNet2DModel`, validated. Key names, defaults and meaning: diffusers 0.42, unet_2d.py. */

import { ConfigReader, showValue, type Refuse } from '../../core/config_reader.ts';
import { DiffusionError } from '../../core/errors.ts';
import type { Activation } from '../kernels/activation.ts';

export type BlockType =
  | 'DownBlock2D'
  | 'AttnDownBlock2D'
  | 'ResnetDownsampleBlock2D'
  | 'UpBlock2D'
  | 'AttnUpBlock2D'
  | 'ResnetUpsampleBlock2D';

/** How a block changes the size: a convolution, or a whole residual block around an average or a repetition. */
export type Sampling = 'conv' | 'resnet';

export interface UNetConfig {
  /** dome272 uses only those of the following keys that its network has. */
  readonly architecture: 'diffusers' | 'dome272';
  /** Height and width that the model was trained at; null when the config does not say. */
  readonly sampleSize: readonly [number, number] | null;
  readonly inChannels: number;
  readonly outChannels: number;
  /** The network sees 2 x - 1. */
  readonly centerInputSample: boolean;
  /** positional: sines of fixed frequencies; fourier: of log t with learned ones; learned: a table. */
  readonly timeEmbeddingType: 'positional' | 'fourier' | 'learned';
  /** Rows of a learned time embedding. */
  readonly numTrainTimesteps: number | null;
  readonly freqShift: number;
  readonly flipSinToCos: boolean;
  readonly timeEmbeddingDim: number;
  readonly downBlockTypes: readonly BlockType[];
  readonly upBlockTypes: readonly BlockType[];
  readonly hasMidBlock: boolean;
  readonly midAttention: boolean;
  /** Of the attention blocks; the others say it in their names. */
  readonly downsampleType: Sampling;
  readonly upsampleType: Sampling;
  readonly activation: Activation;
  /** Time enters the second norm of a residual block as scale and shift (adaptive group norm), not as a bias. */
  readonly scaleShift: boolean;
  readonly midBlockScaleFactor: number;
  readonly blockOutChannels: readonly number[];
  readonly layersPerBlock: number;
  /** 0 pads on the right and bottom only. */
  readonly downsamplePadding: 0 | 1;
  /** Channels of one attention head; null means one head. */
  readonly attentionHeadDim: number | null;
  readonly normNumGroups: number;
  /** Groups of the norm before the attention of the mid block; null: it has no norm. */
  readonly attnNormNumGroups: number | null;
  readonly normEps: number;
  /** Numbers that the sinusoidal embedding has. */
  readonly timeProjDim: number;
  /** The frequencies of the sinusoidal embedding are in the weights (time_proj.weight). */
  readonly frequencyTable: boolean;
  /** Attention is added to its normalised input, as in Keras's example; else to the input itself. */
  readonly attentionAddsNormed: boolean;
  /** What a timestep is multiplied by before it is embedded. */
  readonly timestepScale: number;
  /** So many heads at every level, whatever its channels; null: attentionHeadDim says. */
  readonly numAttentionHeads: number | null;
  /** Rows of the class embedding; null: unconditional. */
  readonly numClassEmbeds: number | null;
  /** The class that stands for "any" in classifier-free guidance: the last. null where there is none. */
  readonly nullClass: number | null;
  /** timestep: the label is a number, embedded like a timestep; identity: it is a vector of timeEmbeddingDim numbers. */
  readonly classEmbedType: 'timestep' | 'identity' | null;
}

/** Caps that no real model reaches: a hostile config must not make us count to 10^9. */
const MAX = { channels: 8192, side: 4096, levels: 12, layers: 32, classes: 1_000_000 };

/** @throws unsupported-model, naming the key */
export function parseUNetConfig(json: unknown, source: string): UNetConfig {
  const refuse: Refuse = (key, why) => {
    throw new DiffusionError(
      'unsupported-model',
      `${source}: ${key} ${why}.`,
      'Choose another model: a pixel-space UNet2DModel of diffusers, or a converted one.',
    );
  };
  if (json === null) return refuse('the config', 'is not an object');
  const reader = new ConfigReader(json, refuse);
  const className = reader.choice<unknown>('_class_name', 'UNet2DModel', [
    'UNet2DModel',
    'UNetUnconditionalModel',
    'ExtendedUNet2DModel', // ours: what weights/convert/openai.py and the command convert-tfjs write
    'LectureUNet2DModel', // and weights/convert/lecture.py
  ]);
  if (className === 'LectureUNet2DModel') return dome272Config(json, source, refuse);
  const openai = className === 'ExtendedUNet2DModel';
  const size = reader.get('sample_size', null);
  const sides = size === null ? null : Array.isArray(size) ? (size as unknown[]) : [size, size];
  if (sides && sides.length !== 2)
    refuse('sample_size', `is ${showValue(size)}, and should be a number or two`);
  const sampleSize = sides
    ? ([
        reader.asInteger('sample_size', sides[0], 1, MAX.side),
        reader.asInteger('sample_size', sides[1], 1, MAX.side),
      ] as const)
    : null;

  const blockOutChannels = reader
    .list('block_out_channels', [224, 448, 672, 896], MAX.levels)
    .map((c) => reader.asInteger('block_out_channels', c, 1, MAX.channels));
  const levels = blockOutChannels.length;
  const types = (key: string, absent: string[], allowed: BlockType[]): BlockType[] => {
    const value = reader.list(key, absent, MAX.levels);
    if (value.length !== levels)
      refuse(key, `has ${value.length} entries, and block_out_channels has ${levels}`);
    return value.map((type) => {
      const name = typeof type === 'string' ? type.replace(/^UNetRes/, '') : type; // their name before 0.3
      return (
        allowed.find((a) => a === name) ??
        refuse(key, `has ${showValue(type)}, and only ${allowed.join(', ')} are supported`)
      );
    });
  };
  const downBlockTypes = types(
    'down_block_types',
    ['DownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D'],
    ['DownBlock2D', 'AttnDownBlock2D', 'ResnetDownsampleBlock2D'],
  );
  const upBlockTypes = types(
    'up_block_types',
    ['AttnUpBlock2D', 'AttnUpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'],
    ['UpBlock2D', 'AttnUpBlock2D', 'ResnetUpsampleBlock2D'],
  );
  const hasMidBlock =
    reader.choice<unknown>('mid_block_type', 'UNetMidBlock2D', ['UNetMidBlock2D', null]) !== null;

  const timeEmbeddingType = reader.choice<unknown>('time_embedding_type', 'positional', [
    'positional',
    'fourier',
    'learned',
  ]);
  const rows = reader.get('num_train_timesteps', null);
  const scaleShift =
    reader.choice<unknown>('resnet_time_scale_shift', 'default', ['default', 'scale_shift']) ===
    'scale_shift';
  const activation = reader.choice<unknown>('act_fn', 'silu', ['silu', 'swish', 'gelu', 'relu', 'mish']);
  const classEmbedType = reader.choice<unknown>('class_embed_type', null, [null, 'timestep', 'identity']);
  reader.real('dropout', 0, 0, 1); // of training only

  const headDim = reader.get('attention_head_dim', 8);
  const attentionHeadDim =
    headDim === null ? null : reader.asInteger('attention_head_dim', headDim, 1, MAX.channels);
  const normNumGroups = reader.integer('norm_num_groups', 32, 1, MAX.channels);
  const attnGroups = reader.get('attn_norm_num_groups', null);
  const timeDim = reader.get('time_embedding_dim', null);
  const classes = reader.get('num_class_embeds', null);
  // With a class_embed_type there is no table, whatever the config says.
  const numClassEmbeds =
    classes === null || classEmbedType !== null
      ? null
      : reader.asInteger('num_class_embeds', classes, 1, MAX.classes);
  const heads = openai ? reader.get('num_attention_heads', null) : null;
  const hasNull = !openai || reader.flag('null_class', false);
  const projDim = openai ? reader.get('time_proj_dim', null) : null;
  const config: UNetConfig = {
    architecture: 'diffusers',
    sampleSize,
    inChannels: reader.integer('in_channels', 3, 1, MAX.channels),
    outChannels: reader.integer('out_channels', 3, 1, MAX.channels),
    centerInputSample: reader.flag('center_input_sample', false),
    timeEmbeddingType: timeEmbeddingType as UNetConfig['timeEmbeddingType'],
    numTrainTimesteps:
      timeEmbeddingType === 'learned' ? reader.asInteger('num_train_timesteps', rows, 1, MAX.classes) : null,
    freqShift: reader.real('freq_shift', 0, 0, 1),
    flipSinToCos: reader.flag('flip_sin_to_cos', true),
    timeEmbeddingDim:
      timeDim === null ? blockOutChannels[0]! * 4 : reader.asInteger('time_embedding_dim', timeDim, 1, 65536),
    downBlockTypes,
    upBlockTypes,
    hasMidBlock,
    midAttention: reader.flag('add_attention', true),
    downsampleType: reader.choice<unknown>('downsample_type', 'conv', ['conv', 'resnet']) as Sampling,
    upsampleType: reader.choice<unknown>('upsample_type', 'conv', ['conv', 'resnet']) as Sampling,
    activation: (activation === 'swish' ? 'silu' : activation) as Activation,
    scaleShift,
    midBlockScaleFactor: reader.real('mid_block_scale_factor', 1, 1e-6, 1e6),
    blockOutChannels,
    layersPerBlock: reader.integer('layers_per_block', 2, 1, MAX.layers),
    downsamplePadding: reader.integer('downsample_padding', 1, 0, 1) as 0 | 1,
    attentionHeadDim,
    normNumGroups,
    attnNormNumGroups:
      attnGroups === null
        ? scaleShift
          ? null
          : normNumGroups
        : reader.asInteger('attn_norm_num_groups', attnGroups, 1, MAX.channels),
    normEps: reader.real('norm_eps', 1e-5, 0, 1),
    timeProjDim:
      projDim === null ? blockOutChannels[0]! : reader.asInteger('time_proj_dim', projDim, 2, MAX.channels),
    attentionAddsNormed: openai && reader.flag('attention_adds_normed', false),
    frequencyTable: openai && reader.flag('frequency_table', false),
    timestepScale: openai ? reader.real('timestep_scale', 1, 1e-6, 1e6) : 1,
    numAttentionHeads:
      heads === null ? null : reader.asInteger('num_attention_heads', heads, 1, MAX.channels),
    numClassEmbeds,
    nullClass: numClassEmbeds === null || !hasNull ? null : numClassEmbeds - 1,
    classEmbedType: classEmbedType as UNetConfig['classEmbedType'],
  };

  for (const key of reader.unread()) refuse(key, `is not an option of ${String(className)}`);

  // What the layers need of each other.
  const divides = (key: string, part: number, channels: number) => {
    if (channels % part !== 0) refuse(key, `is ${part}, and does not divide ${channels} channels`);
  };
  for (const norm of normChannels(config)) divides('norm_num_groups', normNumGroups, norm);
  const last = blockOutChannels[levels - 1]!;
  const attended = [
    ...downBlockTypes.flatMap((type, i) => (type === 'AttnDownBlock2D' ? [blockOutChannels[i]!] : [])),
    ...upBlockTypes.flatMap((type, i) =>
      type === 'AttnUpBlock2D' ? [blockOutChannels[levels - 1 - i]!] : [],
    ),
    ...(hasMidBlock && config.midAttention ? [last] : []),
  ];
  if (config.numAttentionHeads !== null && attentionHeadDim !== null)
    refuse('num_attention_heads', 'is given, and attention_head_dim as well');
  for (const channels of attended) {
    if (attentionHeadDim) divides('attention_head_dim', attentionHeadDim, channels);
    if (config.numAttentionHeads) divides('num_attention_heads', config.numAttentionHeads, channels);
  }
  if (hasMidBlock && config.midAttention && config.attnNormNumGroups !== null)
    divides('attn_norm_num_groups', config.attnNormNumGroups, last);
  if (config.freqShift >= Math.floor(config.timeProjDim / 2))
    refuse('freq_shift', `is ${config.freqShift}, and the embedding has ${config.timeProjDim} numbers`);
  if (sampleSize) checkSize(config, sampleSize[0], sampleSize[1], source);
  return config;
}

/**
 * The lecture's network in the same terms: sample_size, in_channels, out_channels, num_class_embeds (the last class is the
 * null class) as in UNet2DModel, base_channels (64), time_embedding_dim (256), num_attention_heads (4).
 */
function dome272Config(json: unknown, source: string, refuse: Refuse): UNetConfig {
  const reader = new ConfigReader(json, refuse);
  const W = reader.integer('base_channels', 64, 1, MAX.channels / 8);
  const [dim, heads] = [reader.get('time_embedding_dim', 256), reader.get('num_attention_heads', 4)];
  const shared = ['sample_size', 'in_channels', 'out_channels', 'num_class_embeds'] as const;
  const rest = shared.filter((key) => reader.has(key)).map((key) => [key, reader.get(key, null)] as const);
  reader.get('_class_name', null);
  for (const key of reader.unread()) refuse(key, 'is not an option of LectureUNet2DModel');
  const plain = (name: string) => Array<string>(4).fill(name);
  const config = parseUNetConfig(
    {
      ...Object.fromEntries(rest),
      _class_name: 'ExtendedUNet2DModel',
      null_class: true,
      block_out_channels: [W, 2 * W, 4 * W, 4 * W],
      down_block_types: plain('DownBlock2D'),
      up_block_types: plain('UpBlock2D'),
      norm_num_groups: 1,
      time_proj_dim: dim,
      time_embedding_dim: dim,
      attention_head_dim: null,
      num_attention_heads: heads,
    },
    source,
  );
  if (W % config.numAttentionHeads! !== 0)
    refuse('num_attention_heads', `is ${String(heads)}, and does not divide ${W} channels`);
  return { ...config, architecture: 'dome272' };
}

/** How the down block i, or the up block i, changes the size; null in the last of each. */
export function samplingOf(c: UNetConfig, way: 'down' | 'up', i: number): Sampling | null {
  if (i === c.blockOutChannels.length - 1) return null;
  const [types, own] =
    way === 'down' ? [c.downBlockTypes, c.downsampleType] : [c.upBlockTypes, c.upsampleType];
  if (types[i]!.startsWith('Resnet')) return 'resnet';
  return types[i]!.startsWith('Attn') ? own : 'conv';
}

/** Channels that every group norm of the residual blocks normalises. */
function normChannels(c: UNetConfig): number[] {
  const { blockOutChannels: out, layersPerBlock } = c;
  const all = [...out];
  const last = out.length - 1;
  for (let i = 0; i <= last; i++) {
    const own = out[last - i]!;
    const previous = out[Math.min(last - i + 1, last)]!;
    const below = out[Math.max(last - i - 1, 0)]!;
    for (let j = 0; j <= layersPerBlock; j++)
      all.push((j === 0 ? previous : own) + (j === layersPerBlock ? below : own));
  }
  return all;
}

/** @throws unsupported-model when the size cannot be halved at every level and doubled back. */
export function checkSize(config: UNetConfig, height: number, width: number, source: string): void {
  const unit = 2 ** (config.blockOutChannels.length - 1);
  if (height % unit !== 0 || width % unit !== 0)
    throw new DiffusionError(
      'unsupported-model',
      `${source}: a picture of ${height} x ${width} cannot be halved ${Math.log2(unit)} times.`,
      `Use sides that are multiples of ${unit}.`,
    );
}

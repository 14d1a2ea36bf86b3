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
  /** Height and width that the model was trained at; null if the config has none. */
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
  /** Of the attention blocks. The names of the others tell it. */
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
  /** Heads at every level, whatever its channels; null: as attentionHeadDim determines. */
  readonly numAttentionHeads: number | null;
  /** Rows of the class embedding; null: unconditional. */
  readonly numClassEmbeds: number | null;
  /** The class that stands for "any" in classifier-free guidance: the last. Null if there is none. */
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
  const ours = className === 'ExtendedUNet2DModel';
  const sampleSize = readSize(reader);
  const blocks = readBlocks(reader);
  const { scaleShift } = blocks;
  const embeddings = readEmbeddings(reader, ours, blocks.blockOutChannels[0]!);
  reader.real('dropout', 0, 0, 1); // of training only
  const normNumGroups = reader.integer('norm_num_groups', 32, 1, MAX.channels);
  const attnGroups = scaleShift ? null : normNumGroups;
  const config: UNetConfig = {
    architecture: 'diffusers',
    sampleSize,
    inChannels: reader.integer('in_channels', 3, 1, MAX.channels),
    outChannels: reader.integer('out_channels', 3, 1, MAX.channels),
    centerInputSample: reader.flag('center_input_sample', false),
    ...blocks,
    ...embeddings,
    attentionHeadDim: readOptional(reader, 'attention_head_dim', 8, 1, MAX.channels),
    normNumGroups,
    attnNormNumGroups: readOptional(reader, 'attn_norm_num_groups', null, 1, MAX.channels) ?? attnGroups,
    normEps: reader.real('norm_eps', 1e-5, 0, 1),
    attentionAddsNormed: ours && reader.flag('attention_adds_normed', false),
    numAttentionHeads: ours ? readOptional(reader, 'num_attention_heads', null, 1, MAX.channels) : null,
  };
  for (const key of reader.unread()) refuse(key, `is not an option of ${String(className)}`);
  checkDivisions(config, refuse);
  if (sampleSize) checkSize(config, sampleSize[0], sampleSize[1], source);
  return config;
}

/** A whole number, or null. */
function readOptional(
  reader: ConfigReader,
  key: string,
  absent: number | null,
  least: number,
  most: number,
): number | null {
  const value = reader.get(key, absent);
  return value === null ? null : reader.asInteger(key, value, least, most);
}

function readSize(reader: ConfigReader): UNetConfig['sampleSize'] {
  const size = reader.get('sample_size', null);
  if (size === null) return null;
  const sides = Array.isArray(size) ? (size as unknown[]) : [size, size];
  if (sides.length !== 2)
    reader.refuse('sample_size', `is ${showValue(size)}, and should be a number or two`);
  const [height, width] = sides.map((side) => reader.asInteger('sample_size', side, 1, MAX.side));
  return [height!, width!];
}

/** The blocks of the two paths and of the middle. */
function readBlocks(reader: ConfigReader) {
  const blockOutChannels = reader
    .list('block_out_channels', [224, 448, 672, 896], MAX.levels)
    .map((c) => reader.asInteger('block_out_channels', c, 1, MAX.channels));
  const types = (key: string, absent: string[], allowed: BlockType[]): BlockType[] => {
    const value = reader.list(key, absent, MAX.levels);
    if (value.length !== blockOutChannels.length)
      reader.refuse(
        key,
        `has ${value.length} entries, and block_out_channels has ${blockOutChannels.length}`,
      );
    return value.map((type) => {
      const name = typeof type === 'string' ? type.replace(/^UNetRes/, '') : type; // their name before 0.3
      return (
        allowed.find((a) => a === name) ??
        reader.refuse(key, `has ${showValue(type)}, and only ${allowed.join(', ')} are supported`)
      );
    });
  };
  const sampling = (key: string) => reader.choice<unknown>(key, 'conv', ['conv', 'resnet']) as Sampling;
  const activation = reader.choice<unknown>('act_fn', 'silu', ['silu', 'swish', 'gelu', 'relu', 'mish']);
  const timeScaleShift = reader.choice<unknown>('resnet_time_scale_shift', 'default', [
    'default',
    'scale_shift',
  ]);
  const midBlock = reader.choice<unknown>('mid_block_type', 'UNetMidBlock2D', ['UNetMidBlock2D', null]);
  return {
    blockOutChannels,
    downBlockTypes: types(
      'down_block_types',
      ['DownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D'],
      ['DownBlock2D', 'AttnDownBlock2D', 'ResnetDownsampleBlock2D'],
    ),
    upBlockTypes: types(
      'up_block_types',
      ['AttnUpBlock2D', 'AttnUpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'],
      ['UpBlock2D', 'AttnUpBlock2D', 'ResnetUpsampleBlock2D'],
    ),
    hasMidBlock: midBlock !== null,
    midAttention: reader.flag('add_attention', true),
    downsampleType: sampling('downsample_type'),
    upsampleType: sampling('upsample_type'),
    activation: (activation === 'swish' ? 'silu' : activation) as Activation,
    scaleShift: timeScaleShift === 'scale_shift',
    midBlockScaleFactor: reader.real('mid_block_scale_factor', 1, 1e-6, 1e6),
    layersPerBlock: reader.integer('layers_per_block', 2, 1, MAX.layers),
    downsamplePadding: reader.integer('downsample_padding', 1, 0, 1) as 0 | 1,
  };
}

/**
 * The embeddings of time and class.
 * @param ours whether our own options are allowed
 * @param channels of the first level
 */
function readEmbeddings(reader: ConfigReader, ours: boolean, channels: number) {
  const types = ['positional', 'fourier', 'learned'] as const;
  const timeEmbeddingType = reader.choice<unknown>('time_embedding_type', 'positional', [...types]);
  const classEmbedType = reader.choice<unknown>('class_embed_type', null, [null, 'timestep', 'identity']);
  const rows = reader.get('num_train_timesteps', null);
  const learned = timeEmbeddingType === 'learned';
  // With a class_embed_type there is no table, even if the config has its size.
  const classes = reader.get('num_class_embeds', null);
  const hasTable = classes !== null && classEmbedType === null;
  const numClassEmbeds = hasTable ? reader.asInteger('num_class_embeds', classes, 1, MAX.classes) : null;
  const hasNull = !ours || reader.flag('null_class', false);
  const projDim = ours ? readOptional(reader, 'time_proj_dim', null, 2, MAX.channels) : null;
  return {
    timeEmbeddingType: timeEmbeddingType as UNetConfig['timeEmbeddingType'],
    numTrainTimesteps: learned ? reader.asInteger('num_train_timesteps', rows, 1, MAX.classes) : null,
    freqShift: reader.real('freq_shift', 0, 0, 1),
    flipSinToCos: reader.flag('flip_sin_to_cos', true),
    timeEmbeddingDim: readOptional(reader, 'time_embedding_dim', null, 1, 65536) ?? channels * 4,
    timeProjDim: projDim ?? channels,
    frequencyTable: ours && reader.flag('frequency_table', false),
    timestepScale: ours ? reader.real('timestep_scale', 1, 1e-6, 1e6) : 1,
    numClassEmbeds,
    nullClass: numClassEmbeds === null || !hasNull ? null : numClassEmbeds - 1,
    classEmbedType: classEmbedType as UNetConfig['classEmbedType'],
  };
}

/** Checks that groups and heads divide the channels that they are of. */
function checkDivisions(config: UNetConfig, refuse: Refuse): void {
  const { blockOutChannels, hasMidBlock, midAttention, attentionHeadDim, numAttentionHeads } = config;
  const levels = blockOutChannels.length;
  const divides = (key: string, part: number, channels: number): void => {
    if (channels % part !== 0) refuse(key, `is ${part}, and does not divide ${channels} channels`);
  };
  for (const norm of normChannels(config)) divides('norm_num_groups', config.normNumGroups, norm);
  const last = blockOutChannels[levels - 1]!;
  const attended = [
    ...config.downBlockTypes.flatMap((type, i) => (type === 'AttnDownBlock2D' ? [blockOutChannels[i]!] : [])),
    ...config.upBlockTypes.flatMap((type, i) =>
      type === 'AttnUpBlock2D' ? [blockOutChannels[levels - 1 - i]!] : [],
    ),
    ...(hasMidBlock && midAttention ? [last] : []),
  ];
  if (numAttentionHeads !== null && attentionHeadDim !== null)
    refuse('num_attention_heads', 'is given, and attention_head_dim as well');
  for (const channels of attended) {
    if (attentionHeadDim) divides('attention_head_dim', attentionHeadDim, channels);
    if (numAttentionHeads) divides('num_attention_heads', numAttentionHeads, channels);
  }
  if (hasMidBlock && midAttention && config.attnNormNumGroups !== null)
    divides('attn_norm_num_groups', config.attnNormNumGroups, last);
  if (config.freqShift >= Math.floor(config.timeProjDim / 2))
    refuse('freq_shift', `is ${config.freqShift}, and the embedding has ${config.timeProjDim} numbers`);
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

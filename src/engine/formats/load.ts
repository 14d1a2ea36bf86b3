/** A model's folder in diffusers layout, foldered (unet/, scheduler/) or flat, into JSON and named tensors. */

import { DiffusionError, throwIfAborted } from '../../core/errors.ts';
import type { ModelFiles } from './files.ts';
import { readSafetensors, type WeightTensor } from './safetensors.ts';

export interface ModelFolder {
  readonly unetConfig: unknown;
  /** null when the folder has none: class defaults apply. */
  readonly schedulerConfig: unknown;
  /** Names of the classes, from labels.json; empty when there is none. */
  readonly labels: readonly string[];
  /** The weights, which are large: to be read when it is known that there is room for them. */
  readTensors(): Promise<Map<string, WeightTensor>>;
}

const WEIGHTS = 'diffusion_pytorch_model';
/** The files of the weights, whole or by their index, as diffusers names them; the first that is there is read. */
const VARIANTS = [
  { stem: WEIGHTS, index: `${WEIGHTS}.safetensors.index.json` },
  { stem: `${WEIGHTS}.fp16`, index: `${WEIGHTS}.safetensors.index.fp16.json` },
];

/** Of the files in a folder, those that `loadFolder` reads. */
export function wantedFiles(paths: readonly string[]): string[] {
  const unet = paths.includes('unet/config.json') ? 'unet/' : '';
  const scheduler = unet ? 'scheduler/scheduler_config.json' : 'scheduler_config.json';
  const wanted = [`${unet}config.json`, scheduler, 'labels.json'];
  const plain = paths.filter((path) => wanted.includes(path));
  for (const { stem, index } of VARIANTS) {
    const whole = `${unet}${stem}.safetensors`;
    if (paths.includes(whole)) return [...plain, whole];
    const shards = paths.filter(
      (path) => path.startsWith(`${unet}${stem}-`) && path.endsWith('.safetensors'),
    );
    if (paths.includes(unet + index)) return [...plain, unet + index, ...shards];
  }
  return plain;
}

/** @throws file-not-found, bad-weights, unsupported-model, download-failed, aborted */
export async function loadFolder(files: ModelFiles, signal?: AbortSignal): Promise<ModelFolder> {
  const json = async (path: string): Promise<unknown> => {
    const bytes = await files.read(path, signal);
    if (!bytes) return undefined;
    try {
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown;
    } catch (cause) {
      throw new DiffusionError(
        'unsupported-model',
        `${path} of ${files.label} is not JSON.`,
        'Download or convert the model again.',
        { cause },
      );
    }
  };
  const missing = (path: string) =>
    new DiffusionError(
      'file-not-found',
      `${files.label} has no ${path}.`,
      'Give a folder in diffusers layout, with config.json and a .safetensors file (no .bin, no .pt).',
    );

  let unet = 'unet/';
  let unetConfig = await json(`${unet}config.json`);
  if (unetConfig === undefined) unetConfig = await json(`${(unet = '')}config.json`);
  if (unetConfig === undefined) throw missing('unet/config.json');
  const schedulerConfig = await json(unet ? 'scheduler/scheduler_config.json' : 'scheduler_config.json');
  const labels = await json('labels.json');
  if (labels !== undefined && !(Array.isArray(labels) && labels.every((l) => typeof l === 'string')))
    throw new DiffusionError(
      'unsupported-model',
      `labels.json of ${files.label} is not a list of names.`,
      'Write it as ["first", "second", ...], or remove it.',
    );
  return {
    unetConfig,
    schedulerConfig: schedulerConfig ?? null,
    labels: (labels ?? []) as string[],
    async readTensors() {
      throwIfAborted(signal);
      for (const variant of VARIANTS) {
        const [name, list] = [`${unet}${variant.stem}.safetensors`, unet + variant.index];
        const bytes = await files.read(name, signal);
        if (bytes) return renameOldAttention(readSafetensors(bytes, name));
        const index = await json(list);
        if (index !== undefined)
          return renameOldAttention(await readShards(files, unet, index, list, signal));
      }
      throw missing(`${unet}${WEIGHTS}.safetensors`);
    },
  };
}

/** Weights in several files: `weight_map` of the index says which tensor is in which. */
async function readShards(
  files: ModelFiles,
  folder: string,
  index: unknown,
  name: string,
  signal?: AbortSignal,
): Promise<Map<string, WeightTensor>> {
  const refuse = (what: string): never => {
    throw new DiffusionError(
      'bad-weights',
      `${name} of ${files.label} ${what}.`,
      'Download or convert the model again.',
    );
  };
  const map = (index as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map)) return refuse('has no weight_map');
  const wanted = new Map(Object.entries(map));
  const shards = new Set<string>();
  for (const [tensor, shard] of wanted)
    if (typeof shard === 'string' && /^[\w.-]+\.safetensors$/.test(shard)) shards.add(shard);
    else refuse(`has no file name for ${tensor.slice(0, 200)}`);
  if (shards.size > 1000) refuse(`names ${shards.size} files`);
  const all = new Map<string, WeightTensor>();
  for (const shard of shards) {
    throwIfAborted(signal);
    const bytes = await files.read(`${folder}${shard}`, signal);
    if (!bytes) return refuse(`names ${shard}, which is not there`);
    for (const [tensor, value] of readSafetensors(bytes, shard))
      if (wanted.get(tensor) === shard) all.set(tensor, value);
      else refuse(`does not say that ${tensor.slice(0, 200)} is in ${shard}`);
  }
  for (const [tensor, shard] of wanted)
    if (!all.has(tensor)) refuse(`says that ${tensor.slice(0, 200)} is in ${String(shard)}, where it is not`);
  return all;
}

/** Names that diffusers used before 0.15, renamed as its `_fix_state_dict_keys_on_load` does. */
const OLD_ATTENTION = { query: 'to_q', key: 'to_k', value: 'to_v', proj_attn: 'to_out.0' } as const;

function renameOldAttention(tensors: Map<string, WeightTensor>): Map<string, WeightTensor> {
  return new Map(
    [...tensors.values()].map((tensor) => {
      const name = tensor.name.replace(
        /(\.attentions\.\d+\.)(query|key|value|proj_attn)(?=\.(weight|bias)$)/,
        (_, owner: string, old: keyof typeof OLD_ATTENTION) => owner + OLD_ATTENTION[old],
      );
      return [name, { ...tensor, name }];
    }),
  );
}

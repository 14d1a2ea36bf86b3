/** A model's folder in diffusers layout, foldered (unet/, scheduler/) or flat, into JSON and named tensors. */

import { DiffusionError, throwIfAborted } from '../errors.ts';
import type { ModelFiles } from './files.ts';
import { readSafetensors, type WeightTensor } from './safetensors.ts';

export interface ModelFolder {
  readonly unetConfig: unknown;
  /** null when the folder has none: class defaults apply. */
  readonly schedulerConfig: unknown;
  readonly tensors: Map<string, WeightTensor>;
  /** Names of the classes, from labels.json; empty when there is none. */
  readonly labels: readonly string[];
}

const WEIGHTS = 'diffusion_pytorch_model';

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
  throwIfAborted(signal);
  for (const name of [`${unet}${WEIGHTS}.safetensors`, `${unet}${WEIGHTS}.fp16.safetensors`]) {
    const bytes = await files.read(name, signal);
    if (bytes)
      return {
        unetConfig,
        schedulerConfig: schedulerConfig ?? null,
        tensors: renameOldAttention(readSafetensors(bytes, name)),
        labels: labels ?? [],
      };
  }
  throw missing(`${unet}${WEIGHTS}.safetensors`);
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

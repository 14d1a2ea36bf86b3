/** Which model: those that come with the page, one from elsewhere, one from a disk. Nothing here downloads weights. */

import { DiffusionError } from '../../core/errors.ts';
import type { KernelPolicy } from '../../engine/kernels/kernel_policy.ts';
import { planMemory } from '../../engine/memory.ts';
import { runtime } from '../../loading/runtime.ts';
import { parseSchedulerConfig, type SchedulerConfig } from '../../schedule/config.ts';
import type { Shape } from '../../core/tensor.ts';
import { parseUNetConfig, type UNetConfig } from '../../engine/unet/config.ts';
import { loadFolder } from '../../engine/formats/load.ts';
import type { ModelSource, Notice } from '../../loading/source.ts';

/** What is known before the weights are here. */
export interface ModelInfo {
  /** What opens it: a name, an address; "files" for files that were dropped. */
  readonly address: string;
  readonly source: ModelSource;
  readonly config: UNetConfig;
  readonly scheduler: SchedulerConfig;
  readonly labels: readonly string[];
  /** That can be asked for; 0 for a model without. */
  readonly classes: number;
  /** A class for "any" is among them. */
  readonly hasAny: boolean;
}

export interface Bundled {
  readonly name: string;
  readonly title: string;
  readonly bytes: number;
  readonly licence: string;
}

export async function bundledModels(): Promise<Bundled[]> {
  try {
    const response = await fetch(new URL('weights/models.json', document.baseURI));
    if (response.ok) return (await response.json()) as Bundled[];
  } catch {
    // the sentence below
  }
  throw new DiffusionError(
    'download-failed',
    'The list of models could not be downloaded.',
    'Check the connection and try again.',
  );
}

/** Unless another is asked for: the one with most weights where a GPU computes, the digits where software does. */
export function defaultModel(models: readonly Bundled[], software: boolean): string {
  const bySize = models.toSorted((a, b) => b.bytes - a.bytes);
  const small = models.find(({ name }) => name === 'digits') ?? bySize.at(-1);
  return (software ? small : bySize[0])?.name ?? 'digits';
}

export async function look(
  address: string | readonly File[],
  onNotice: (notice: Notice) => void,
): Promise<ModelInfo> {
  const source = await runtime.describe(address, { onNotice });
  const { files } = source;
  const { unetConfig, schedulerConfig, labels } = await loadFolder(files);
  const config = parseUNetConfig(unetConfig, `config.json of ${files.label}`);
  const classes = config.classEmbedType === null ? (config.numClassEmbeds ?? 0) : 0;
  const hasAny = classes > 0 && config.nullClass !== null;
  return {
    address: typeof address === 'string' ? address : 'files',
    source,
    config,
    scheduler: parseSchedulerConfig(schedulerConfig, `scheduler_config.json of ${files.label}`),
    labels,
    classes: hasAny ? classes - 1 : classes,
    hasAny,
  };
}

/** Of the state of a run. */
export function shapeOf({ config }: ModelInfo, count: number): Shape {
  const [height, width] = config.sampleSize ?? [0, 0];
  return [count, config.inChannels, height, width];
}

/** GPU memory that a run takes, in bytes; null where it cannot be said. @param variants as the adapter computes */
export function memoryOf(
  info: ModelInfo,
  count: number,
  guided: boolean,
  variants?: KernelPolicy,
): number | null {
  const [, , height, width] = shapeOf(info, count);
  if (height === 0) return null;
  try {
    const shape = { count, height, width, guided };
    return planMemory(info.config, shape, 'f32', undefined, variants).total;
  } catch {
    return null;
  }
}

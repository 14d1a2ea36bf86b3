/** How a picture was made, as JSON: the model's key and every option that has a part in the numbers. Replays to the same picture. */

import { isObject } from '../core/config_reader.ts';
import { toShares, toSigned } from '../core/pixels.ts';
import { DiffusionError } from '../core/errors.ts';
import type { Player } from './player.ts';
import type { SampleOptions } from './sample_options.ts';
import { withCurrentNames } from '../schedule/run_options.ts';
import type { DType, Shape } from '../core/tensor.ts';
import { pngText } from '../core/png_chunks.ts';

export const RECIPE_VERSION = 1;
/** The keyword of the PNG text that holds a recipe. */
export const RECIPE_KEYWORD = 'diffusion-sampler';

/** The options of a run that fit into JSON. */
export type RecipeOptions = Omit<
  SampleOptions,
  'xT' | 'init' | 'mask' | 'z' | 'signal' | 'startStep' | 'begin' | 'resume' | 'sampler'
>;

export interface Recipe {
  readonly recipe: typeof RECIPE_VERSION;
  readonly model: {
    /** What opens it: "digits", "huggingface:owner/name@revision", an address; a name for files that were dropped. */
    readonly source: string;
    /** The same key, the same weights. */
    readonly key: string;
  };
  readonly dtype: DType;
  readonly options: RecipeOptions;
  /** The picture that the run starts from, of 8 bits: `data` in base64, (N, C, H, W) row-major. */
  readonly init?: Bytes;
  /** 0: kept, 255: painted. */
  readonly mask?: Bytes;
  /** Where the run was taken up again with other options, in order. */
  readonly forks?: readonly Fork[];
}

/** After `at` steps, on with these options in place of those before. */
export interface Fork {
  readonly at: number;
  readonly options: RecipeOptions;
}

interface Bytes {
  readonly shape: Shape;
  readonly data: string;
}

// ---- 8 bits <-> numbers --------------------------------------------------------------------------------------------

function pack(
  name: string,
  numbers: Float32Array<ArrayBuffer>,
  shape: Shape,
  byte: (x: number) => number,
  back: (bytes: ArrayLike<number>) => Float32Array<ArrayBuffer>,
): Bytes {
  const bytes = Uint8Array.from(numbers, byte);
  const again = back(bytes);
  if (numbers.some((x, i) => x !== again[i]))
    throw new DiffusionError(
      'bad-input',
      `The ${name} has more than 8 bits a pixel, and a recipe holds 8.`,
      'Round it to 8 bits before the run.',
    );
  return { shape, data: toBase64(bytes) };
}

function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (const b of bytes) text += String.fromCharCode(b);
  return btoa(text);
}

// ---- to and from a run ----------------------------------------------------------------------------------------------

/**
 * @param shape of the run's state
 * @throws bad-input where the options hold numbers that a recipe cannot: noise that was given, a picture finer than 8 bits
 */
export function makeRecipe(
  model: { readonly source: string; readonly key: string; readonly dtype: DType },
  run: SampleOptions,
  shape: Shape,
  forks: readonly Fork[] = [],
): Recipe {
  const { init, mask, xT, z, startStep, resume, sampler } = withCurrentNames(run);
  if (xT || z || startStep || resume || sampler)
    throw new DiffusionError(
      'bad-input',
      'This run uses numbers or a sampler that were given to it, which a recipe does not contain.',
      'Save the picture instead.',
    );
  return {
    recipe: RECIPE_VERSION,
    model: { source: model.source, key: model.key },
    dtype: model.dtype,
    options: Object.fromEntries(
      Object.entries(withCurrentNames(run)).filter(([key, value]) => key in OPTIONS && value !== undefined),
    ),
    ...(init ? { init: pack('picture', init, shape, (x) => Math.round((x + 1) * 127.5), toSigned) } : {}),
    ...(forks.length > 0 ? { forks } : {}),
    ...(mask ? { mask: pack('mask', mask, shape, (x) => Math.round(x * 255), toShares) } : {}),
  };
}

/** What `sample` takes to make the picture again, on the model that the recipe names. */
export function recipeOptions({ options, init, mask }: Recipe): SampleOptions {
  const bytes = ({ data }: Bytes) => Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  return {
    ...options,
    ...(init ? { init: toSigned(bytes(init)) } : {}),
    ...(mask ? { mask: toShares(bytes(mask)) } : {}),
  };
}

/**
 * Plays a recipe to the end.
 * @param player on the model that the recipe names
 * @throws what the run throws
 */
export async function playRecipe(player: Player, recipe: Recipe): Promise<void> {
  const { forks = [] } = recipe;
  await player.start(recipeOptions(recipe), forks.length > 0);
  await player.settled();
  for (const [i, { at, options }] of forks.entries()) {
    await player.fork(at, options, i < forks.length - 1);
    await player.settled();
  }
}

export const formatRecipe = (recipe: Recipe): string => JSON.stringify(recipe, null, 1);

// ---- reading what may be anything -----------------------------------------------------------------------------------

type Check = (value: unknown) => boolean;
const whole: Check = (v) => Number.isSafeInteger(v) && (v as number) >= 0;
const number: Check = (v) => typeof v === 'number' && Number.isFinite(v);
const flag: Check = (v) => typeof v === 'boolean';
const word: Check = (v) => typeof v === 'string' && /^[\w.,-]{1,200}$/.test(v);
const list =
  (each: Check, least: number, most: number): Check =>
  (v) =>
    Array.isArray(v) && v.length >= least && v.length <= most && v.every(each);
const fields =
  (checks: Readonly<Record<string, Check>>): Check =>
  (v) =>
    isObject(v) &&
    Object.keys(v).length === Object.keys(checks).length &&
    Object.entries(checks).every(([key, check]) => check(v[key]));

/** The form of each option; the sampler itself says whether the value makes sense. */
const OPTIONS: Readonly<Record<keyof RecipeOptions, Check>> = {
  labels: list((v) => v === null || whole(v), 1, 4096),
  count: whole,
  guidance: number,
  seed: whole,
  strength: number,
  interpolate: list(whole, 2, 2),
  guidanceRescale: number,
  guidanceInterval: list(number, 2, 2),
  scheduler: word,
  steps: whole,
  eta: number,
  spacing: word,
  timesteps: list(whole, 1, 100_000),
  respacing: word,
  sigmas: word,
  prediction: word,
  variance: word,
  clip: (v) => v === null || number(v) || fields({ quantile: number, max: number })(v),
  order: whole,
  bh: word,
  jumpLength: whole,
  jumpSamples: whole,
  jumps: fields({ length: whole, samples: whole }),
  churn: number,
  epsFromClipped: flag,
  invert: flag,
  compat: word,
  maxTimestep: whole,
  top: whole,
};

/** The text of a recipe; null for a PNG that carries none. */
function textOf(file: Uint8Array | string): string | null {
  if (typeof file === 'string') return file;
  return file[0] === 0x89 ? pngText(file, RECIPE_KEYWORD) : new TextDecoder().decode(file);
}

/**
 * A recipe from a .json file, or from the PNG that carries one.
 * @throws no-recipe, for a PNG without one; bad-input, which says what is wrong
 */
export function readRecipe(file: Uint8Array | string): Recipe {
  const saved = 'Choose a file that this page has saved.';
  const refuse = (what: string, action = saved): never => {
    throw new DiffusionError('bad-input', what, action);
  };
  const text = textOf(file);
  if (text === null) throw new DiffusionError('no-recipe', 'This PNG carries no recipe.', saved);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refuse('This is not a recipe: it is not JSON.');
  }
  if (!isObject(value) || !('recipe' in value)) return refuse('This is not a recipe: it does not say so.');
  const { recipe: version, model, dtype, options, init, mask, forks } = value;
  if (version !== RECIPE_VERSION)
    return refuse(
      `This recipe has version ${String(version).slice(0, 20)}, and this page reads ${RECIPE_VERSION}.`,
      'Open it with the page that saved it.',
    );
  const name = (v: unknown): v is string => typeof v === 'string' && v.length > 0 && v.length <= 2000;
  if (!isObject(model) || !name(model['source']) || !name(model['key']))
    return refuse('The recipe does not name its model.');
  if (dtype !== 'f32' && dtype !== 'f16') return refuse('The recipe does not name its precision.');
  checkOptions(options);
  if (forks !== undefined) {
    if (!Array.isArray(forks) || forks.length > 100) return refuse('The forks of the recipe are damaged.');
    for (const fork of forks as unknown[]) {
      if (!isObject(fork) || !whole(fork['at'])) return refuse('The forks of the recipe are damaged.');
      checkOptions(fork['options']);
    }
  }
  for (const [key, bytes] of Object.entries({ init, mask })) if (bytes !== undefined) checkBytes(key, bytes);
  return {
    recipe: RECIPE_VERSION,
    model: { source: model['source'], key: model['key'] },
    dtype,
    options: withCurrentNames(options as RecipeOptions),
    ...(forks === undefined
      ? {}
      : { forks: forks.map(({ at, options }: Fork) => ({ at, options: withCurrentNames(options) })) }),
    ...(init === undefined ? {} : { init: init as Bytes }),
    ...(mask === undefined ? {} : { mask: mask as Bytes }),
  };

  function checkOptions(given: unknown): void {
    if (!isObject(given)) return refuse('The recipe has no options.');
    for (const [key, option] of Object.entries(given)) {
      if (!Object.hasOwn(OPTIONS, key))
        refuse(`The recipe has an option "${key.slice(0, 40)}" that is not known here.`);
      if (!OPTIONS[key as keyof RecipeOptions](option))
        refuse(`The recipe's option ${key} is not of its kind.`);
    }
  }

  function checkBytes(key: string, bytes: unknown): void {
    const what = `The recipe's ${key === 'init' ? 'picture' : 'mask'} is damaged.`;
    if (!isObject(bytes) || typeof bytes['data'] !== 'string') return refuse(what);
    const { shape, data } = bytes;
    if (!list((v) => whole(v) && (v as number) >= 1 && (v as number) <= 4096, 4, 4)(shape)) refuse(what);
    let length: number;
    try {
      length = atob(data as string).length;
    } catch {
      return refuse(what);
    }
    if (length !== (shape as number[]).reduce((a, b) => a * b)) refuse(what);
  }
}

/** The drawer "Share": links, tags, and files. The encoders are loaded when they are wanted. */

import { grid, type Pixels } from '../../core/pixels.ts';
import type { Recipe } from '../../session/recipe.ts';
import type { Player } from '../../session/player.ts';
import { readTerms, termsOf, type StateView } from '../../session/state_view.ts';
import type { Shape } from '../../core/tensor.ts';
import { quoted } from '../../ui/dom.ts';
import type { State } from './fragment.ts';

/** Frames of an animation at most; of a longer run every n-th is taken. */
const MOST_FRAMES = 120;
/** An animation is about so many pixels high. */
const SIDE = 384;

/** A view of a stored state, in numbers; null if the state has none. */
async function read(player: Player, k: number, view: StateView): Promise<Float32Array | null> {
  const state = player.at(k);
  const { gpu, model } = player.lease;
  const terms = state && termsOf(view, state, model.schedulerConfig);
  return terms && readTerms(gpu, terms);
}

/** What stands on the stage, to the pixel, magnified in whole steps. */
export async function shownPicture(player: Player, view: StateView, side: number): Promise<Pixels> {
  const { shape } = player.at(player.index)!.xT;
  const numbers = (await read(player, player.index, view)) ?? (await read(player, player.index, 'x_t'))!;
  return grid(numbers, shape, { zoom: zoomOf(shape, side) });
}

const zoomOf = ([n, , , w]: Shape, side: number): number =>
  Math.max(1, Math.floor(side / (Math.ceil(Math.sqrt(n)) * w)));

/** The text of a PNG that carries a recipe. */
async function textOf(recipe: Recipe | null): Promise<Record<string, string>> {
  if (!recipe) return {};
  const { formatRecipe, RECIPE_KEYWORD } = await import('../../session/recipe.ts');
  return { [RECIPE_KEYWORD]: formatRecipe(recipe) };
}

export async function pngFile(picture: Pixels, recipe: Recipe | null): Promise<Blob> {
  const { png } = await import('../../ui/export/png.ts');
  const text = await textOf(recipe);
  return new Blob([png(picture, { Software: 'diffusion-sampler', ...text })], { type: 'image/png' });
}

/** The stored states of a run, x_t, and beside it what the model expects. */
export async function framesOf(player: Player, withX0: boolean): Promise<Pixels[]> {
  const all = player.stored;
  const every = Math.ceil(all.length / MOST_FRAMES);
  const chosen = all.filter((_, i) => i % every === 0 || i === all.length - 1);
  const frames: Pixels[] = [];
  for (const k of chosen) {
    const { shape } = player.at(k)!.xT;
    const zoom = zoomOf(shape, SIDE);
    const [x, expected] = await Promise.all([read(player, k, 'x_t'), withX0 ? read(player, k, 'x0') : null]);
    // At the start nothing is expected yet: the middle grey of a picture of which nothing is known.
    const x0 = withX0 ? (expected ?? new Float32Array(x!.length)) : null;
    const left = grid(x!, shape, { zoom });
    frames.push(x0 ? beside(left, grid(x0, shape, { zoom }), 2 * zoom) : left);
  }
  return frames;
}

function beside(a: Pixels, b: Pixels, gap: number): Pixels {
  const width = a.width + gap + b.width;
  const { height, channels } = a;
  const data = new Uint8Array(width * height * channels).fill(255);
  for (const [part, left] of [
    [a, 0],
    [b, a.width + gap],
  ] as const)
    for (let y = 0; y < height; y++) {
      const row = part.data.subarray(y * part.width * channels, (y + 1) * part.width * channels);
      data.set(row, (y * width + left) * channels);
    }
  return { width, height, channels, data };
}

/** About three seconds, then a rest on the picture. */
export async function apngFile(frames: readonly Pixels[], recipe: Recipe | null, plays = 0): Promise<Blob> {
  const { apng } = await import('../../ui/export/apng.ts');
  const delay = Math.max(40, Math.round(3000 / frames.length));
  const delays = frames.map((_, i) => (i === frames.length - 1 ? 2500 : delay));
  const text = await textOf(recipe);
  return new Blob([apng(frames, delays, { plays, text })], { type: 'image/png' });
}

export async function videoFile(frames: readonly Pixels[], format: 'webm' | 'mp4'): Promise<Blob> {
  const { video } = await import('../../ui/export/video.ts');
  const fps = Math.min(25, Math.max(4, Math.round(frames.length / 3)));
  const rest = Array<Pixels>(2 * fps).fill(frames.at(-1)!);
  return new Blob([await video([...frames, ...rest], fps, { format })], { type: `video/${format}` });
}

/** What an author pastes. */
export function embedCode(state: State, model: string): { readonly tag: string; readonly frame: string } {
  const attributes = [
    ['model', state.src ? '' : model],
    ['src', state.src],
    ['sampler', state.sampler],
    ['steps', String(state.steps)],
    ['seed', String(state.seed)],
    ['label', typeof state.label === 'number' ? String(state.label) : ''],
    ['guidance', typeof state.label === 'number' ? String(state.guidance) : ''],
    ['eta', state.sampler === 'ddim' && state.eta > 0 ? String(state.eta) : ''],
    ['count', state.count > 1 ? String(state.count) : ''],
    ['view', state.view === 'x_t' ? '' : state.view],
  ].filter(([, value]) => value !== '') as [string, string][];
  const base = new URL('.', document.baseURI);
  const pairs = attributes.map(([name, value]) => `${name}="${quoted(value)}"`).join(' ');
  const query = new URLSearchParams(attributes);
  return {
    tag: `<script type="module" src="${quoted(new URL('define.js', base).href)}"></script>\n<diffusion-sampler ${pairs} controls></diffusion-sampler>`,
    frame: `<iframe src="${quoted(new URL(`embed.html?${query}`, base).href)}" title="A diffusion model draws" width="420" height="520" loading="lazy" style="border:0"></iframe>`,
  };
}

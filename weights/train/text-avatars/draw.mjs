/** One avatar, drawn: its picture and the words that are true of it. */
import * as collection from '@dicebear/collection';
import { createAvatar } from '@dicebear/core';
import { Resvg } from '@resvg/resvg-js';
import { COLOURED, STYLES } from './attributes.mjs';
import { complete, describe, NAMES } from './describe.mjs';

export const SIZE = 128;

/** Variants of an option, some repeated: those with a word until they are about half of the list. */
function raised(key, option, say) {
  const all = collection[key].schema.properties[option]?.items?.enum;
  if (!all) return undefined;
  const rare = key === 'openPeeps' && option === 'head' ? COLOURED : all.filter((variant) => say(variant));
  const copies = rare.length ? Math.round((all.length - rare.length) / rare.length) : 1;
  return copies > 1 ? [...all, ...Array.from({ length: copies - 1 }, () => rare).flat()] : undefined;
}
const RAISED = Object.fromEntries(
  NAMES.map((key) => {
    const lists = Object.entries(STYLES[key].say).map(([option, [, say]]) => [option, raised(key, option, say)]);
    return [key, Object.fromEntries(lists.filter(([, list]) => list))];
  }),
);

/** pixels: SIZE x SIZE x 3 bytes of sRGB; words: what is true of the picture. */
export function draw(name, i, size = SIZE) {
  const { key, options, words } = describe(name, i);
  const avatar = createAvatar(collection[key], { ...options, ...RAISED[key], size });
  const { pixels } = new Resvg(avatar.toString(), { font: { loadSystemFonts: false } }).render();
  const out = new Uint8Array(size * size * 3);
  for (let p = 0; p < size * size; p++) for (let c = 0; c < 3; c++) out[p * 3 + c] = pixels[p * 4 + c];
  return { pixels: out, words: complete(key, words, avatar.toJson().extra) };
}

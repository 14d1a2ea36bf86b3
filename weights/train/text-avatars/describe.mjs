/**
 * What an avatar is: its options, and the words that are true of it. Picture i of a draw is a pure function of (name of the draw, i).
 * Its style is i % 14. Colours come from palettes of our own, so a colour word is true by construction. The words of shapes are read
 * from the options that DiceBear reports as drawn.
 */
import { createHash } from 'node:crypto';
import { BACK, HEADWEAR, STYLES } from './attributes.mjs';

export const NAMES = Object.keys(STYLES);

/** Pairs of style, attribute and word that no training picture has: does the model put together what it never saw together? */
export const HELD_OUT = [
  ['adventurer', 'hairColor', 'purple'],
  ['bigEars', 'hairColor', 'green'],
  ['bigSmile', 'back', 'coral'],
  ['dylan', 'back', 'dark blue'],
  ['funEmoji', 'back', 'teal'],
  ['lorelei', 'hairColor', 'red'],
  ['micah', 'clothColor', 'green'],
  ['miniavs', 'hairColor', 'teal'],
  ['openPeeps', 'clothColor', 'purple'],
  ['personas', 'hairColor', 'pink'],
  ['pixelArt', 'back', 'lavender'],
  ['thumbs', 'bodyColor', 'orange'],
];

/** xoshiro128** (Blackman and Vigna 2018), seeded by a hash: () => [0, 1). */
export function random(text) {
  const h = createHash('sha256').update(text).digest();
  let [a, b, c, d] = [0, 4, 8, 12].map((o) => h.readUInt32LE(o));
  return () => {
    const m = Math.imul(b, 5);
    const r = Math.imul((m << 7) | (m >>> 25), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = (d << 11) | (d >>> 21);
    return r / 2 ** 32;
  };
}

const kebab = (s) => s.replace(/[A-Z]/g, (c) => ' ' + c.toLowerCase()); // bigEars: "big ears"

/** The style, the options for DiceBear, and the words that the options alone decide. name "pairs": only held-out pairs. */
export function describe(name, i) {
  const rng = random(`${name}/${i}`);
  const pick = (list) => list[Math.floor(rng() * list.length)];
  const wanted = name === 'pairs' ? HELD_OUT[i % HELD_OUT.length] : undefined;
  const key = wanted ? wanted[0] : NAMES[i % NAMES.length];
  const style = STYLES[key];
  const free = name.startsWith('judge'); // the judge knows all pairs
  const words = { style: kebab(key) };
  const options = { seed: createHash('sha256').update(`${name}/seed/${i}`).digest('hex'), ...style.options };
  const colours = { backgroundColor: ['back', BACK], ...style.colours };
  for (const [option, [attribute, palette]] of Object.entries(colours)) {
    const out = HELD_OUT.filter(([k, a]) => k === key && a === attribute).map(([, , word]) => word);
    const ofPair = wanted !== undefined && wanted[1] === attribute;
    const choices = Object.entries(palette).filter(([word]) => (ofPair ? word === wanted[2] : free || !out.includes(word)));
    const [word, hexes] = pick(choices);
    options[option] = [pick(hexes)];
    if (attribute) words[attribute] = word;
  }
  return { key, options, words };
}

/** `words` with those of the shapes that were drawn, less what other shapes hide. drawn: the options that DiceBear reports. */
export function complete(key, words, drawn) {
  const all = { ...words };
  for (const [option, [attribute, say]] of Object.entries(STYLES[key].say)) {
    const word = drawn[option] === undefined ? undefined : say(drawn[option]);
    if (word) all[attribute] = word;
  }
  STYLES[key].after?.(all, drawn);
  if (all.hair === 'bald' || HEADWEAR.includes(all.hair)) delete all.hairColor; // nothing shows it
  return all;
}

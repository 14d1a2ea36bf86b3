import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

// Captions are what the text-to-avatar model learns words from: each must say nothing but the truth of its picture.
type Words = Record<string, string>;
type Palette = Record<string, string[]>;
const room = new URL('../../weights/train/text-avatars/', import.meta.url);
const load = async (file: string) => (await import(new URL(file, room).href)) as Record<string, unknown>;
const { HAIR, SKIN, CLOTH, BACK } = (await load('attributes.mjs')) as Record<string, Palette>;
const { caption, SYNONYMS } = (await load('caption.mjs')) as {
  caption: (words: Words, rng: () => number) => { text: string; said: Words };
  SYNONYMS: Record<string, string[]>;
};
const {
  complete,
  describe: options,
  HELD_OUT,
  random,
} = (await load('describe.mjs')) as {
  complete: (key: string, words: Words, drawn: Words) => Words;
  describe: (name: string, i: number) => { key: string; options: Record<string, unknown>; words: Words };
  HELD_OUT: [string, string, string][];
  random: (text: string) => () => number;
};

const synonyms = (word: string) => SYNONYMS[word] ?? [word];
const GLUE =
  /\b(a|an|with|wearing|on|and|in|the|hair|skin|background|shirt|top|clothes|avatar|portrait|character|face)\b|,/g;

/** What a caption says beside these words: nothing, if it is true. */
function rest(text: string, said: Words): string {
  const phrases = Object.values(said)
    .flatMap(synonyms)
    .map((phrase) => phrase.replace(/^(a|an|with a|with) /, ''))
    .sort((a, b) => b.length - a.length);
  let left = text;
  for (const phrase of phrases) left = left.replace(phrase, ' ');
  return left.replace(GLUE, ' ').trim();
}

const ROWS: Words[] = [
  { style: 'micah', back: 'yellow', hair: 'quiffed', hairColor: 'blue', skin: 'tan', clothColor: 'red', clothes: 'open shirt', glasses: 'round glasses', earrings: 'hoop earrings', mouth: 'smiling' },
  { style: 'micah', back: 'coral', hair: 'a turban', hatColor: 'teal', beard: 'a beard', mouth: 'sad' },
  { style: 'open peeps', back: 'teal', hair: 'a bear head', skin: 'pale', clothColor: 'pink', accessory: 'a face mask' },
  { style: 'open peeps', back: 'pink', hair: 'bantu knots', hairColor: 'black', mouth: 'one eye', glasses: 'an eyepatch' },
  { style: 'adventurer', back: 'white', hair: 'flowers in', hairColor: 'ginger', feature: 'freckles', mouth: 'tongue out' },
  { style: 'big smile', back: 'lavender', hair: 'with bangs', hairColor: 'gray', eyes: 'starry eyes', mouth: 'gap-toothed smile', accessory: 'cat ears' },
  { style: 'pixel art', back: 'peach', hat: 'hat', hatColor: 'green', clothColor: 'white', glasses: 'sunglasses', beard: 'a beard' },
  { style: 'personas', back: 'dark blue', hair: 'balding', hairColor: 'white', clothColor: 'orange', eyes: 'winking', mouth: 'full lips', beard: 'a soul patch' },
  { style: 'lorelei', back: 'pale blue', hair: 'bald', skin: 'dark', mouth: 'happy', glasses: 'glasses' },
  { style: 'dylan', back: 'mint green', hair: 'two buns', hairColor: 'teal', mouth: 'very happy', beard: 'stubble' },
  { style: 'fun emoji', back: 'light gray', eyes: 'a tear', mouth: 'blowing a kiss' },
  { style: 'thumbs', back: 'peach', bodyColor: 'purple', eyes: 'heart eyes', mouth: 'laughing' },
  { style: 'notionists', back: 'coral', hair: 'cap', gesture: 'holding a phone' },
]; // prettier-ignore

const drawn = ROWS.flatMap((words, k) =>
  Array.from({ length: 150 }, (_, i) => ({ words, ...caption(words, random(`test/${k}/${i}`)) })),
);

describe('captions of avatars', () => {
  test('say only what is true of the picture, and report just what they say', () => {
    for (const { words, text, said } of drawn) {
      for (const [attribute, word] of Object.entries(said)) expect(words[attribute], text).toBe(word);
      expect(rest(text, said), text).toBe('');
      for (const [attribute, word] of Object.entries(said)) {
        const found = synonyms(word).some((phrase) =>
          text.includes(phrase.replace(/^(a|an|with a|with) /, '')),
        );
        expect(found || word === 'flowers in', `${attribute} in: ${text}`).toBe(true);
      }
    }
  });

  test('put each colour to its own noun', () => {
    const hair = '[a-z -]*(hair|bun|buns|bangs|knots)';
    const nouns: Words = { back: ' background', hairColor: ` ${hair}`, clothColor: ' [a-z -]*(shirt|top|clothes)', hatColor: ' (hat|turban)', skin: ' skin' }; // prettier-ignore
    for (const { text, said } of drawn)
      for (const [attribute, noun] of Object.entries(nouns))
        if (said[attribute])
          expect(text).toMatch(new RegExp(`(${synonyms(said[attribute]).join('|')})${noun}`));
  });

  test('are sentences and tags, long and short, with every synonym', () => {
    const texts = drawn.map(({ text }) => text);
    expect(texts.filter((text) => !/^(a|an) /.test(text)).length / texts.length).toBeGreaterThan(0.15);
    expect(texts.filter((text) => /^(a|an) /.test(text)).length / texts.length).toBeGreaterThan(0.6);
    const said = drawn.map((one) => Object.keys(one.said).length / Object.keys(one.words).length);
    expect(said.filter((share) => share < 0.35).length).toBeGreaterThan(100);
    expect(said.filter((share) => share > 0.85).length).toBeGreaterThan(100);
    const used = new Set(ROWS.flatMap((words) => Object.values(words)));
    for (const [word, phrases] of Object.entries(SYNONYMS))
      if (used.has(word))
        for (const phrase of phrases) expect(texts.join('\n')).toContain(phrase.replace('with ', ''));
  });

  test('are tokens each', () => {
    const vocabulary = JSON.parse(readFileSync(new URL('tokenizer/vocab.json', room), 'utf8')) as Record<
      string,
      number
    >;
    const words = new Set(drawn.flatMap(({ text }) => text.match(/[a-z]+/g) ?? []));
    expect([...words].filter((word) => vocabulary[`${word}</w>`] === undefined)).toEqual([]);
  });
});

describe('draws of avatars', () => {
  test('no colour word has two meanings in a palette', () => {
    for (const palette of [HAIR!, SKIN!, CLOTH!, BACK!]) {
      const hexes = Object.values(palette).flat();
      expect(new Set(hexes).size).toBe(hexes.length);
      const phrases = Object.keys(palette).flatMap(synonyms);
      expect(new Set(phrases).size).toBe(phrases.length);
    }
  });

  test('training never has a held-out pair; the pairs draw has nothing else', () => {
    const has = ({ key, words }: { key: string; words: Words }) =>
      HELD_OUT.some(([style, attribute, word]) => key === style && words[attribute] === word);
    const draw = (name: string) => Array.from({ length: 2800 }, (_, i) => has(options(name, i)));
    expect(draw('train')).not.toContain(true);
    expect(draw('test')).not.toContain(true);
    expect(draw('pairs')).not.toContain(false);
    expect(draw('judge')).toContain(true);
    expect(options('train', 5)).toEqual(options('train', 5));
  });

  test('the words follow what was really drawn', () => {
    const words = { style: 'open peeps', hairColor: 'blue', clothColor: 'red' };
    const peep = (head: string, more: Words = {}) => complete('openPeeps', words, { head, ...more });
    expect(peep('afro')).toMatchObject({ hair: 'afro', hairColor: 'black' });
    expect(peep('grayBun')).toMatchObject({ hair: 'bun', hairColor: 'blue' });
    expect(peep('turban')).toMatchObject({ hair: 'a turban', hatColor: 'red' });
    expect(peep('turban')).not.toHaveProperty('hairColor');
    expect(peep('noHair1')).not.toHaveProperty('hairColor');
    expect(peep('afro', { mask: 'medicalMask', face: 'smile' })).not.toHaveProperty('mouth');
    const pixel = (drawn: Words) =>
      complete('pixelArt', { hairColor: 'red', hatColor: 'teal' }, { hair: 'long01', ...drawn });
    expect(pixel({})).toEqual({ hairColor: 'red', hair: 'long' });
    expect(pixel({ hat: 'variant01' })).toEqual({ hat: 'hat', hatColor: 'teal' });
  });
});

/**
 * The words that are true of a picture -> a caption. A caption says all, most or few of them, in a sentence or as tags, in
 * shuffled order and with synonyms. It never says what is not among the words.
 */
import { HEADWEAR } from './attributes.mjs';
import { random } from './describe.mjs';

export const SYNONYMS = {
  smiling: ['smiling', 'with a smile', 'with a happy smile'], happy: ['happy', 'smiling', 'cheerful'], sad: ['sad', 'unhappy'],
  laughing: ['laughing', 'with a big laugh'], frowning: ['frowning', 'with a frown'], 'very happy': ['very happy', 'overjoyed'],
  angry: ['angry', 'mad'], furious: ['furious', 'raging'], surprised: ['surprised', 'astonished'], worried: ['worried', 'concerned'],
  glasses: ['glasses', 'spectacles', 'eyeglasses'], 'round glasses': ['round glasses', 'round spectacles'],
  sunglasses: ['sunglasses', 'dark glasses', 'shades'], 'a mustache': ['a mustache', 'a moustache'], ginger: ['ginger', 'orange'],
  blonde: ['blonde', 'yellow', 'golden'], gray: ['gray', 'grey'], purple: ['purple', 'violet'], teal: ['teal', 'turquoise'],
  'light gray': ['light gray', 'light grey', 'pale gray'], 'pale blue': ['pale blue', 'light blue'], lavender: ['lavender', 'light purple'],
  'mint green': ['mint green', 'light green'], 'dark blue': ['dark blue', 'navy'], 'rosy cheeks': ['rosy cheeks', 'blushing cheeks'],
};
const NOUNS = ['bun', 'ponytail', 'mohawk', 'afro', 'bob', 'fade', 'mullet', 'curly bun', 'curly high-top'];
const PLURALS = ['two buns', 'pigtails', 'bantu knots', 'cornrows'];
// What a face is or does, beside what it has.
const STATE =
  /ing$|^blowing|^holding|^(sad|happy|angry|furious|worried|solemn|tired|scared|cute|serious|cheeky|suspicious|old|calm|amazed|confused|hopeful|neutral|very happy|unimpressed|surprised|nervous|sick|sleepy|cheery|tongue out)$/;
const BARE = /glasses|lips|eyes|freckles|cheeks|fangs|earrings|braces|flowers|stubble|spectacles|shades|ears$/; // no article
const FACE = ['glasses', 'beard', 'mustache', 'feature', 'earrings', 'accessory', 'mouth', 'eyes', 'gesture'];

const article = (w) => (/^(a|an|two|one|full|no) /.test(w) || /s$/.test(w) ? w : (/^[aeiou]/.test(w) ? 'an ' : 'a ') + w);
const bare = (w) => w.replace(/^(a|an) /, '');

/** What is on the head: puts phrases into `withs`, `wears` and `states`. */
function head(words, { say, keep, pick, withs, wears, states }) {
  const { hair } = words;
  const colour = (attribute) => (words[attribute] && keep() ? say(attribute) + ' ' : '');
  if (words.hat && keep()) wears.push(article(colour('hatColor') + say('hat')));
  if (HEADWEAR.includes(hair)) {
    if (!keep()) return;
    if (hair === 'a bear head') withs.push(say('hair'));
    else wears.push(article(colour('hatColor') + bare(say('hair'))));
    return;
  }
  const c = colour('hairColor');
  const h = hair && keep() ? say('hair') : '';
  if (h === 'bald') states.push(h);
  else if (h === 'balding') c ? withs.push(`${c}balding hair`) : states.push(h);
  else if (NOUNS.includes(h)) withs.push(article(c + h));
  else if (PLURALS.includes(h)) withs.push(c ? `${c}hair in ${h}` : h);
  else if (h === 'flowers in') withs.push(`flowers in the ${c}hair`);
  else if (h === 'with bangs') withs.push(pick([`${c}hair with bangs`, `${c}bangs`]));
  else if (h || c) withs.push(`${h ? h + ' ' : ''}${c}hair`);
}

/**
 * words: of describe.mjs; rng: () => [0, 1).
 * text: the caption; said: those of the words that it says.
 */
export function caption(words, rng) {
  const said = {};
  const pick = (list) => list[Math.floor(rng() * list.length)];
  const say = (attribute) => pick(SYNONYMS[(said[attribute] = words[attribute])] ?? [words[attribute]]);
  const shuffle = (list) => list.map((x) => [rng(), x]).sort((a, b) => a[0] - b[0]).map(([, x]) => x);
  const level = rng();
  const p = level < 0.15 ? 0.2 : level < 0.6 ? 0.6 : 0.95; // how much is said at all
  const keep = (share = p) => rng() < share;
  const [withs, wears, states] = [[], [], []];

  head(words, { say, keep, pick, withs, wears, states });
  for (const attribute of FACE) {
    if (!words[attribute] || !keep()) continue;
    const s = say(attribute);
    if (s.startsWith('with ')) withs.push(s.slice(5));
    else if (STATE.test(words[attribute]) || STATE.test(s)) states.push(s);
    else withs.push(BARE.test(s) ? s : article(s));
  }
  if (words.skin && keep(p * 0.5)) withs.push(`${say('skin')} skin`);
  const cloth = words.clothColor && keep() ? say('clothColor') + ' ' : '';
  const clothes = words.clothes && keep() ? say('clothes') : cloth ? pick(['shirt', 'top', 'clothes']) : '';
  if (clothes) wears.push(clothes === 'clothes' ? cloth + clothes : article(cloth + clothes));

  const style = keep(level < 0.15 ? 1 : 0.85) ? say('style') : '';
  const back = words.back && keep() ? say('back') : '';
  const body = words.bodyColor && keep() ? say('bodyColor') : '';
  if (rng() < 0.25) {
    const tags = [style, ...shuffle([...withs, ...states, ...wears, body]), back && `${back} background`];
    return { text: tags.filter(Boolean).map(bare).join(', ') || 'avatar', said };
  }
  const noun = pick(['avatar', 'avatar', 'avatar', 'portrait', 'character', 'face']);
  const join = (l) => (l.length > 1 && rng() < 0.5 ? `${l.slice(0, -1).join(', ')} and ${l.at(-1)}` : l.join(', '));
  const phrases = shuffle(
    [withs.length && `with ${join(shuffle(withs))}`, wears.length && `wearing ${join(wears)}`, states.length && join(states)].filter(Boolean),
  );
  let text = article([body, style, noun].filter(Boolean).join(' '));
  if (phrases.length) text += (/^with|^wearing/.test(phrases[0]) ? ' ' : ', ') + phrases.join(', ');
  if (back) text += `${rng() < 0.5 ? ',' : ''} on ${article(back)} background`;
  return { text, said };
}

/** The captions of picture i of a draw, as a line of NAME.captions. */
export function captionsOf(name, i, words, each) {
  const rng = random(`${name}/captions/${i}`);
  return JSON.stringify(Array.from({ length: each }, () => caption(words, rng)));
}

/**
 * Writes the captions of drawn pictures anew: NAME.captions, for each row of NAME.jsonl a JSON list of { text, said }: `said` are the words it says.
 *
 *     node captions.mjs [--name train] [--each 6] [--out FOLDER]
 *
 * Captions depend on the words alone, so a better grammar needs no new pictures.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { captionsOf } from './caption.mjs';

const { values } = parseArgs({
  options: {
    name: { type: 'string', default: 'train' },
    each: { type: 'string', default: '6' },
    out: { type: 'string', default: process.env.TEXT_AVATARS_RUNS ?? new URL('../runs/text-avatars', import.meta.url).pathname },
  },
});
const rows = readFileSync(`${values.out}/${values.name}.jsonl`, 'utf8').split('\n').filter(Boolean);
const lines = rows.map((row, i) => captionsOf(values.name, i, JSON.parse(row), Number(values.each)));
writeFileSync(`${values.out}/${values.name}.captions`, lines.join('\n') + '\n');
console.log(`${values.name}: ${values.each} captions for each of ${rows.length} pictures`);

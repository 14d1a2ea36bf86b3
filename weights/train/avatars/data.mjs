/**
 * Draws avatars of DiceBear's styles into one packed file: runs/avatars/SPLIT-SIZE.bin, SIZE x SIZE x 3 bytes a picture.
 *
 *     npm ci && npm run data -- [--split train|test] [--images 280000] [--size 32] [--threads 1] [--out ../runs/avatars]
 *
 * Picture i is of style i % 14 (the order of styles.json) and of seed SPLIT/i/14 (whole part), hashed: a longer run begins
 * with the pictures of a shorter one, so it only appends, and train.py may read the file while it grows. Drawn four times
 * as large, then averaged over 4 x 4 pixels of sRGB values, as image editors do; thin dark lines stay dark so.
 */

import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import * as collection from '@dicebear/collection';
import { createAvatar } from '@dicebear/core';
import { Resvg } from '@resvg/resvg-js';

const LICENCES = ['CC0 1.0', 'CC BY 4.0'];
const PALETTE = ['b6e3f4', 'c0aede', 'd1d4f9', 'ffd5dc', 'ffdfbf', 'c8ecd3', 'fff3c4', 'e6e9ee'];
const OVER = 4; // pixels drawn for each pixel kept, along each side

const { values } = parseArgs({
  options: {
    split: { type: 'string', default: 'train' },
    images: { type: 'string', default: '280000' },
    size: { type: 'string', default: '32' },
    threads: { type: 'string', default: '1' },
    out: { type: 'string', default: new URL('../runs/avatars', import.meta.url).pathname },
  },
});
const size = Number(values.size);
const images = Number(values.images);

const styles = JSON.parse(readFileSync(new URL('styles.json', import.meta.url), 'utf8'));
for (const { style, licence } of styles) {
  const found = collection[style].meta.license.name;
  if (found !== licence || !LICENCES.includes(found))
    throw new Error(`${style} has the licence "${found}": leave it out, or correct styles.json`);
}

/** size x size x 3 bytes. */
function draw(style, seed) {
  const wide = size * OVER;
  const svg = createAvatar(collection[style], { seed, size: wide, backgroundColor: PALETTE }).toString();
  const { pixels } = new Resvg(svg, { font: { loadSystemFonts: false } }).render();
  const out = Buffer.alloc(size * size * 3);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++)
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let v = 0; v < OVER; v++)
          for (let u = 0; u < OVER; u++) sum += pixels[((y * OVER + v) * wide + x * OVER + u) * 4 + c];
        out[(y * size + x) * 3 + c] = Math.round(sum / OVER ** 2);
      }
  return out;
}

const PART = 1400; // pictures that a thread draws before it hands them over

/** Pictures `first` to before `end`. */
function drawPart({ first, end }) {
  const part = [];
  for (let i = first; i < end; i++) {
    const seed = createHash('sha256').update(`${values.split}/${Math.floor(i / styles.length)}`).digest('hex');
    part.push(draw(styles[i % styles.length].style, seed));
  }
  return Buffer.concat(part);
}

async function main() {
  mkdirSync(values.out, { recursive: true });
  const file = `${values.out}/${values.split}-${size}.bin`;
  const bytes = size * size * 3;
  const first = existsSync(file) ? Math.floor(statSync(file).size / bytes) : 0;
  if (first) truncateSync(file, first * bytes); // half a picture of a run that was stopped
  const began = Date.now();
  let [asked, written] = [first, first];
  const next = () => {
    const part = { first: asked, end: Math.min(images, asked + PART) };
    asked = part.end;
    return part;
  };
  const drawn = new Map(); // parts that wait for one before them, by their first picture
  const append = (part, pictures) => {
    drawn.set(part.first, { part, pictures });
    for (let ready; (ready = drawn.get(written)); written = ready.part.end) {
      appendFileSync(file, ready.pictures);
      drawn.delete(written);
      const ms = (Date.now() - began) / (ready.part.end - first);
      console.log(`${file}: ${ready.part.end} of ${images}, ${ms.toFixed(2)} ms a picture`);
    }
  };
  await Promise.all(
    Array.from({ length: Number(values.threads) }, async () => {
      const worker = new Worker(process.argv[1], { argv: process.argv.slice(2) });
      for (let part; (part = next()).first < part.end; ) {
        const pictures = await new Promise((resolve, reject) => {
          worker.once('message', resolve).once('error', reject);
          worker.postMessage(part);
        });
        worker.removeAllListeners();
        append(part, pictures);
      }
      await worker.terminate();
    }),
  );
}

if (isMainThread) await main();
// The memory of resvg's pictures is only freed between turns, which messages bring.
else parentPort.on('message', (part) => parentPort.postMessage(drawPart(part)));

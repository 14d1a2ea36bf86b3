/**
 * Draws avatars: NAME.bin (128 x 128 x 3 bytes a picture), NAME.jsonl (a row of true words for each) and NAME.captions.
 *
 *     npm ci && npm run data -- [--name train] [--images 100000] [--each 6] [--workers 2] [--out FOLDER]
 *
 * Names: train, test (both without the held-out pairs), pairs (only those), judge and judge-test (the judge's own pictures).
 * A longer draw begins with the pictures of a shorter one, so a second run appends. Other stages may read while it grows.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { captionsOf } from './caption.mjs';
import { draw, SIZE } from './draw.mjs';

const BYTES = SIZE * SIZE * 3;
const CHUNK = 700;

if (!isMainThread) {
  parentPort.on('message', ({ name, from, to, each }) => {
    const pixels = new Uint8Array((to - from) * BYTES);
    const [rows, captions] = [[], []];
    for (let i = from; i < to; i++) {
      const picture = draw(name, i);
      pixels.set(picture.pixels, (i - from) * BYTES);
      rows.push(JSON.stringify(picture.words) + '\n');
      captions.push(captionsOf(name, i, picture.words, each) + '\n');
    }
    parentPort.postMessage({ from, to, pixels, rows: rows.join(''), captions: captions.join('') }, [pixels.buffer]);
  });
} else {
  const { values } = parseArgs({
    options: {
      name: { type: 'string', default: 'train' },
      images: { type: 'string', default: '100000' },
      each: { type: 'string', default: '6' }, // captions of a picture
      workers: { type: 'string', default: String(availableParallelism()) },
      out: { type: 'string', default: process.env.TEXT_AVATARS_RUNS ?? new URL('../runs/text-avatars', import.meta.url).pathname },
    },
  });
  const { name, out } = values;
  const images = Number(values.images);
  mkdirSync(out, { recursive: true });
  const [bin, log, say] = ['bin', 'jsonl', 'captions'].map((end) => `${out}/${name}.${end}`);
  const lines = (file) => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : []);
  let written = Math.min(existsSync(bin) ? Math.floor(statSync(bin).size / BYTES) : 0, lines(log).length, lines(say).length);
  if (existsSync(bin)) truncateSync(bin, written * BYTES); // what a stopped run left half done
  for (const file of [log, say]) writeFileSync(file, lines(file).slice(0, written).map((line) => line + '\n').join(''));
  const first = written;
  const began = Date.now();
  let next = written;
  const done = new Map();
  const start = (worker) => {
    if (next >= images) return worker.terminate();
    if (next - written > CHUNK * 4 * Number(values.workers)) return setTimeout(start, 200, worker); // memory
    const to = Math.min(images, next + CHUNK);
    worker.postMessage({ name, from: next, to, each: Number(values.each) });
    next = to;
  };
  for (let w = 0; w < Number(values.workers); w++) {
    const worker = new Worker(process.argv[1]);
    worker.on('message', (part) => {
      done.set(part.from, part);
      for (let p; (p = done.get(written)); ) {
        appendFileSync(bin, p.pixels);
        appendFileSync(log, p.rows);
        appendFileSync(say, p.captions);
        done.delete(p.from);
        written = p.to;
      }
      const ms = (Date.now() - began) / (written - first || 1);
      console.log(`${name}: ${written} of ${images}, ${ms.toFixed(2)} ms a picture`);
      start(worker);
    });
    worker.on('error', (error) => {
      throw error;
    });
    start(worker);
  }
}

/** Draws a seven and writes it as PNG: node examples/node.mjs [FILE.png] [STEPS] */

import { writeFile } from 'node:fs/promises';
import { encode } from 'fast-png';
import { draw } from '../dist/index.js';
import { loadFolder } from './node_model.mjs';

const [file = 'seven.png', steps = '20'] = process.argv.slice(2);
const model = await loadFolder(new URL('../dist/weights/digits/', import.meta.url));
const [image] = await draw(model, { labels: [7], seed: 5, guidance: 2, steps: Number(steps) });
await writeFile(file, encode({ ...image, channels: 4 }));
console.log(`${file}: ${image.width} x ${image.height}`);
process.exit(0); // closes the device

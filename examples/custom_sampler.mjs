/** DDIM on quadratic timesteps, as a sampler of your own: node examples/custom_sampler.mjs [FILE.png] [STEPS] */

import { writeFile } from 'node:fs/promises';
import { encode } from 'fast-png';
import { draw } from '../dist/index.js';
import { loadFolder } from './node_model.mjs';

/** Song et al. 2021, eq. 12 with eta = 0, and the quadratic timesteps of appendix D.2: denser near the clean image. */
const quadratic = {
  title: 'DDIM, quadratic',
  blurb: 'small steps near the end',
  source: 'Song et al. 2021, eq. 12',
  stochastic: false,
  evaluations: (n) => n,
  takesTimesteps: false,
  options: [],
  diffusersClips: [],
  make({ schedule: { alphaBar }, steps, predictionType, clip }) {
    if (predictionType !== 'epsilon') throw new Error('This example is for networks that predict epsilon.');
    const last = alphaBar.length - 1;
    const list = Array.from({ length: steps }, (_, k) => Math.round(last * ((steps - k) / steps) ** 2));
    const level = (t) => ({ a: Math.sqrt(alphaBar[t] ?? 1), s: Math.sqrt(1 - (alphaBar[t] ?? 1)) });
    return list.map((t, index) => {
      const tPrev = list[index + 1] ?? -1; // -1: the clean image
      const [{ a, s }, to] = [level(t), level(tPrev)];
      return {
        index,
        t,
        tPrev,
        x0Hat: { x: 1 / a, modelOutput: -s / a }, // x0Hat = (x - s eps) / a
        clip,
        next: { x: to.s / s, x0Hat: to.a - (to.s * a) / s }, // a' x0Hat + s' (x - a x0Hat) / s
        sigma: 0,
      };
    });
  },
};

const [file = 'quadratic.png', steps = '20'] = process.argv.slice(2);
const model = await loadFolder(new URL('../dist/weights/digits/', import.meta.url));
const [image] = await draw(model, {
  sampler: quadratic,
  labels: [3],
  seed: 5,
  guidance: 2,
  steps: Number(steps),
});
await writeFile(file, encode({ ...image, channels: 4 }));
console.log(`${file}: ${image.width} x ${image.height}`);
process.exit(0);

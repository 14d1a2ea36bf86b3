/** A recipe makes the same picture again, byte for byte; anything else that is dropped gets a sentence. */

import fc from 'fast-check';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { diskFiles } from '../../src/apps/cli/files.ts';
import { nodeGpu } from '../../src/apps/cli/node_gpu.ts';
import { DiffusionError } from '../../src/core/errors.ts';
import { grid, toShares, toSigned } from '../../src/core/pixels.ts';
import { png } from '../../src/ui/export/png.ts';
import {
  formatRecipe,
  makeRecipe,
  playRecipe,
  readRecipe,
  recipeOptions,
  RECIPE_KEYWORD,
} from '../../src/session/recipe.ts';
import { readTensor } from '../../src/engine/gpu/transfer.ts';
import { Model } from '../../src/engine/model.ts';
import { Player } from '../../src/session/player.ts';
import { Runtime } from '../../src/loading/runtime.ts';
import type { Sampler } from '../../src/schedule/context.ts';
import { sample } from '../../src/session/sample.ts';
import type { SampleOptions } from '../../src/session/sample_options.ts';
import type { Shape } from '../../src/core/tensor.ts';
import { useGpu } from '../helpers/gpu.ts';
import { refusal } from '../helpers/refusal.ts';

const FOLDER = fileURLToPath(new URL('../../tests/fixtures/unets/attention', import.meta.url));
const source = { source: 'digits', key: 'abc', dtype: 'f32' } as const;
const shape: Shape = [2, 3, 16, 16];

const gpu = useGpu();

async function last(model: Model, options: SampleOptions): Promise<Float32Array<ArrayBuffer>> {
  let out = new Float32Array(0);
  for await (const { index, steps, xT } of sample(model, options))
    if (index === steps) out = await readTensor(model.gpu, xT);
  return out;
}

it('replays to the same bytes: samplers with noise and memory, a threshold, a picture with a mask and jumps', async () => {
  const model = await Model.load(gpu(), diskFiles(FOLDER));
  const bytes = Uint8Array.from({ length: 1536 }, (_, i) => (i * 7) % 256);
  const runs: SampleOptions[] = [
    { scheduler: 'ddpm', steps: 3, labels: [4, 0], seed: 2 ** 40 + 1 },
    { scheduler: 'dpmpp-3m', steps: 4, labels: [1, 2], sigmas: 'karras', clip: { quantile: 0.9, max: 2 } },
    {
      scheduler: 'ddim',
      steps: 3,
      labels: [3, 3],
      eta: 1,
      init: toSigned(bytes),
      mask: toShares(bytes.map((v) => (v > 99 ? 255 : 0))),
      jumps: { length: 1, samples: 2 },
    },
  ];
  for (const run of runs) {
    const first = await last(model, run);
    const json = formatRecipe(makeRecipe(source, { ...run, signal: new AbortController().signal }, shape));
    const carrier = png(grid(first, shape), { [RECIPE_KEYWORD]: json });
    const fromJson = readRecipe(new TextEncoder().encode(json));
    expect(readRecipe(carrier)).toEqual(fromJson);
    expect(fromJson.model).toEqual({ source: 'digits', key: 'abc' });
    expect(await last(model, recipeOptions(fromJson))).toEqual(first);
  }
});

it('options with old names are checked like those with current names', async () => {
  const model = await Model.load(gpu(), diskFiles(FOLDER));
  for (const [run, what] of [
    [{ begin: 2 }, /later/],
    [{ begin: 2, init: toSigned(new Uint8Array(768)) }, /start step/],
    [{ jumps: { length: 1, samples: 2 } }, /Jumps/],
  ] as [SampleOptions, RegExp][])
    await expect(last(model, { scheduler: 'ddim', steps: 4, labels: [1], ...run })).rejects.toThrow(what);
  model.destroy();
});

it('a run that was forked replays, too: other noise, then another sampler', async () => {
  const runtime = new Runtime({ gpu: nodeGpu, linger: 0 });
  const lease = await runtime.acquire({
    ...{ key: 'abc', title: 'One head', bytes: null, licence: null, verified: true },
    files: diskFiles(FOLDER),
  });
  const options: SampleOptions = { scheduler: 'ddpm', steps: 4, labels: [1, 4], seed: 3 };
  const forks = [
    { at: 2, options: { seed: 9, labels: [2, 2] } },
    { at: 3, options: { scheduler: 'ddim' } },
  ] as const;
  const player = new Player(lease);
  player.start(options);
  await player.settled();
  for (const fork of forks) {
    player.fork(fork.at, fork.options);
    await player.settled();
  }
  const state = (of: Player) => readTensor(lease.gpu, of.at(of.steps)!.xT);
  const again = new Player(lease);
  await playRecipe(again, readRecipe(formatRecipe(makeRecipe(source, options, shape, forks))));
  expect(again.forks).toEqual([2, 3]);
  expect(await state(again)).toEqual(await state(player));
  await expect(playRecipe(again, makeRecipe(source, { steps: -1 }, shape))).rejects.toThrow(/steps/);
  for (const one of [player, again]) one.destroy();
  lease.release();
});

it('what a recipe cannot hold is refused, not rounded', () => {
  const init = toSigned(new Uint8Array(1536));
  init[5] = 0.123;
  expect(refusal(() => makeRecipe(source, { init }, shape)).code).toBe('bad-input');
  expect(refusal(() => makeRecipe(source, { xT: init }, shape)).code).toBe('bad-input');
  const sampler = { title: 'Mine', options: [], make: () => [] } as unknown as Sampler;
  expect(refusal(() => makeRecipe(source, { sampler }, shape)).code).toBe('bad-input');
});

describe('what is not a recipe', () => {
  const good = makeRecipe(source, { labels: [7], init: toSigned(new Uint8Array(1024)) }, [1, 1, 32, 32]);
  const changed = (change: object) => JSON.stringify({ ...good, ...change });
  const withOption = (option: object) => changed({ options: { ...good.options, ...option } });

  it.each([
    ['no JSON', 'hello', /not JSON/],
    ['other JSON', '[1]', /does not say so/],
    ['a later version', changed({ recipe: 2 }), /version 2/],
    ['no model', changed({ model: { source: '' } }), /name its model/],
    ['a dtype', changed({ dtype: 'f64' }), /precision/],
    ['no options', changed({ options: null }), /no options/],
    ['an unknown option', withOption({ magic: 1 }), /"magic"/],
    ['xT', withOption({ xT: [1] }), /"xT"/],
    ['a seed of text', withOption({ seed: '7' }), /option seed/],
    ['a label of -1', withOption({ labels: [-1] }), /option labels/],
    ['forks', changed({ forks: [{ at: -1, options: {} }] }), /forks/],
    ['a fork of magic', changed({ forks: [{ at: 1, options: { magic: 1 } }] }), /magic/],
    ['too many labels', withOption({ labels: Array(5000).fill(1) }), /option labels/],
    ['a clip', withOption({ clip: { quantile: 1 } }), /option clip/],
    [
      'a picture of another size',
      changed({ init: { shape: [1, 1, 32, 31], data: good.init!.data } }),
      /damaged/,
    ],
    ['a picture that is no base64', changed({ init: { shape: [1, 1, 1, 1], data: '*' } }), /damaged/],
    ['an enormous shape', changed({ mask: { shape: [1, 1, 32, 1e9], data: '' } }), /damaged/],
  ])('%s', (_, text, sentence) => {
    const error = refusal(() => readRecipe(text));
    expect(error.code).toBe('bad-input');
    expect(error.message).toMatch(sentence);
  });

  it('a PNG without one', () => {
    const bytes = png(grid(new Float32Array(16), [1, 1, 4, 4]));
    expect(refusal(() => readRecipe(bytes))).toMatchObject({ code: 'no-recipe' });
  });

  it('1,000 random changes: a recipe, or a sentence', () => {
    const text = formatRecipe(good);
    fc.assert(
      fc.property(
        fc.nat(text.length),
        fc.nat(10),
        fc.string({ unit: 'binary', maxLength: 8 }),
        (at, cut, put) => {
          try {
            readRecipe(new TextEncoder().encode(text.slice(0, at) + put + text.slice(at + cut)));
          } catch (error) {
            expect(error).toBeInstanceOf(DiffusionError);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { loadFolder, wantedFiles } from '../../src/engine/formats/load.ts';
import { readSafetensors, toFloat32, writeSafetensors } from '../../src/engine/formats/safetensors.ts';

const read = (path: string) => readFileSync(new URL(`../fixtures/unets/attention/unet/${path}`, import.meta.url));
const whole = readSafetensors(read('diffusion_pytorch_model.safetensors'), 'whole');
const shard = (k: number) => `diffusion_pytorch_model-0000${k + 1}-of-00003.safetensors`;
const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

/** The fixture in three files. */
function folder(change: (files: Record<string, Uint8Array>, map: Record<string, unknown>) => void = () => {}) {
  const parts = [0, 1, 2].map((k) => [...whole.values()].filter((_, i) => i % 3 === k));
  const map: Record<string, unknown> = {};
  const files: Record<string, Uint8Array> = { 'unet/config.json': read('config.json') };
  parts.forEach((tensors, k) => {
    for (const { name } of tensors) map[name] = shard(k);
    const data = tensors.map((t) => ({ name: t.name, shape: t.shape, data: toFloat32(t) }));
    files[`unet/${shard(k)}`] = writeSafetensors(data);
  });
  change(files, map);
  files['unet/diffusion_pytorch_model.safetensors.index.json'] ??= bytes({ metadata: {}, weight_map: map });
  return { label: 'sharded', read: (path: string) => Promise.resolve(files[path] ?? null) };
}

it('three files hold what one held', async () => {
  const tensors = await (await loadFolder(folder())).readTensors();
  expect([...tensors.keys()].sort()).toEqual([...whole.keys()].sort());
  for (const [name, tensor] of tensors) expect(toFloat32(tensor)).toEqual(toFloat32(whole.get(name)!));
});

it('and the shards of a variant, by the names that diffusers gives them', async () => {
  const { label, read } = folder();
  const half = (path: string) => path.replaceAll('model-0', 'model.fp16-0');
  const index = 'unet/diffusion_pytorch_model.safetensors.index';
  const asked: string[] = [];
  const variant = {
    label,
    async read(path: string) {
      asked.push(path);
      if (path !== `${index}.fp16.json`) return path.includes('.fp16-0') ? read(path.replace('.fp16', '')) : path.endsWith('config.json') ? read(path) : null;
      return new TextEncoder().encode(half(new TextDecoder().decode((await read(`${index}.json`))!)));
    },
  };
  expect((await (await loadFolder(variant)).readTensors()).size).toBe(whole.size);
  const paths = asked.filter((path) => /fp16(-|\.json)/.test(path));
  expect(wantedFiles(['unet/config.json', ...paths])).toEqual(['unet/config.json', ...paths]);
}); // prettier-ignore

describe('an index that does not fit', () => {
  const index = 'unet/diffusion_pytorch_model.safetensors.index.json';
  it.each([
    ['no map', (f) => (f[index] = bytes({})), /no weight_map/],
    ['a list', (f) => (f[index] = bytes({ weight_map: ['x'] })), /no weight_map/],
    ['a file that is not there', (f) => delete f[`unet/${shard(1)}`], /not there/],
    ['a tensor too few in the files', (_, map) => (map['more.weight'] = shard(0)), /where it is not/],
    ['a tensor too many in the files', (_, map) => delete map['conv_in.weight'], /does not say that conv_in.weight/],
    ['the wrong file', (_, map) => (map['conv_in.weight'] = map['conv_in.weight'] === shard(0) ? shard(1) : shard(0)), /does not say that conv_in.weight/],
    ['a path out of the folder', (_, map) => (map['conv_in.weight'] = '../../secret.safetensors'), /no file name/],
    ['a pickle', (_, map) => (map['conv_in.weight'] = 'diffusion_pytorch_model.bin'), /no file name/],
    ['a number', (_, map) => (map['conv_in.weight'] = 7), /no file name/],
  ] as [string, (files: Record<string, Uint8Array>, map: Record<string, unknown>) => void, RegExp][])('%s', async (_, change, message) => {
    const opened = await loadFolder(folder(change));
    await expect(opened.readTensors()).rejects.toMatchObject({ code: 'bad-weights', what: expect.stringMatching(message) as string });
  });
}); // prettier-ignore

/** Files of the command line: model folders, safetensors, pictures. */

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { decode, encode } from 'fast-png';
import { grey, grid } from '../../core/pixels.ts';
import { DiffusionError } from '../../core/errors.ts';
import type { Shape } from '../../core/tensor.ts';
import type { ModelFiles } from '../../engine/formats/files.ts';
import { readSafetensors, toFloat32, type WeightTensor } from '../../engine/formats/safetensors.ts';

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/** A folder on this machine. */
export const diskFiles = (folder: string): ModelFiles => ({
  label: folder,
  async read(path) {
    try {
      return await readFile(join(folder, path));
    } catch (cause) {
      if (codeOf(cause) === 'ENOENT' || codeOf(cause) === 'ENOTDIR') return null;
      throw cannot('read', join(folder, path), cause);
    }
  },
});

const cannot = (verb: string, path: string, cause: unknown): DiffusionError =>
  new DiffusionError(
    'file-not-found',
    `${path} cannot be ${verb === 'read' ? 'read' : 'written'} (${codeOf(cause) ?? String(cause)}).`,
    'Check the path.',
    { cause },
  );

export async function readTensors(path: string): Promise<Map<string, WeightTensor>> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw cannot('read', path, cause);
  }
  return readSafetensors(bytes, path);
}

export async function write(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
  } catch (cause) {
    throw cannot('write', path, cause);
  }
}

/** A tensor of a given rank, as f32. @throws bad-input */
export function floats(
  tensors: Map<string, WeightTensor>,
  name: string,
  rank: number,
  source: string,
): { shape: readonly number[]; data: Float32Array<ArrayBuffer> } {
  const tensor = tensors.get(name);
  if (tensor?.shape.length !== rank)
    throw new DiffusionError(
      'bad-input',
      tensor
        ? `${name} of ${source} has the shape [${tensor.shape.join(', ')}], and should have ${rank} dimensions.`
        : `${source} has no tensor ${name}.`,
      'See the README for what the file should hold.',
    );
  const data = toFloat32(tensor);
  if (!data.every(Number.isFinite))
    throw new DiffusionError(
      'bad-input',
      `${name} of ${source} holds numbers that are not finite.`,
      'Give finite numbers.',
    );
  return { shape: tensor.shape, data };
}

/**
 * A PNG as a picture for a model: (channels, height, width) in [-1, 1], row-major. One channel is the grey of the colour,
 * and alpha is laid over black.
 * @throws file-not-found, bad-input
 */
export async function readPicture(
  path: string,
  [, channels, height, width]: Shape,
): Promise<Float32Array<ArrayBuffer>> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw cannot('read', path, cause);
  }
  const refuse = (what: string, action: string, cause?: unknown): never => {
    throw new DiffusionError('bad-input', `${path} ${what}.`, action, { cause });
  };
  if (channels !== 1 && channels !== 3)
    refuse(`is a picture, and the model has ${channels} channels`, 'Give the state as x_T instead.');
  let image: ReturnType<typeof decode>;
  try {
    image = decode(bytes);
  } catch (cause) {
    return refuse('is not a PNG that can be read', 'Save it again as PNG.', cause);
  }
  if (image.width !== width || image.height !== height)
    refuse(
      `is ${image.width} x ${image.height}, and the model draws ${width} x ${height}`,
      'Scale it to that size.',
    );
  const most = 2 ** image.depth - 1;
  const { palette } = image;
  const perPixel = palette ? 1 : image.channels;
  const out = new Float32Array(channels * height * width);
  for (let p = 0; p < height * width; p++) {
    const own = Array.from(image.data.subarray(p * perPixel, (p + 1) * perPixel));
    const [scale, color] = palette ? [255, palette[own[0]!]!] : [most, own];
    const alpha = color.length === 2 || color.length === 4 ? color.at(-1)! / scale : 1;
    const [r, g, b] =
      color.length < 3 ? [color[0]!, color[0]!, color[0]!] : (color as [number, number, number]);
    const shown = channels === 3 ? [r, g, b] : [color.length < 3 ? r : grey(r, g, b)];
    shown.forEach((v, c) => (out[c * height * width + p] = ((v * alpha) / scale) * 2 - 1));
  }
  return out;
}

/** Images as one PNG: see `grid`. @param data (N, C, H, W) row-major, in [-1, 1] */
export const png = (data: Float32Array, shape: Shape): Uint8Array => encode(grid(data, shape));

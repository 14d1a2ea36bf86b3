/** The small helpers that every floor uses. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode } from 'fast-png';
import { expect, it, vi } from 'vitest';
import { readPicture } from '../../src/apps/cli/files.ts';
import { sleep, untilAborted } from '../../src/core/abort.ts';
import { ConfigReader } from '../../src/core/config_reader.ts';
import { mebibytes, megabytes } from '../../src/core/format.ts';
import { grey, grid, planesOf, toRgba, toSigned } from '../../src/core/pixels.ts';
import { DiffusionError, toDiffusionError } from '../../src/core/errors.ts';

it('a promise with a signal settles as it would, or rejects at once; the signal keeps no listener', async () => {
  const { signal } = new AbortController();
  const [add, remove] = [vi.spyOn(signal, 'addEventListener'), vi.spyOn(signal, 'removeEventListener')];
  await expect(untilAborted(Promise.resolve(7), signal)).resolves.toBe(7);
  await expect(untilAborted(Promise.reject(new Error('own')), signal)).rejects.toThrow('own');
  await Promise.resolve();
  expect([add.mock.calls.length, remove.mock.calls.length]).toEqual([2, 2]);

  const never = new Promise<never>(() => {});
  const later = new AbortController();
  const waiting = untilAborted(never, later.signal);
  later.abort();
  await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
  await expect(untilAborted(never, AbortSignal.abort())).rejects.toMatchObject({ code: 'aborted' });
  await expect(sleep(1e9, AbortSignal.abort())).rejects.toMatchObject({ code: 'aborted' });
  await sleep(0);
});

it('an unknown error becomes a typed one that names it; a typed one stays itself', () => {
  const typed = new DiffusionError('bad-option', 'No.', 'Yes.');
  expect(toDiffusionError(typed, 'page')).toBe(typed);
  const fault = toDiffusionError(new TypeError('x is undefined'), 'view');
  expect(fault).toMatchObject({ code: 'internal', cause: expect.any(TypeError) as Error });
  expect(fault.message).toMatch(/^Something went wrong in this view \(TypeError: x is undefined\)\. Reload/);
});

it('bytes in words', () => {
  const decimal = [[1, '1 kB'], [99_001, '100 kB'], [1_432_000, '1.4 MB'], [12e6, '12 MB'], [1.34e9, '1.3 GB']] as const; // prettier-ignore
  for (const [bytes, text] of decimal) expect(megabytes(bytes)).toBe(text);
  expect([mebibytes(2 ** 20), mebibytes(2 ** 34)]).toEqual(['1.0 MiB', '16.0 GiB']);
});

it('a reader of configs gives defaults, refuses by key, and lists what nobody asked for', () => {
  const refuse = (key: string, why: string): never => {
    throw new Error(`${key} ${why}`);
  };
  const reader = new ConfigReader({ a: 1.5, b: null, c: 'x', _note: 1, rest: 0 }, refuse);
  expect(reader.real('a', 0, 0, 2)).toBe(1.5);
  expect(() => reader.integer('a', 0, 0, 2)).toThrow('a is 1.5, and should be an integer from 0 to 2');
  expect(reader.integer('absent', 3, 0, 9)).toBe(3);
  expect(reader.get('b', 1)).toBeNull();
  expect(() => reader.flag('b', true)).toThrow('b is null, and should be true or false');
  expect(reader.choice('c', 'y', ['x', 'y'])).toBe('x');
  expect(() => reader.choice('c', 'y', ['y', 'z'])).toThrow(
    'c is "x", and the supported values are "y", "z"',
  );
  expect(() => reader.list('c', [], 2)).toThrow('c is "x", and should be a list of 1 to 2');
  expect(reader.unread()).toEqual(['rest']);
  expect(() => new ConfigReader([], refuse)).toThrow('the config is not an object');
});

it('a grid of planes, as pixels for a canvas', () => {
  // Two images of 2 x 1 with 3 channels, half to even: 0.5 * 255 = 127.5 -> 128.
  const data = Float32Array.of(-1, 1, 0, 0, 1, -1, ...[1, 1, 1, 1, 1, 1]);
  const pixels = grid(data, [2, 3, 1, 2], { gap: 1 });
  expect([pixels.width, pixels.height, pixels.channels]).toEqual([5, 1, 3]);
  expect([...pixels.data.subarray(0, 6)]).toEqual([0, 128, 255, 255, 128, 0]);
  expect([...toRgba(pixels).subarray(0, 8)]).toEqual([0, 128, 255, 255, 255, 128, 0, 255]);
  const one = grid([7, 9], [1, 1, 1, 2], { zoom: 2, byte: (v) => v });
  expect([...one.data]).toEqual([7, 7, 9, 9, 7, 7, 9, 9]);
  expect([...toRgba(one).subarray(0, 4)]).toEqual([7, 7, 7, 255]);
});

it('one grey: the planes that pages take from a canvas are those that the command line reads', async () => {
  const colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [12, 200, 90]]; // prettier-ignore
  // Rec. 709, the luma of sRGB's primaries; Rec. 601 would give 76, 150, 29.
  expect(colours.slice(0, 3).map(([r, g, b]) => Math.round(grey(r!, g!, b!)))).toEqual([54, 182, 18]);
  const rgba = colours.flatMap((c) => [...c, 255]);
  const folder = await mkdtemp(join(tmpdir(), 'grey-'));
  try {
    const path = join(folder, 'colours.png');
    await writeFile(
      path,
      encode({ width: 2, height: 2, channels: 3, data: Uint8Array.from(colours.flat()) }),
    );
    for (const channels of [1, 3]) {
      const own = toSigned(planesOf(rgba, channels));
      const read = await readPicture(path, [1, channels, 2, 2]);
      own.forEach((x, i) => expect(Math.abs(x - read[i]!)).toBeLessThanOrEqual(1 / 255 + 1e-6)); // rounded to 8 bits
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

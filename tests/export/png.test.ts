/** What is exported decodes, with another's decoder, to the exact pixels. */

import { decode, decodeApng } from 'fast-png';
import { crc32 } from 'node:zlib';
import { expect, it } from 'vitest';
import { grid, type Pixels } from '../../src/core/pixels.ts';
import { apng } from '../../src/ui/export/apng.ts';
import { chunksOf, pngText } from '../../src/core/png_chunks.ts';
import { png } from '../../src/ui/export/png.ts';
import { refusal } from '../helpers/refusal.ts';

/** Bytes without a pattern. */
const noise = (length: number, seed: number): Uint8Array<ArrayBuffer> => {
  let x = seed;
  return Uint8Array.from({ length }, () => (x = (x * 1103515245 + 12345) % 2147483648) >>> 16);
};
const picture = (width: number, height: number, channels: 1 | 3 | 4, seed = 1): Pixels => ({
  width,
  height,
  channels,
  data: noise(width * height * channels, seed),
});

/** As an outsider reads the file: every length, every checksum. */
function check(bytes: Uint8Array): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const types: string[] = [];
  let at = 8;
  while (at < bytes.length) {
    const length = view.getUint32(at);
    expect(view.getUint32(at + 8 + length)).toBe(crc32(bytes.subarray(at + 4, at + 8 + length)));
    types.push(Buffer.from(bytes.subarray(at + 4, at + 8)).toString());
    at += 12 + length;
  }
  expect(at).toBe(bytes.length);
  return types;
}

it.each([1, 3, 4] as const)('a PNG of %s channels is exact, and carries its text', (channels) => {
  const p = picture(33, 17, channels);
  const text = '{"seed": 5, "name": "ν ≠ µ — ✓"}';
  const bytes = png(p, { 'diffusion-sampler': text, Software: 'x' });
  const back = decode(bytes, { checkCrc: true });
  expect([back.width, back.height, back.channels, back.depth]).toEqual([33, 17, channels, 8]);
  expect(back.data).toEqual(p.data);
  expect(check(bytes)).toEqual(['IHDR', 'iTXt', 'iTXt', 'IDAT', 'IEND']);
  expect(pngText(bytes, 'diffusion-sampler')).toBe(text);
  expect(pngText(bytes, 'Software')).toBe('x');
  expect(pngText(bytes, 'Author')).toBeNull();
});

it('text is found in no more than there is: every cut and every flipped byte ends in a text or in null', () => {
  const bytes = png(picture(4, 4, 1), { key: 'a text' });
  for (let n = 0; n < bytes.length; n++) {
    const cut = pngText(bytes.subarray(0, n), 'key');
    expect(cut === null || cut === 'a text').toBe(true);
    const flipped = bytes.slice();
    flipped[n]! ^= 0xff;
    const read = pngText(flipped, 'key');
    expect(read === null || typeof read === 'string').toBe(true);
  }
});

it('a batch becomes a grid of magnified pictures, rounded half to even', () => {
  const values = Float32Array.of(-1, 1, 0, 3, -3, 0.5, 1 / 255 - 1, 2 / 255 - 1, 0.2, 0.4, -0.4, 0.6);
  const { width, height, channels, data } = grid(values, [3, 1, 2, 2], { zoom: 2, gap: 1 });
  expect([width, height, channels]).toEqual([9, 9, 1]);
  const byte = (i: number) => {
    const x = Math.min(255, Math.max(0, (values[i]! / 2 + 0.5) * 255));
    const low = Math.floor(x);
    return x - low === 0.5 ? low + (low % 2) : Math.round(x);
  };
  for (let y = 0; y < 9; y++)
    for (let x = 0; x < 9; x++) {
      const cell = Math.floor(y / 5) * 2 + Math.floor(x / 5);
      const inside = y % 5 < 4 && x % 5 < 4 && cell < 3;
      const source = cell * 4 + Math.floor((y % 5) / 2) * 2 + Math.floor((x % 5) / 2);
      expect(data[y * 9 + x], `${x}, ${y}`).toBe(inside ? byte(source) : 255);
    }
});

it.each([1, 3] as const)('an APNG of %s channels has every frame exactly, and its delay', (channels) => {
  const frames = [1, 2, 3, 4].map((seed) => picture(20, 12, channels, seed));
  const delays = [500, 40, 0, 65535];
  const bytes = apng(frames, delays, { plays: 2, text: { key: 'µ' } });
  const back = decodeApng(bytes, { checkCrc: true });
  expect([back.width, back.height, back.numberOfFrames, back.numberOfPlays]).toEqual([20, 12, 4, 2]);
  back.frames.forEach((frame, i) => {
    expect(Uint8Array.from(frame.data)).toEqual(frames[i]!.data);
    expect(frame.delayNumber / frame.delayDenominator).toBe(delays[i]! / 1000);
  });
  expect(decode(bytes).data).toEqual(frames[0]!.data); // what a program without APNG shows
  expect(pngText(bytes, 'key')).toBe('µ');
  expect(check(bytes)).toEqual('IHDR iTXt acTL fcTL IDAT fcTL fdAT fcTL fdAT fcTL fdAT IEND'.split(' '));
  const sequence = chunksOf(bytes)!
    .filter(({ type }) => type === 'fcTL' || type === 'fdAT')
    .map(({ data }) => Buffer.from(data).readUInt32BE(0));
  expect(sequence).toEqual([0, 1, 2, 3, 4, 5, 6]);
});

it('frames that do not fit together are refused', () => {
  const [a, b] = [picture(4, 4, 1), picture(4, 5, 1)];
  for (const [frames, delays] of [
    [[], []],
    [[a], []],
    [
      [a, b],
      [1, 1],
    ],
    [[a], [-1]],
    [[a], [65536]],
    [[a], [0.5]],
  ] as const)
    expect(refusal(() => apng(frames, delays)).code).toBe('bad-input');
  expect(refusal(() => png(a, { ключ: 'x' })).code).toBe('bad-option');
});

/** Frames as an animated PNG (PNG, third edition, section 11.3.6): lossless, which noise needs, and shown by every browser. */

import { encode } from 'fast-png';
import type { Pixels } from '../../core/pixels.ts';
import { DiffusionError } from '../../core/errors.ts';
import { chunksOf, join, textChunks, type Chunk } from '../../core/png_chunks.ts';

export interface ApngOptions {
  /** How often it plays; 0, for ever, unless given. */
  readonly plays?: number;
  readonly text?: Readonly<Record<string, string>>;
}

/**
 * @param frames one or more, of the same size and channels; the first is also what programs without APNG show
 * @param delays milliseconds that each frame stands, 0 to 65535, whole
 * @throws bad-input
 */
export function apng(
  frames: readonly Pixels[],
  delays: readonly number[],
  { plays = 0, text = {} }: ApngOptions = {},
): Uint8Array<ArrayBuffer> {
  const [first] = frames;
  const refuse = (what: string, action: string): never => {
    throw new DiffusionError('bad-input', what, action);
  };
  if (!first || frames.length !== delays.length)
    return refuse(
      `There are ${frames.length} frames and ${delays.length} delays.`,
      'Give one frame or more, and a delay for each.',
    );
  const { width, height, channels } = first;
  if (frames.some((f) => f.width !== width || f.height !== height || f.channels !== channels))
    refuse('The frames differ in size or channels.', 'Give frames of one kind.');
  const bad = delays.find((ms) => !Number.isInteger(ms) || ms < 0 || ms > 65535);
  if (bad !== undefined)
    refuse(`A delay of ${bad} ms is not possible.`, 'Give whole milliseconds from 0 to 65535.');

  const numbers = (bytes: number, write: (view: DataView) => void): Uint8Array => {
    const view = new DataView(new ArrayBuffer(bytes));
    write(view);
    return new Uint8Array(view.buffer);
  };
  let sequence = 0;
  const control = (delay: number): Chunk => ({
    type: 'fcTL',
    // offsets, dispose_op and blend_op stay 0: each frame covers all, and replaces what was there
    data: numbers(26, (view) => {
      view.setUint32(0, sequence++);
      view.setUint32(4, width);
      view.setUint32(8, height);
      view.setUint16(20, delay);
      view.setUint16(22, 1000);
    }),
  });
  const chunks: Chunk[] = [];
  frames.forEach((frame, i) => {
    const own = chunksOf(Uint8Array.from(encode(frame)))!;
    if (i === 0) {
      const animation = numbers(8, (view) => {
        view.setUint32(0, frames.length);
        view.setUint32(4, plays);
      });
      chunks.push(own[0]!, ...textChunks(text), { type: 'acTL', data: animation });
    }
    chunks.push(control(delays[i]!));
    for (const { type, data } of own) {
      if (type !== 'IDAT') continue;
      if (i === 0) chunks.push({ type, data });
      else {
        const numbered = new Uint8Array(4 + data.length);
        new DataView(numbered.buffer).setUint32(0, sequence++);
        numbered.set(data, 4);
        chunks.push({ type: 'fdAT', data: numbered });
      }
    }
  });
  return join([...chunks, { type: 'IEND', data: new Uint8Array(0) }]);
}

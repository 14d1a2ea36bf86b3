/** Pictures as PNG (ISO/IEC 15948): the exact pixels, with text in the metadata. */

import { encode } from 'fast-png';
import type { Pixels } from '../../core/pixels.ts';
import { chunksOf, join, textChunks } from '../../core/png_chunks.ts';

/** @param text keyword (1 to 79 Latin letters) -> text, written as iTXt in UTF-8 */
export function png(picture: Pixels, text: Readonly<Record<string, string>> = {}): Uint8Array<ArrayBuffer> {
  const [header, ...rest] = chunksOf(Uint8Array.from(encode(picture)))!;
  return join([header!, ...textChunks(text), ...rest]);
}

/** The chunks that a PNG is made of (ISO/IEC 15948), and the text among them. */

import { DiffusionError } from './errors.ts';

/** The text under a keyword of a PNG's iTXt or tEXt; null where there is none, or where the bytes are not a PNG. */
export function pngText(bytes: Uint8Array, keyword: string): string | null {
  for (const { type, data } of chunksOf(bytes) ?? []) {
    const zero = data.indexOf(0);
    if (zero < 1 || latin1(data.subarray(0, zero)) !== keyword) continue;
    if (type === 'tEXt') return latin1(data.subarray(zero + 1));
    if (type !== 'iTXt' || data[zero + 1] !== 0) continue; // nothing that we write is compressed
    const language = data.indexOf(0, zero + 3);
    const translated = language < 0 ? -1 : data.indexOf(0, language + 1);
    if (translated >= 0) return new TextDecoder().decode(data.subarray(translated + 1));
  }
  return null;
}

export interface Chunk {
  readonly type: string;
  readonly data: Uint8Array;
}

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** The chunks of a PNG, up to the first that is cut off; null where the signature is another. */
export function chunksOf(bytes: Uint8Array): Chunk[] | null {
  if (!SIGNATURE.every((b, i) => bytes[i] === b)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks: Chunk[] = [];
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    if (at + 12 + length > bytes.length) break;
    chunks.push({
      type: latin1(bytes.subarray(at + 4, at + 8)),
      data: bytes.subarray(at + 8, at + 8 + length),
    });
    at += 12 + length;
  }
  return chunks;
}

export function join(chunks: readonly Chunk[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(8 + chunks.reduce((sum, { data }) => sum + 12 + data.length, 0));
  out.set(SIGNATURE);
  const view = new DataView(out.buffer);
  let at = 8;
  for (const { type, data } of chunks) {
    view.setUint32(at, data.length);
    for (let i = 0; i < 4; i++) out[at + 4 + i] = type.charCodeAt(i);
    out.set(data, at + 8);
    view.setUint32(at + 8 + data.length, crc32(out.subarray(at + 4, at + 8 + data.length)));
    at += 12 + data.length;
  }
  return out;
}

export function textChunks(text: Readonly<Record<string, string>>): Chunk[] {
  return Object.entries(text).map(([keyword, value]) => {
    if (!/^[\x21-\x7e][\x20-\x7e]{0,78}$/.test(keyword))
      throw new DiffusionError(
        'bad-option',
        `"${keyword}" cannot be a keyword of a PNG's text.`,
        'Take 1 to 79 plain letters.',
      );
    // keyword 0, compression flag and method 0 0, language "" 0, translated keyword "" 0, text
    const data = new TextEncoder().encode(`${keyword}\0\0\0\0\0${value}`);
    return { type: 'iTXt', data };
  });
}

const latin1 = (bytes: Uint8Array): string => Array.from(bytes, (b) => String.fromCharCode(b)).join('');

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc32(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const b of bytes) c = CRC_TABLE[(c ^ b) & 0xff]! ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

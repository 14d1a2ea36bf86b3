/** How weights lie in memory: as the kernels read them. */

import { blocks, type DType } from '../../core/tensor.ts';
import { f32ToF16 } from '../../core/float16.ts';

/**
 * A convolution's or linear layer's weight [cOut][cIn][size][size] as 4x4 matrices in column order:
 * [cOut / 4][ky][kx][cIn / 4][input lane][output lane]. Lanes past the channels are zero.
 */
export function packMatrix(
  w: Float32Array,
  cOut: number,
  cIn: number,
  size: number,
): Float32Array<ArrayBuffer> {
  const [oBlocks, iBlocks, taps] = [blocks(cOut), blocks(cIn), size * size];
  const out = new Float32Array(oBlocks * taps * iBlocks * 16);
  for (let o = 0; o < cOut; o++)
    for (let i = 0; i < cIn; i++)
      for (let tap = 0; tap < taps; tap++) {
        const matrix = ((o >> 2) * taps + tap) * iBlocks + (i >> 2);
        out[matrix * 16 + (i & 3) * 4 + (o & 3)] = w[(o * cIn + i) * taps + tap]!;
      }
  return out;
}

/** Rows of `length`, each padded with zeros to whole blocks of four. */
export function padBlocks(data: Float32Array, rows: number, length: number): Float32Array<ArrayBuffer> {
  const stride = blocks(length) * 4;
  const out = new Float32Array(rows * stride);
  for (let row = 0; row < rows; row++) out.set(data.subarray(row * length, (row + 1) * length), row * stride);
  return out;
}

/** The bytes of numbers in a storage type. */
export function toDType(
  data: Float32Array<ArrayBuffer>,
  dtype: DType,
): Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer> {
  if (dtype === 'f32') return data;
  const out = new Uint16Array(data.length);
  for (let i = 0; i < out.length; i++) out[i] = f32ToF16(data[i]!); // Uint16Array.from takes fifty times as long
  return out;
}

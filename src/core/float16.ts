/** Sixteen-bit floats: IEEE binary16 (F16) and bfloat16 (BF16), to and from f32. */

const bits = new Uint32Array(1);
const value = new Float32Array(bits.buffer);

/** binary16 bits -> number, exact. */
export function f16ToF32(h: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >>> 10) & 31;
  const fraction = h & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** number -> binary16 bits, rounded to nearest even; beyond 65504 it becomes infinity. */
export function f32ToF16(x: number): number {
  value[0] = x;
  const b = bits[0]!;
  const sign = (b >>> 16) & 0x8000;
  const magnitude = b & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds past 65504
  if (magnitude < 0x38800000) {
    // Below 2^-14: a multiple of 2^-24.
    const units = Math.abs(x) * 2 ** 24;
    const floor = Math.floor(units);
    const rest = units - floor;
    return sign | (rest > 0.5 || (rest === 0.5 && floor & 1) ? floor + 1 : floor);
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

let table: Float32Array | null = null;

/** f16ToF32 of many: by a table, since a model has millions. */
export function f16sToF32(from: Uint16Array): Float32Array<ArrayBuffer> {
  table ??= Float32Array.from({ length: 2 ** 16 }, (_, h) => f16ToF32(h));
  const out = new Float32Array(from.length);
  for (let i = 0; i < out.length; i++) out[i] = table[from[i]!]!;
  return out;
}

/** bfloat16 bits -> numbers, exact. */
export function bf16sToF32(from: Uint16Array): Float32Array<ArrayBuffer> {
  const out = new Uint32Array(from.length);
  for (let i = 0; i < out.length; i++) out[i] = from[i]! << 16;
  return new Float32Array(out.buffer);
}

/**
 * The safetensors format, read strictly and written plainly.
 *
 * Eight bytes: length N of the header, little-endian. N bytes: JSON, name -> { dtype, shape, data_offsets }, may
 * be padded with spaces. Then the data; the tensors cover it without hole or overlap. Source: the format's README
 * (huggingface/safetensors). Stricter than the reference: the header begins with `{` (as its README demands, and
 * its code does not), and is at most 8 MiB.
 */

import { DiffusionError } from '../../core/errors.ts';
import { bf16sToF32, f16sToF32 } from '../../core/float16.ts';

const HEADER_LIMIT = 8 * 2 ** 20;

/** Bytes of one number of each dtype that the format knows in whole bytes. */
const DTYPES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
} as const;

export type WeightDType = keyof typeof DTYPES;

export interface WeightTensor {
  readonly name: string;
  readonly dtype: WeightDType;
  readonly shape: readonly number[];
  /** A view of the file: little-endian, row-major, at any alignment. */
  readonly bytes: Uint8Array;
}

/**
 * @param bytes the whole file
 * @param source what to call the file in an error
 * @returns its tensors by name; no data is copied
 * @throws bad-weights
 */
export function readSafetensors(bytes: Uint8Array, source: string): Map<string, WeightTensor> {
  const fail = (why: string): never => {
    throw new DiffusionError(
      'bad-weights',
      `${source} is not a valid safetensors file: ${why}.`,
      'Download or convert it again.',
    );
  };
  if (bytes.length < 8) fail(`it has ${bytes.length} bytes, and the length of the header alone takes 8`);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
  if (length > HEADER_LIMIT) fail(`its header claims ${length} bytes, more than the ${HEADER_LIMIT} allowed`);
  if (8 + length > bytes.length) fail(`its header claims ${length} bytes, and ${bytes.length - 8} follow`);
  const data = bytes.subarray(8 + length);
  let text = '';
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(8, 8 + length));
  } catch {
    fail('its header is not UTF-8');
  }
  if (text[0] !== '{') fail('its header does not begin with {');
  text = text.replace(/ +$/, '');
  if (!text.endsWith('}')) fail('its header does not end with } and spaces');
  let entries: Map<string, unknown>;
  try {
    entries = parseHeader(text);
  } catch (cause) {
    return fail(
      `its header is not the JSON it should be (${cause instanceof Error ? cause.message : String(cause)})`,
    );
  }

  const tensors = new Map<string, WeightTensor>();
  const spans: { name: string; begin: number; end: number }[] = [];
  for (const [name, entry] of entries) {
    if (!(entry instanceof Map)) return fail(`the entry ${show(name)} is not an object`);
    if (name === '__metadata__') {
      for (const [key, item] of entry as Map<string, unknown>)
        if (typeof item !== 'string') fail(`__metadata__ has ${show(key)}, which is not text`);
      continue;
    }
    const fields = entry as Map<string, unknown>;
    const extra = [...fields.keys()].find((key) => !['dtype', 'shape', 'data_offsets'].includes(key));
    if (extra !== undefined) fail(`the tensor ${show(name)} has an unknown field ${show(extra)}`);
    const dtype = fields.get('dtype');
    if (typeof dtype !== 'string' || !Object.hasOwn(DTYPES, dtype))
      return fail(`the tensor ${show(name)} has an unknown dtype ${show(dtype)}`);
    const shape = fields.get('shape');
    if (!Array.isArray(shape) || !shape.every(isCount))
      return fail(`the tensor ${show(name)} has a shape that is not a list of whole numbers`);
    const offsets = fields.get('data_offsets');
    if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
      return fail(`the tensor ${show(name)} has data_offsets that are not two whole numbers`);
    const [begin, end] = offsets as [number, number];
    if (begin > end || end > data.length)
      fail(`the tensor ${show(name)} lies at ${begin} to ${end}, and the data has ${data.length} bytes`);
    const need = (shape as number[]).reduce((product, d) => product * d, DTYPES[dtype as WeightDType]);
    if (need !== end - begin)
      fail(
        `the tensor ${show(name)} needs ${need} bytes for [${shape.join(', ')}] ${dtype}, and has ${end - begin}`,
      );
    spans.push({ name, begin, end });
    tensors.set(name, {
      name,
      dtype: dtype as WeightDType,
      shape: shape as number[],
      bytes: data.subarray(begin, end),
    });
  }
  spans.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let end = 0;
  for (const span of spans) {
    if (span.begin < end) fail(`the tensor ${show(span.name)} overlaps another`);
    if (span.begin > end)
      fail(`there is a hole of ${span.begin - end} bytes before the tensor ${show(span.name)}`);
    end = span.end;
  }
  if (end !== data.length) fail(`${data.length - end} bytes follow the last tensor`);
  return tensors;
}

const isCount = (x: unknown): boolean => Number.isSafeInteger(x) && (x as number) >= 0;

const show = (x: unknown): string => {
  const text = typeof x === 'string' ? JSON.stringify(x) : String(x);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
};

/**
 * The subset of JSON that a header needs: objects as Maps (safe for `__proto__`, and a duplicate key is an error,
 * where JSON.parse keeps the last), arrays, text, and plain whole numbers (no sign, fraction or exponent).
 * The header has two levels of objects and one of arrays; anything deeper is refused, so depth cannot hurt.
 */
function parseHeader(text: string): Map<string, unknown> {
  let at = 0;
  const space = () => {
    while (at < text.length && ' \t\n\r'.includes(text[at]!)) at++;
  };
  const take = (char: string) => {
    space();
    if (text[at] !== char) throw new Error(`expected ${char} at character ${at}`);
    at++;
  };
  const peek = () => (space(), text[at]);
  const string = (): string => {
    space();
    const begin = at;
    take('"');
    while (text[at] !== '"') {
      if (at >= text.length) throw new Error(`text without an end at character ${begin}`);
      at += text[at] === '\\' ? 2 : 1;
    }
    at++;
    return JSON.parse(text.slice(begin, at)) as string; // escapes, and control characters refused
  };
  const object = (depth: number): Map<string, unknown> => {
    const map = new Map<string, unknown>();
    take('{');
    if (peek() === '}') {
      at++;
      return map;
    }
    for (;;) {
      const key = string();
      if (map.has(key)) throw new Error(`the key ${show(key)} appears twice`);
      take(':');
      map.set(key, item(depth + 1));
      if (peek() === ',') at++;
      else {
        take('}');
        return map;
      }
    }
  };
  const array = (): unknown[] => {
    const list: unknown[] = [];
    take('[');
    if (peek() === ']') {
      at++;
      return list;
    }
    for (;;) {
      list.push(item(Infinity));
      if (peek() === ',') at++;
      else {
        take(']');
        return list;
      }
    }
  };
  const item = (depth: number): unknown => {
    const char = peek();
    if (char === '"') return string();
    if (char === '{' && depth <= 1) return object(depth);
    if (char === '[' && depth <= 2) return array();
    const number = /(?:0|[1-9]\d*)(?![\d.eE])/y;
    number.lastIndex = at;
    const match = number.exec(text);
    if (!match) throw new Error(`nothing allowed at character ${at}`);
    at = number.lastIndex;
    return Number(match[0]);
  };
  const map = object(0);
  space();
  if (at !== text.length) throw new Error(`more text at character ${at}`);
  return map;
}

/** Numbers of a tensor as f32. @throws bad-weights for a dtype that is not a float */
export function toFloat32(tensor: WeightTensor): Float32Array<ArrayBuffer> {
  const { dtype, bytes } = tensor;
  const copy = (): ArrayBuffer => new Uint8Array(bytes).buffer; // aligned, as typed arrays want it (a Buffer.slice would be no copy)
  switch (dtype) {
    case 'F32':
      return new Float32Array(copy());
    case 'F16':
      return f16sToF32(new Uint16Array(copy()));
    case 'BF16':
      return bf16sToF32(new Uint16Array(copy()));
    case 'F64':
      return new Float32Array(new Float64Array(copy()));
    default:
      throw new DiffusionError(
        'bad-weights',
        `The tensor ${show(tensor.name)} holds ${dtype}, and weights are F32, F16 or BF16.`,
        'Convert the file to one of these.',
      );
  }
}

/** Whole numbers of a tensor (I64, I32, U8). @throws bad-weights for another dtype or numbers past 2^53 */
export function toIntegers(tensor: WeightTensor): number[] {
  const { dtype, bytes } = tensor;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = DTYPES[dtype];
  const read = {
    I64: (at: number) => Number(view.getBigInt64(at, true)),
    I32: (at: number) => view.getInt32(at, true),
    U8: (at: number) => view.getUint8(at),
  }[dtype as string];
  if (!read)
    throw new DiffusionError(
      'bad-weights',
      `The tensor ${show(tensor.name)} holds ${dtype}, and whole numbers are I64, I32 or U8.`,
      'Convert it to I64.',
    );
  return Array.from({ length: bytes.length / size }, (_, i) => read(i * size));
}

/** A file of f32 tensors, byte for byte the same for the same tensors. */
export function writeSafetensors(
  tensors: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly data: Float32Array;
  }[],
): Uint8Array<ArrayBuffer> {
  let end = 0;
  const header: Record<string, unknown> = {};
  for (const { name, shape, data } of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [end, (end += data.byteLength)] };
  }
  let text = JSON.stringify(header);
  text = text.padEnd(Math.ceil(text.length / 8) * 8);
  const json = new TextEncoder().encode(text);
  const out = new Uint8Array(8 + json.length + end);
  new DataView(out.buffer).setBigUint64(0, BigInt(json.length), true);
  out.set(json, 8);
  let at = 8 + json.length;
  for (const { data } of tensors) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return out;
}

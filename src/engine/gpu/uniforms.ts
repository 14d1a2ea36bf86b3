/**
 * Uniform structs: described once, in WGSL, and packed by one function.
 *
 * Sizes and alignments follow WGSL, section "Alignment and Size". tests/gpu/uniforms.test.ts compares them with
 * wgsl_reflect for every shader.
 */

import { structsOf } from './wgsl.ts';

/** Distance between the uniforms of two launches: WebGPU's default minUniformBufferOffsetAlignment. */
export const UNIFORM_STRIDE = 256;

/** What a field takes: a number, a vector as a list, an array or a nested struct. */
export type UniformValue = number | readonly UniformValue[] | UniformValues;
export interface UniformValues {
  readonly [field: string]: UniformValue;
}

type Type =
  | { readonly kind: 'scalar'; readonly scalar: 'u32' | 'i32' | 'f32' }
  | { readonly kind: 'vector'; readonly scalar: 'u32' | 'i32' | 'f32'; readonly count: number }
  | { readonly kind: 'array'; readonly element: TypeLayout; readonly count: number; readonly stride: number }
  | { readonly kind: 'struct'; readonly fields: readonly Field[] };

interface TypeLayout {
  readonly type: Type;
  readonly bytes: number;
  readonly align: number;
}

interface Field extends TypeLayout {
  readonly name: string;
  readonly offset: number;
}

/** A struct, as it lies in a uniform buffer. */
export interface StructLayout {
  readonly name: string;
  readonly fields: readonly Field[];
  readonly bytes: number;
  readonly align: number;
}

const alignUp = (n: number, align: number): number => Math.ceil(n / align) * align;

/** The layout of a struct of a WGSL text. @throws Error if the text has no such struct, or a type that is not handled */
export function structLayout(wgsl: string, name: string): StructLayout {
  const declared = structsOf(wgsl).get(name);
  if (!declared) throw new Error(`there is no struct ${name}`);
  let [offset, align] = [0, 1];
  const fields = declared.map((field): Field => {
    const layout = typeLayout(wgsl, field.type);
    offset = alignUp(offset, layout.align);
    const placed = { ...layout, name: field.name, offset };
    offset += layout.bytes;
    align = Math.max(align, layout.align);
    return placed;
  });
  return { name, fields, bytes: alignUp(offset, align), align };
}

const SCALARS = { u: 'u32', i: 'i32', f: 'f32' } as const;

function typeLayout(wgsl: string, text: string): TypeLayout {
  if (text === 'u32' || text === 'i32' || text === 'f32')
    return { type: { kind: 'scalar', scalar: text }, bytes: 4, align: 4 };
  const vector = /^vec([234])([uif])$/.exec(text);
  if (vector) {
    const count = Number(vector[1]);
    const scalar = SCALARS[vector[2] as keyof typeof SCALARS];
    return { type: { kind: 'vector', scalar, count }, bytes: 4 * count, align: count === 2 ? 8 : 16 };
  }
  const array = /^array<(.+),(\d+)u?>$/.exec(text);
  if (array) {
    const element = typeLayout(wgsl, array[1]!);
    const stride = alignUp(element.bytes, element.align);
    if (stride % 16)
      throw new Error(`the elements of ${text} are not a multiple of 16 bytes, as uniforms need`);
    const count = Number(array[2]);
    return { type: { kind: 'array', element, count, stride }, bytes: stride * count, align: element.align };
  }
  const { fields, bytes, align } = structLayout(wgsl, text);
  return { type: { kind: 'struct', fields }, bytes, align: alignUp(align, 16) };
}

/** The bytes of a struct. @throws Error if a value is missing, unknown, or not of its field's type (a fault of the launcher) */
export function packStruct({ name, fields, bytes }: StructLayout, values: UniformValues): ArrayBuffer {
  const buffer = new ArrayBuffer(bytes);
  packFields(new DataView(buffer), 0, name, fields, values);
  return buffer;
}

function packFields(
  view: DataView,
  at: number,
  path: string,
  fields: readonly Field[],
  values: UniformValues,
): void {
  const unknown = Object.keys(values).filter((key) => !fields.some(({ name }) => name === key));
  if (unknown.length) throw new Error(`${path} has no ${unknown.join(', ')}`);
  for (const { name, offset, type } of fields) {
    const value = values[name];
    if (value === undefined) throw new Error(`${path}.${name} is missing`);
    packValue(view, at + offset, `${path}.${name}`, type, value);
  }
}

function packValue(view: DataView, at: number, path: string, type: Type, value: UniformValue): void {
  if (type.kind === 'scalar') return packScalar(view, at, path, type.scalar, value);
  if (type.kind === 'struct') return packFields(view, at, path, type.fields, value as UniformValues);
  if (!Array.isArray(value) || value.length !== type.count)
    throw new Error(`${path} takes a list of ${type.count} values`);
  (value as readonly UniformValue[]).forEach((each, i) => {
    if (type.kind === 'vector') packScalar(view, at + 4 * i, `${path}[${i}]`, type.scalar, each);
    else packValue(view, at + type.stride * i, `${path}[${i}]`, type.element.type, each);
  });
}

const RANGES = { u32: [0, 2 ** 32 - 1], i32: [-(2 ** 31), 2 ** 31 - 1] } as const;

function packScalar(
  view: DataView,
  at: number,
  path: string,
  scalar: 'u32' | 'i32' | 'f32',
  value: UniformValue,
): void {
  if (typeof value !== 'number') throw new Error(`${path} takes a number`);
  if (scalar === 'f32') return view.setFloat32(at, value, true);
  const [least, most] = RANGES[scalar];
  if (!Number.isInteger(value) || value < least || value > most)
    throw new Error(`${path} is ${value}, and should be a ${scalar}`);
  if (scalar === 'u32') view.setUint32(at, value, true);
  else view.setInt32(at, value, true);
}

/** The values of a struct, read back from its bytes. */
export function unpackStruct({ fields }: StructLayout, bytes: ArrayBuffer): UniformValues {
  return unpackFields(new DataView(bytes), 0, fields);
}

const unpackFields = (view: DataView, at: number, fields: readonly Field[]): UniformValues =>
  Object.fromEntries(fields.map(({ name, offset, type }) => [name, unpackValue(view, at + offset, type)]));

function unpackValue(view: DataView, at: number, type: Type): UniformValue {
  if (type.kind === 'struct') return unpackFields(view, at, type.fields);
  if (type.kind === 'array')
    return Array.from({ length: type.count }, (_, i) =>
      unpackValue(view, at + type.stride * i, type.element.type),
    );
  const scalar = (offset: number): number =>
    type.scalar === 'f32'
      ? view.getFloat32(offset, true)
      : type.scalar === 'u32'
        ? view.getUint32(offset, true)
        : view.getInt32(offset, true);
  if (type.kind === 'scalar') return scalar(at);
  return Array.from({ length: type.count }, (_, i) => scalar(at + 4 * i));
}

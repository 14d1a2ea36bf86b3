/** What the engine reads from its shaders' texts is what an independent WGSL parser reads from them. */

import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { WgslReflect, type StructInfo } from 'wgsl_reflect/wgsl_reflect.module.js';
import { packStruct, structLayout, unpackStruct, type StructLayout } from '../../src/engine/gpu/uniforms.ts';
import { bindingsDeclared } from '../../src/engine/gpu/wgsl.ts';
import { kernelTexts } from '../helpers/kernels.ts';

/** Offsets and sizes of a struct and of the structs in it, as text. */
const described = (struct: StructInfo): unknown =>
  struct.members.map((m) => [m.name, m.offset, m.size, m.isStruct ? described(m.type as StructInfo) : null]);
const ours = ({ fields }: Pick<StructLayout, 'fields'>): unknown =>
  fields.map((f) => [f.name, f.offset, f.bytes, f.type.kind === 'struct' ? ours(f.type) : null]);

function compare(text: string): number {
  // wgsl_reflect 1.6 knows no comma after the last argument.
  const reflected = new WgslReflect(text.replace(/,\s*\)/g, ')'));
  const bound = bindingsDeclared(text).map(({ name, binding }) => [name, binding]);
  const groups = reflected.getBindGroups();
  const theirs = groups.flatMap((group) => group.filter(Boolean).map((v) => [v.name, v.binding]));
  expect(groups.length).toBe(1); // all in group 0
  expect(bound.sort()).toEqual(theirs.sort());
  expect(new Set(bound.map(([, binding]) => binding)).size).toBe(bound.length);
  const structs = reflected.structs.filter((s) => s.inUse || s.name === 'Layer');
  for (const struct of structs) {
    const layout = structLayout(text, struct.name);
    expect(ours(layout), struct.name).toEqual(described(struct));
    expect(layout.bytes, struct.name).toBe(struct.size);
  }
  return structs.length;
}

describe('structs and bindings, beside wgsl_reflect', () => {
  const texts = kernelTexts();

  it('of every kernel', () => {
    expect(texts.size).toBeGreaterThan(150);
    for (const [text, { dispatch }] of texts) {
      const name = dispatch.shader.name;
      expect(compare(text), name).toBeGreaterThan(0);
      expect(Object.keys(dispatch.uniforms).sort(), name).toEqual(
        structLayout(text, 'Layer').fields.map((f) => f.name).sort(), // prettier-ignore
      );
    }
  });

  it('of the display', () => {
    const text = readFileSync(new URL('../../shaders/display.wgsl', import.meta.url), 'utf8');
    expect(compare(text)).toBe(1);
  });

  it('every shader is among them', () => {
    const files = readdirSync(new URL('../../shaders', import.meta.url)).filter((f) => f.endsWith('.wgsl'));
    const seen = new Set([...texts.values()].map(({ dispatch }) => `${dispatch.shader.name}.wgsl`));
    expect(files.filter((file) => !seen.has(file))).toEqual(['display.wgsl']);
  });

  it('comments, one line, attributes and alignment change nothing', () => {
    const text = `
      struct Layer { /* word: u32, // not /* this */ */ a: u32, // b: f32,
        v: vec3f, w: vec2f, rows: array<vec4f, 3>, inner: Inner, last: i32 } struct Inner{x:f32,y:vec2u}
      // @group(0) @binding(7) var<uniform> no: Layer;
      @group(0) @binding(1) var<uniform> layer: Layer; @binding(2) @group(0) var<storage, read> data: array<vec4<f32>>;
      @compute @workgroup_size(1) fn main() { _ = layer.a; _ = data[0]; }`;
    expect(compare(text)).toBe(2);
    expect(bindingsDeclared(text).map(({ name }) => name)).toEqual(['layer', 'data']);
  });
});

describe('packing', () => {
  const layout = structLayout('struct S { a: u32, b: f32, v: vec2f, rows: array<Row, 2>, } struct Row { own: vec4f, h: array<vec4f, 2> }', 'S'); // prettier-ignore
  const row = (k: number) => ({ own: [k, 2, 3, 4], h: [[5, 6, 7, 8], [9, 10, 11, 12]] }); // prettier-ignore
  const values = { a: 7, b: 0.5, v: [1, -1], rows: [row(1), row(-1)] };

  it('puts every value in its place, and unpacking gives it back', () => {
    const bytes = packStruct(layout, values);
    expect(bytes.byteLength).toBe(16 + 2 * 48);
    expect(new Uint32Array(bytes)[0]).toBe(7);
    expect([...new Float32Array(bytes)].slice(1)).toEqual([0.5, 1, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, -1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]); // prettier-ignore
    expect(unpackStruct(layout, bytes)).toEqual(values);
  });

  it.each([
    ['a value that is missing', { ...values, b: undefined } as never, /S\.b is missing/],
    ['one that is unknown', { ...values, c: 1 }, /S has no c/],
    ['a fraction', { ...values, a: 1.5 }, /S\.a is 1\.5, and should be a u32/],
    ['a negative number', { ...values, a: -1 }, /S\.a is -1/],
    ['a vector of another length', { ...values, v: [1] }, /S\.v takes a list of 2/],
    ['a vector for a number', { ...values, a: [1] }, /S\.a takes a number/],
  ])('refuses %s', (_, wrong, message) => expect(() => packStruct(layout, wrong)).toThrow(message));

  it('refuses arrays that uniforms cannot have', () => {
    expect(() => structLayout('struct S { a: array<f32, 4> }', 'S')).toThrow(/multiple of 16/);
  });
});

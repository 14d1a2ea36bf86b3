import { refusal } from '../helpers/refusal.ts';
import { describe, expect, it } from 'vitest';
import { DiffusionError } from '../../src/core/errors.ts';
import { f16ToF32, f32ToF16 } from '../../src/core/float16.ts';
import {
  readSafetensors,
  toFloat32,
  toIntegers,
  writeSafetensors,
} from '../../src/engine/formats/safetensors.ts';
import { random } from '../helpers/array.ts';
import { file, HOSTILE_FILES } from './hostile.ts';

describe('hostile files', () => {
  it('there are more than thirty', () => expect(HOSTILE_FILES.length).toBeGreaterThan(30));

  it.each(HOSTILE_FILES)('%s', (_, bytes, cause) => {
    const error = refusal(() => readSafetensors(bytes, 'model.safetensors'));
    expect(error.code).toBe('bad-weights');
    expect(error.what).toMatch(cause);
    expect(error.what).toContain('model.safetensors');
    expect(error.what.length).toBeLessThan(400); // does not repeat the file at the reader
  });

  it('reading allocates no copy of the data, and the numbers one', () => {
    const bytes = file({ a: { dtype: 'F32', shape: [1 << 20], data_offsets: [0, 4 << 20] } }, new Uint8Array(4 << 20));
    const tensor = readSafetensors(bytes, 'x').get('a')!;
    expect(tensor.bytes.buffer).toBe(bytes.buffer);
    expect(toFloat32(tensor).buffer.byteLength).toBe(4 << 20);
  });

  it('twenty thousand mutations of a good file: a typed error or tensors inside the file, never more', () => {
    const good = writeSafetensors([
      { name: 'conv.weight', shape: [2, 3], data: Float32Array.from([1, 2, 3, 4, 5, 6]) },
      { name: 'conv.bias', shape: [2], data: Float32Array.from([7, 8]) },
    ]);
    const u = random(1);
    let accepted = 0;
    for (let i = 0; i < 20_000; i++) {
      const bytes = good.slice(0, u() < 0.1 ? Math.floor(u() * good.length) : good.length);
      for (let k = 0; k < 1 + u() * 3 && bytes.length > 0; k++)
        bytes[Math.floor(u() * bytes.length)] = u() < 0.5 ? Math.floor(u() * 256) : 32 + Math.floor(u() * 95);
      try {
        for (const t of readSafetensors(bytes, 'x').values()) {
          expect(t.bytes.byteOffset + t.bytes.length).toBeLessThanOrEqual(bytes.length);
          accepted++;
        }
      } catch (error) {
        if (!(error instanceof DiffusionError)) throw error;
      }
    }
    expect(accepted).toBeGreaterThan(100); // changes inside the data or a name are legal
  });
});

describe('good files', () => {
  it('F32, F16, BF16 and F64, at any alignment', () => {
    const values = [0, -0, 1, -1.5, 65504, 2 ** -24, 3.140625, -0.333251953125];
    const data = new Uint8Array(1 + 8 * (4 + 2 + 2 + 8));
    const view = new DataView(data.buffer);
    values.forEach((v, i) => {
      view.setFloat32(1 + i * 4, v, true);
      view.setUint16(33 + i * 2, f32ToF16(v), true);
      view.setFloat32(100, v, true);
      const top = view.getUint16(102, true);
      view.setUint16(49 + i * 2, top, true);
      view.setFloat64(65 + i * 8, v, true);
    });
    const header = {
      odd: { dtype: 'U8', shape: [1], data_offsets: [0, 1] },
      a: { dtype: 'F32', shape: [2, 4], data_offsets: [1, 33] },
      b: { dtype: 'F16', shape: [8], data_offsets: [33, 49] },
      c: { dtype: 'BF16', shape: [8], data_offsets: [49, 65] },
      d: { dtype: 'F64', shape: [8], data_offsets: [65, 129] },
    };
    values.forEach((v, i) => view.setFloat64(65 + i * 8, v, true));
    values.forEach((v, i) => {
      const f = new DataView(new ArrayBuffer(4));
      f.setFloat32(0, v);
      view.setUint16(49 + i * 2, f.getUint16(0), true);
    });
    const tensors = readSafetensors(file(header, data), 'x');
    expect([...toFloat32(tensors.get('a')!)]).toEqual(values);
    expect([...toFloat32(tensors.get('b')!)]).toEqual(values);
    expect([...toFloat32(tensors.get('d')!)]).toEqual(values);
    const truncated = values.map((v) => new Float32Array(new Uint32Array([new Uint32Array(Float32Array.of(v).buffer)[0]! & 0xffff0000]).buffer)[0]!);
    expect([...toFloat32(tensors.get('c')!)]).toEqual(truncated);
    expect(refusal(() => toFloat32(tensors.get('odd')!)).what).toMatch(/holds U8/);
    expect(toIntegers(tensors.get('odd')!)).toEqual([0]);
  });

  it('__proto__ is a name like any other', () => {
    const bytes = file('{"__proto__":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', new Uint8Array(4));
    expect([...readSafetensors(bytes, 'x').keys()]).toEqual(['__proto__']);
    expect(({} as Record<string, unknown>)['dtype']).toBeUndefined();
  });

  it('what is written is read', () => {
    const data = Float32Array.from({ length: 30 }, (_, i) => i / 7);
    const back = readSafetensors(writeSafetensors([{ name: 'ä "x"', shape: [5, 6], data }]), 'x').get('ä "x"')!;
    expect(back.shape).toEqual([5, 6]);
    expect(toFloat32(back)).toEqual(data);
  });

  it('16-bit floats: all 65,536 patterns survive the way through f32', () => {
    for (let h = 0; h < 65536; h++) {
      const x = f16ToF32(h);
      if (Number.isNaN(x)) expect(Number.isNaN(f16ToF32(f32ToF16(x)))).toBe(true);
      else if (f32ToF16(x) !== h) throw new Error(`${h.toString(16)} -> ${x} -> ${f32ToF16(x).toString(16)}`);
    }
    // Ties go to the even neighbour; past the largest, infinity.
    expect(f16ToF32(f32ToF16(1 + 2 ** -11))).toBe(1);
    expect(f16ToF32(f32ToF16(1 + 3 * 2 ** -11))).toBe(1 + 2 ** -9);
    expect(f16ToF32(f32ToF16(65520))).toBe(Infinity);
    expect(f16ToF32(f32ToF16(65519.99))).toBe(65504);
    expect(f16ToF32(f32ToF16(2 ** -25))).toBe(0);
    expect(f16ToF32(f32ToF16(2 ** -25 * 1.0001))).toBe(2 ** -24);
  });
});

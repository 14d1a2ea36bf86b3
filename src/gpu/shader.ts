/**
 * WGSL text and its structural variants.
 *
 * `#if NAME` / `#if !NAME` / `#elif NAME` / `#else` / `#endif` in a .wgsl file are resolved by wgsl-preprocessor, with
 * NAME looked up in `defines`; `{{NAME}}` is replaced by a number where WGSL allows no override constant.
 * Names and numbers come from our launchers only: no text of a weight file or a config reaches a shader.
 */

import { wgsl } from 'wgsl-preprocessor/wgsl-preprocessor.js';
import type { DType } from '../tensor.ts';

export interface Shader {
  /** The shader's base name: the same as its launcher, its CPU twin and its test. */
  readonly name: string;
  /** Text of the .wgsl files, fragments of shaders/lib first. */
  readonly code: string;
}

export type Defines = Readonly<Record<string, boolean | number>>;

/** The final WGSL. @throws Error when the text asks for a name that `defines` does not have (a fault of ours). */
export function assemble(shader: Shader, defines: Defines): string {
  const lookUp = (name: string): boolean | number => {
    const value = defines[name];
    if (value === undefined) throw new Error(`shader ${shader.name}: ${name} is not defined`);
    return value;
  };
  // wgsl-preprocessor is a template tag: cut the text where a tag's ${...} would stand.
  const strings: string[] = [];
  const values: (boolean | number)[] = [];
  let rest = 0;
  for (const match of shader.code.matchAll(/(#(?:if|elif) +)(!?)(\w+)|\{\{(\w+)\}\}/g)) {
    const [all, start = '', not, condition, place] = match;
    strings.push(shader.code.slice(rest, match.index + start.length));
    values.push(place ? lookUp(place) : Boolean(lookUp(condition!)) !== (not === '!'));
    rest = match.index + all.length;
  }
  strings.push(shader.code.slice(rest));
  return wgsl(strings as unknown as TemplateStringsArray, ...values);
}

/** `enable f16;` and the storage types of a kernel: `T` is its scalar, `T4` four of them, `M4` a 4x4 matrix. */
export function storageTypes(dtype: DType): string {
  return dtype === 'f16'
    ? 'enable f16;\nalias T = f16;\nalias T4 = vec4<f16>;\nalias M4 = mat4x4<f16>;\n'
    : 'alias T = f32;\nalias T4 = vec4<f32>;\nalias M4 = mat4x4<f32>;\n';
}

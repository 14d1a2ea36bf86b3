/**
 * From the files in shaders/ to the WGSL text of one kernel.
 *
 * - `#import NAME` is replaced by shaders/lib/NAME.wgsl, each file once. An import inside a conditional must be the only one
 *   of its name.
 * - `#if NAME`, `#if !NAME`, `#elif NAME`, `#else`, `#endif` are resolved by wgsl-preprocessor, by the launcher's defines.
 * - `{{NAME}}` is replaced by a number of the defines.
 *
 * Names and numbers come from our launchers only: no text of a weight file or a config reaches a shader.
 */

import { wgsl } from 'wgsl-preprocessor/wgsl-preprocessor.js';
import activation from '../../../shaders/lib/activation.wgsl?raw';
import dispatch from '../../../shaders/lib/dispatch.wgsl?raw';
import epilogue from '../../../shaders/lib/epilogue.wgsl?raw';
import normal from '../../../shaders/lib/normal.wgsl?raw';
import philox from '../../../shaders/lib/philox.wgsl?raw';
import step from '../../../shaders/lib/step.wgsl?raw';
import sum from '../../../shaders/lib/sum.wgsl?raw';
import type { DType } from '../../core/tensor.ts';

export interface Shader {
  /** Base name of the .wgsl file. */
  readonly name: string;
  /** Text of the .wgsl file. */
  readonly code: string;
}

export type Defines = Readonly<Record<string, boolean | number>>;

/** What a shader can import. */
export const SHADER_LIBRARY: ReadonlyMap<string, string> = new Map(
  Object.entries({ activation, dispatch, epilogue, normal, philox, step, sum }),
);

/** Replaces every `#import`, in imported files too. */
function withImports(name: string, code: string, seen = new Set<string>()): string {
  return code.replace(/^#import +(\w+) *$/gm, (_, imported: string) => {
    const text = SHADER_LIBRARY.get(imported);
    if (text === undefined) throw new Error(`shader ${name}: there is no shaders/lib/${imported}.wgsl`);
    if (seen.has(imported)) return '';
    seen.add(imported);
    return withImports(name, text, seen);
  });
}

/** The final WGSL. @throws Error if the text uses a name that is not in `defines` or not in the library (a fault of ours) */
export function assemble({ name, code }: Shader, defines: Defines): string {
  const text = withImports(name, code);
  const lookUp = (key: string): boolean | number => {
    const value = defines[key];
    if (value === undefined) throw new Error(`shader ${name}: ${key} is not defined`);
    return value;
  };
  // wgsl-preprocessor is a template tag: the text is cut where a tag's ${...} would stand.
  const strings: string[] = [];
  const values: (boolean | number)[] = [];
  let rest = 0;
  for (const match of text.matchAll(/(#(?:if|elif) +)(!?)(\w+)|\{\{(\w+)\}\}/g)) {
    const [all, start = '', not, condition, place] = match;
    strings.push(text.slice(rest, match.index + start.length));
    values.push(place ? lookUp(place) : Boolean(lookUp(condition!)) !== (not === '!'));
    rest = match.index + all.length;
  }
  strings.push(text.slice(rest));
  return wgsl(strings as unknown as TemplateStringsArray, ...values);
}

/** `enable f16;` and the storage types of a kernel: `T` is its scalar, `T4` four of them, `M4` a 4x4 matrix. */
export function storageTypes(dtype: DType): string {
  return dtype === 'f16'
    ? 'enable f16;\nalias T = f16;\nalias T4 = vec4<f16>;\nalias M4 = mat4x4<f16>;\n'
    : 'alias T = f32;\nalias T4 = vec4<f32>;\nalias M4 = mat4x4<f32>;\n';
}

/**
 * Declarations of a WGSL text without conditionals: its structs, and the variables that it binds.
 *
 * Reads tokens, not lines, and no comments, so how a shader is formatted or commented does not matter.
 */

export interface Declared {
  readonly name: string;
  /** Without spaces, as in `array<vec4f,21>`. */
  readonly type: string;
}

export interface BindingDeclaration extends Declared {
  readonly binding: number;
  /** `uniform`, `storage,read` or `storage,read_write`. */
  readonly space: string;
}

/** The text with a space for each comment. Block comments nest, as in WGSL. */
export function withoutComments(wgsl: string): string {
  let text = '';
  let depth = 0;
  for (let i = 0; i < wgsl.length; i++) {
    const pair = wgsl.slice(i, i + 2);
    if (depth === 0 && pair === '//') {
      while (i < wgsl.length && wgsl[i] !== '\n') i++;
      text += '\n';
    } else if (pair === '/*' || (depth > 0 && pair === '*/')) {
      depth += pair === '/*' ? 1 : -1;
      i++;
      text += ' ';
    } else if (depth === 0) text += wgsl[i];
  }
  return text;
}

/** Names, numbers and punctuation, in order. */
const tokensOf = (wgsl: string): string[] => withoutComments(wgsl).match(/\w+|[^\s\w]/g) ?? [];

/** The tokens from `at` up to one of `ends` outside of brackets, joined. */
function until(tokens: readonly string[], at: number, ends: string): { text: string; next: number } {
  let [text, depth] = ['', 0];
  for (; at < tokens.length; at++) {
    const token = tokens[at]!;
    if (depth === 0 && ends.includes(token)) break;
    if (token === '<' || token === '(') depth++;
    if (token === '>' || token === ')') depth--;
    text += token;
  }
  return { text, next: at };
}

/** The fields of every struct. */
export function structsOf(wgsl: string): Map<string, readonly Declared[]> {
  const tokens = tokensOf(wgsl);
  const structs = new Map<string, readonly Declared[]>();
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] !== 'struct') continue;
    const fields: Declared[] = [];
    const name = tokens[i + 1]!;
    for (i += 3; tokens[i] !== '}' && i < tokens.length; i++) {
      const { text: type, next } = until(tokens, i + 2, ',}');
      fields.push({ name: tokens[i]!, type });
      i = tokens[next] === '}' ? next - 1 : next;
    }
    structs.set(name, fields);
  }
  return structs;
}

/** Every variable with a binding in group 0. */
export function bindingsDeclared(wgsl: string): BindingDeclaration[] {
  const tokens = tokensOf(wgsl);
  const found: BindingDeclaration[] = [];
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] !== '@' || tokens[i + 1] !== 'binding') continue;
    const binding = Number(tokens[i + 3]);
    const at = tokens.indexOf('var', i);
    const { text: space, next } = until(tokens, at + 2, '>');
    const { text: type } = until(tokens, next + 3, ';');
    found.push({ binding, space, name: tokens[next + 1]!, type });
  }
  return found;
}

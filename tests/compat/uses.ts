/** What of the platform the browser's code uses, with the version from which each browser has it (MDN's compatibility data). */

import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import bcd, { type Identifier, type SupportStatement } from '@mdn/browser-compat-data';
import postcss from 'postcss';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** The oldest browsers that the project promises: the first with WebGPU. */
export const FLOOR = {
  chrome: 113,
  edge: 113,
  chrome_android: 121,
  firefox: 141,
  safari: 26,
  safari_ios: 26,
};
type Browser = keyof typeof FLOOR;

export interface Use {
  /** MDN's name, as in `api.AbortSignal.any_static`. */
  readonly feature: string;
  readonly files: Set<string>;
}

/** Path in the compatibility data; null where it has none. */
function find(path: readonly string[]): Identifier | null {
  let at = bcd as unknown as Identifier | undefined;
  for (const key of path) at = at && Object.hasOwn(at, key) ? (at[key] as Identifier) : undefined;
  return at?.__compat ? at : null;
}

/** The first version that has the feature without a flag or prefix; Infinity for none. */
function since(statement: SupportStatement | undefined): number {
  const versions = [statement ?? []].flat().map((s) => {
    if (!s.version_added || s.flags || s.prefix || s.alternative_name) return Infinity;
    if (s.version_removed && !s.partial_implementation) return Infinity;
    return s.version_added === 'preview' ? Infinity : Number(s.version_added.replace('≤', ''));
  });
  return Math.min(Infinity, ...versions);
}

/** Browsers at the floor that do not have the feature yet, with the version that has it. */
export function lacking(feature: string): Partial<Record<Browser, number>> {
  const support = find(feature.split('|'))!.__compat!.support;
  const entries = (Object.keys(FLOOR) as Browser[]).map((b) => [b, since(support[b])] as const);
  return Object.fromEntries(entries.filter(([b, version]) => version > FLOOR[b]));
}

// ---- scripts ------------------------------------------------------------------------------------------------------

/** Interfaces that this type may be, from itself to the root of its inheritance. */
function chain(checker: ts.TypeChecker, type: ts.Type): string[] {
  if (type.isUnionOrIntersection()) return type.types.flatMap((t) => chain(checker, t));
  const apparent = checker.getApparentType(type);
  const names = [type.aliasSymbol?.name, apparent.symbol?.name].filter((n) => n !== undefined);
  const target = (apparent as ts.TypeReference).target ?? apparent;
  const bases = target.isClassOrInterface() ? checker.getBaseTypes(target) : [];
  return [...names, ...bases.flatMap((base) => chain(checker, base))];
}

/** Every member of the platform's interfaces, and every global, that the modules reach; by MDN's name. */
export function usesOfScripts(entries: readonly string[]): { uses: Map<string, Use>; unknown: Set<string> } {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile) as { config: object };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ROOT);
  const program = ts.createProgram([...entries.map((e) => join(ROOT, e)), join(ROOT, 'node_modules/vite/client.d.ts')], { ...options, types: ['@webgpu/types', 'vite/client'] }); // prettier-ignore
  const checker = program.getTypeChecker();
  const uses = new Map<string, Use>();
  const unknown = new Set<string>();
  const isPlatform = (symbol: ts.Symbol | undefined): boolean =>
    Boolean(symbol?.declarations?.some((d) => /\/lib\.[\w.]+\.d\.ts$|@webgpu\/types/.test(d.getSourceFile().fileName))); // prettier-ignore
  const add = (paths: readonly string[][], file: string, what: string): void => {
    const path = paths.find(find);
    if (!path) return void unknown.add(what);
    const feature = path.join('|');
    const use = uses.get(feature) ?? { feature, files: new Set() };
    use.files.add(file);
    uses.set(feature, use);
  };
  const member = (of: ts.Node, symbol: ts.Symbol | undefined, name: string, file: string): void => {
    const declared = symbol?.declarations?.map((d) => (d.parent as ts.InterfaceDeclaration).name?.text ?? '');
    const itself = ts.isIdentifier(of) ? [of.text] : []; // URL, console
    const owners = [...chain(checker, checker.getTypeAtLocation(of)), ...(declared ?? []), ...itself]
      .map((n) => n.replace(/^Readonly|Constructor$/g, ''))
      .flatMap((n) =>
        /^(Big)?(Ui|I)nt\d+(Clamped)?Array$|^Float\d+Array$/.test(n) ? [n, 'TypedArray'] : [n],
      );
    const statics = (n: string) => [['api', n, `${name}_static`], ['api', n, name], ['javascript', 'builtins', n, name]]; // prettier-ignore
    const events = owners.includes('EventTarget') ? [['api', 'EventTarget', name]] : [];
    add([...owners.flatMap(statics), ['api', 'Window', name], ['api', name], ...events], file, `${owners[0]}.${name}`); // prettier-ignore
  };
  for (const source of program.getSourceFiles()) {
    if (source.isDeclarationFile || source.fileName.includes('node_modules')) continue;
    const file = relative(ROOT, source.fileName);
    const visit = (node: ts.Node): void => {
      if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) return;
      if (ts.isPropertyAccessExpression(node)) {
        const symbol = checker.getSymbolAtLocation(node.name);
        if (isPlatform(symbol)) member(node.expression, symbol, node.name.text, file);
        return visit(node.expression);
      }
      if (ts.isBindingElement(node) && ts.isObjectBindingPattern(node.parent)) {
        const name = node.propertyName ?? node.name;
        const symbol = ts.isIdentifier(name) && checker.getTypeAtLocation(node.parent).getProperty(name.text);
        if (symbol && isPlatform(symbol)) member(node.parent, symbol, symbol.name, file);
      }
      if (ts.isIdentifier(node) && !ts.isPropertyAssignment(node.parent)) {
        const symbol = checker.getSymbolAtLocation(node);
        const global = symbol && isPlatform(symbol) && symbol.flags & (ts.SymbolFlags.Variable | ts.SymbolFlags.Function); // prettier-ignore
        const { text } = node;
        if (global && !['undefined', 'globalThis'].includes(text))
          add([['api', text], ['javascript', 'builtins', text], ['api', 'Window', text], ['api', 'EventTarget', text]], file, text); // prettier-ignore
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  return { uses, unknown };
}

// ---- styles -------------------------------------------------------------------------------------------------------

const UNITS: Readonly<Record<string, string>> = {
  cqi: 'container_query_length_units',
  dvh: 'viewport_percentage_units_dynamic',
  svh: 'viewport_percentage_units_small',
  lh: 'lh',
};

/** Every property, value, function, unit, selector and rule of the style sheets that MDN knows. */
export function usesOfStyles(folder = 'src'): Map<string, Use> {
  const uses = new Map<string, Use>();
  const all = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
  for (const name of all.filter((n) => n.endsWith('.css'))) {
    const path = join(folder, name);
    const add = (...names: string[]): void => {
      if (!find(names)) return;
      const feature = names.join('|');
      const use = uses.get(feature) ?? { feature, files: new Set() };
      use.files.add(path);
      uses.set(feature, use);
    };
    const root = postcss.parse(readFileSync(join(ROOT, path), 'utf8'), { from: path });
    root.walkAtRules(({ name, params }) => {
      add('css', 'at-rules', name);
      for (const [, feature] of params.matchAll(/\(([\w-]+)/g)) add('css', 'at-rules', name, feature!);
    });
    root.walkRules((rule) => {
      for (const [, name] of rule.selector.matchAll(/::?([\w-]+)/g)) add('css', 'selectors', name!);
      if (rule.parent?.type === 'rule') add('css', 'selectors', 'nesting');
    });
    root.walkDecls(({ prop, value }) => {
      add('css', 'properties', prop);
      for (const [word] of value.matchAll(/[a-z][\w-]*/g)) add('css', 'properties', prop, word);
      for (const [, name] of value.matchAll(/([a-z][\w-]*)\(/g)) {
        add('css', 'types', name!);
        add('css', 'types', 'color', name!);
      }
      for (const [, unit] of value.matchAll(/\d([a-z]+)\b/g))
        add('css', 'types', 'length', UNITS[unit!] ?? unit!);
    });
  }
  return uses;
}

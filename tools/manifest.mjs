/** The custom-elements manifest (schema 2.1.0), from the class and its comment. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';

const PATH = 'src/element/diffusion-sampler.ts';
/** Its superclass, with the attributes as properties. */
const ATTRIBUTES = 'src/element/attributes.ts';

export function manifest(root) {
  const text = readFileSync(join(root, PATH), 'utf8');
  const classMembers = (path, name) => {
    const source = readFileSync(join(root, path), 'utf8');
    const file = ts.createSourceFile(path, source, ts.ScriptTarget.Latest, true);
    return file.statements.find((s) => ts.isClassDeclaration(s) && s.name?.text === name).members;
  };
  const all = [...classMembers(ATTRIBUTES, 'SamplerAttributes'), ...classMembers(PATH, 'DiffusionSampler')];
  const comment = /@element[\s\S]*?\*\//.exec(text)[0];
  const tags = (tag) =>
    [...comment.matchAll(new RegExp(`@${tag} (?:\\{([^}]*)\\} )?(\\S+) - (.*)`, 'g'))].map(
      ([, type, name, description]) => ({ name, description, ...(type ? { type: { text: type } } : {}) }),
    );
  const events = tags('fires');
  const docs = (node) => {
    const comments = ts.getJSDocCommentsAndTags(node).map((doc) => ts.getTextOfJSDocComment(doc.comment));
    return comments.filter(Boolean).join(' ').replace(/\s+/g, ' ').trim();
  };
  const internal = (node) => ts.getJSDocTags(node).some((tag) => tag.tagName.text === 'internal');
  const members = [];
  for (const node of all) {
    if (!node.name || !ts.isIdentifier(node.name) || internal(node)) continue;
    const name = node.name.text;
    if (name === 'addEventListener') continue; // typed, and HTMLElement's
    const description = docs(node);
    const isStatic = ts.getModifiers(node)?.some((m) => m.kind === ts.SyntaxKind.StaticKeyword);
    const common = { name, ...(description ? { description } : {}), ...(isStatic ? { static: true } : {}) };
    if (ts.isMethodDeclaration(node))
      members.push({
        kind: 'method',
        ...common,
        parameters: node.parameters.map((p) => ({
          name: p.name.getText(),
          ...(p.type ? { type: { text: p.type.getText() } } : {}),
          ...(p.initializer ? { optional: true } : {}),
        })),
        return: { type: { text: node.type?.getText() ?? 'void' } },
      });
    else if (ts.isGetAccessor(node)) {
      const settable = all.some((m) => ts.isSetAccessor(m) && m.name.getText() === name);
      const attribute = name === 'hiddenPolicy' ? 'hidden-policy' : name;
      const reflected = tags('attr').some((a) => a.name === attribute);
      members.push({
        kind: 'field',
        ...common,
        type: { text: node.type.getText() },
        ...(settable ? {} : { readonly: true }),
        ...(reflected ? { attribute, reflects: true } : {}),
      });
    } else if (ts.isPropertyDeclaration(node) && isStatic)
      members.push({ kind: 'field', ...common, type: { text: node.type?.getText() ?? 'boolean' } });
  }
  const declaration = { name: 'DiffusionSampler', module: 'dist/element.js' };
  return {
    schemaVersion: '2.1.0',
    modules: [
      {
        kind: 'javascript-module',
        path: 'dist/element.js',
        declarations: [
          {
            kind: 'class',
            name: 'DiffusionSampler',
            tagName: 'diffusion-sampler',
            customElement: true,
            description: 'A run of a diffusion model in a page, on the visitor’s own GPU.',
            superclass: { name: 'HTMLElement' },
            attributes: tags('attr').map((a) => ({ ...a, fieldName: a.name.replace('hidden-policy', 'hiddenPolicy') })), // prettier-ignore
            members,
            events,
            slots: tags('slot').map(({ name, description }) => ({ name, description })),
            cssParts: tags('csspart').map(({ name, description }) => ({ name, description })),
            cssProperties: tags('cssprop').map(({ name, description }) => ({ name, description })),
          },
        ],
        exports: [{ kind: 'js', name: 'DiffusionSampler', declaration }],
      },
      {
        kind: 'javascript-module',
        path: 'dist/define.js',
        declarations: [],
        exports: [{ kind: 'custom-element-definition', name: 'diffusion-sampler', declaration }],
      },
    ],
  };
}

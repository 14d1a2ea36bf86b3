/** Makes the custom-elements manifest of <diffusion-sampler> with @custom-elements-manifest/analyzer. */

import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { create, ts } from '@custom-elements-manifest/analyzer';

const TAG = 'diffusion-sampler';
const CLASS = 'DiffusionSampler';

/** The module that declares the element is the only `diffusion-sampler.ts` in src. */
function folderOfElement(root) {
  const files = readdirSync(join(root, 'src'), { recursive: true });
  return join(root, 'src', dirname(files.find((path) => path.endsWith(`${TAG}.ts`))));
}

/** @returns the manifest, with the addresses that the package has */
export function manifest(root) {
  const folder = folderOfElement(root);
  const modules = readdirSync(folder)
    .filter((name) => name.endsWith('.ts'))
    .map((name) =>
      ts.createSourceFile(name, readFileSync(join(folder, name), 'utf8'), ts.ScriptTarget.ES2020, true),
    );
  const analysed = create({ modules, plugins: [publicMembers] });
  const found = analysed.modules.flatMap((m) => m.declarations).find(({ name }) => name === CLASS);
  const declaration = { name: CLASS, module: 'dist/element.js' };
  return {
    schemaVersion: analysed.schemaVersion,
    modules: [
      {
        kind: 'javascript-module',
        path: declaration.module,
        declarations: [elementOf(found)],
        exports: [{ kind: 'js', name: CLASS, declaration }],
      },
      {
        kind: 'javascript-module',
        path: 'dist/define.js',
        declarations: [],
        exports: [{ kind: 'custom-element-definition', name: TAG, declaration }],
      },
    ],
  };
}

/**
 * Analyser plugin: removes members that are `@internal`, or that no class declares. (The analyser takes assignments to other
 * objects in a constructor for fields of the element.)
 */
const publicMembers = {
  name: 'public-members',
  analyzePhase({ node, moduleDoc }) {
    if (!ts.isClassDeclaration(node)) return;
    const isInternal = (member) => ts.getJSDocTags(member).some(({ tagName }) => tagName.text === 'internal');
    const names = node.members
      .filter((member) => !isInternal(member))
      .map((member) => member.name?.getText());
    const declaration = moduleDoc.declarations.find(({ name }) => name === node.name?.getText());
    if (declaration) declaration.members = declaration.members?.filter(({ name }) => names.includes(name));
  },
};

/** The public part of the class; members of base classes in the folder count as its own. */
function elementOf({ members, attributes, events, ...rest }) {
  const own = (entry) => Object.fromEntries(Object.entries(entry).filter(([key]) => key !== 'inheritedFrom'));
  const isPublic = ({ name, privacy }) =>
    !name.startsWith('#') && privacy !== 'private' && name !== 'addEventListener'; // HTMLElement's, with types
  // The analyser gives a static accessor twice, by its getter and by its setter.
  const isFirst = ({ name }, i, all) => all.findIndex((other) => other.name === name) === i;
  const reflected = new Map(attributes.map(({ name, fieldName }) => [fieldName ?? fieldOf(name), name]));
  return {
    ...rest,
    tagName: TAG,
    customElement: true,
    superclass: { name: 'HTMLElement' },
    events: events.filter(({ description }) => description), // @fires; not the names that dispatchEvent is called with
    attributes: attributes.map((entry) => ({ ...own(entry), fieldName: fieldOf(entry.name) })),
    members: members
      .filter(isPublic)
      .filter(isFirst)
      .map((entry) => {
        const attribute = reflected.get(entry.name);
        return attribute ? { ...own(entry), attribute, reflects: true } : own(entry);
      }),
  };
}

const fieldOf = (attribute) => attribute.replace(/-(.)/g, (_, letter) => letter.toUpperCase());

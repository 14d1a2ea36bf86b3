/**
 * The floors of the house, lowest first. A file may import from its own floor and from the floors below it; dynamic imports
 * and imports of types count. `npm run lint` checks this, `npm run docs:floors` draws it.
 */
const FLOORS = {
  core: ['src/core/'],
  schedule: ['src/schedule/'],
  engine: ['src/engine/', 'shaders/'],
  loading: ['src/loading/'],
  session: ['src/session/'],
  ui: ['src/ui/'],
  apps: ['src/apps/'],
};

/** The public entry: it re-exports from all floors but the apps, and no floor imports it. */
const ENTRY = 'src/index\\.ts$';

const names = Object.keys(FLOORS);
const pattern = (floor) => `^(${FLOORS[floor].join('|')})`;

/** One rule a floor: no import leads up. */
const floorRules = names.slice(0, -1).map((floor, i) => ({
  name: `floor-${floor}`,
  comment: `${floor} may import only from ${names.slice(0, i + 1).join(', ')}.`,
  severity: 'error',
  from: { path: pattern(floor) },
  to: { path: names.slice(i + 1).map(pattern) },
}));

const homeless = { path: '^src/', pathNot: [...names.map(pattern), ENTRY] };

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...floorRules,
    {
      name: 'entry-apps',
      comment: 'The public entry needs no DOM: it exports nothing of the apps.',
      severity: 'error',
      from: { path: ENTRY },
      to: { path: pattern('apps') },
    },
    {
      name: 'not-to-entry',
      comment: 'Import a file of a floor, not the public entry.',
      severity: 'error',
      from: { path: '^src/', pathNot: ['^src/apps/'] },
      to: { path: ENTRY },
    },
    {
      name: 'on-a-floor',
      comment: 'Every file is on a floor; only index.ts stands in src itself.',
      severity: 'error',
      from: homeless,
      to: {},
    },
    {
      name: 'on-a-floor-imported',
      comment: 'Every file is on a floor; only index.ts stands in src itself.',
      severity: 'error',
      from: {},
      to: homeless,
    },
    {
      name: 'no-cycles',
      comment: 'Modules that import each other cannot be read one after the other.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-orphans',
      comment: 'A file that nothing imports, and that imports nothing, is not used.',
      severity: 'error',
      from: { orphan: true, pathNot: ['\\.d\\.ts$'] },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '\\.(css|png)(\\?|$)' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.mjs', '.js', '.d.ts'] },
    reporterOptions: {
      mermaid: { minify: false },
      archi: { collapsePattern: '^(src/engine/[^/]+|src/apps/[^/]+|src/[^/]+)' },
    },
  },
};

/** For tools/floors.mjs. */
Object.defineProperty(module.exports, 'FLOORS', { enumerable: false, value: { names, pattern } });

import js from '@eslint/js';
import ts from 'typescript-eslint';

/** Who may import whom: a room imports from itself and from the rooms that it names here. */
const ROOMS = {
  errors: [],
  tensor: [],
  core: ['errors', 'tensor'],
  schedule: ['core', 'errors'],
  gpu: ['core', 'errors', 'tensor'],
  weights: ['core', 'errors', 'tensor'],
  ops: ['core', 'errors', 'tensor', 'gpu', 'weights', 'schedule'],
  unet: ['core', 'errors', 'tensor', 'gpu', 'ops', 'weights'],
  step_graph: ['core', 'errors', 'tensor', 'gpu', 'ops', 'unet', 'schedule'],
  step_plan: ['core', 'errors', 'tensor', 'gpu', 'schedule', 'step_graph'],
  memory: ['core', 'errors', 'tensor', 'gpu', 'ops', 'unet', 'step_graph'],
  self_check: ['core', 'errors', 'tensor', 'gpu', 'ops', 'unet', 'weights', 'schedule'],
  model: [
    'self_check',
    'core',
    'errors',
    'tensor',
    'gpu',
    'ops',
    'unet',
    'weights',
    'schedule',
    'step_graph',
    'step_plan',
    'memory',
  ],
  runtime: ['core', 'errors', 'tensor', 'gpu', 'weights', 'model'],
  session: ['core', 'errors', 'tensor', 'gpu', 'ops', 'unet', 'weights', 'schedule', 'model', 'runtime'],
  display: ['core', 'errors', 'tensor', 'gpu', 'session'],
  export: ['core', 'errors', 'tensor', 'session'],
  ui: ['core', 'errors', 'tensor', 'gpu', 'schedule', 'model', 'runtime', 'session', 'display', 'export'],
};
const LIBRARY = Object.keys(ROOMS);
Object.assign(ROOMS, {
  index: LIBRARY,
  views: LIBRARY,
  element: [...LIBRARY, 'views'],
  demo: LIBRARY,
  embed: ['element', 'ui'],
  cli: LIBRARY,
});
const SHADER_ROOMS = ['gpu', 'ops', 'display'];

/** Imports of src/<room>.ts and src/<room>/*.ts that lead anywhere but to an allowed room. */
function direction(room, allowed) {
  const names = `(?:${allowed.join('|') || '(?!)'})(?:/|\\.ts$)`;
  const shaders = SHADER_ROOMS.includes(room) ? '|\\.\\./shaders/' : '';
  const message = `${room} may import only ${[room, ...allowed].join(', ')} (see eslint.config.js).`;
  const rule = (regex) => ['error', { patterns: [{ regex, message }] }];
  return [
    { files: [`src/${room}.ts`], rules: { 'no-restricted-imports': rule(`^\\.{1,2}/(?!${names})`) } },
    {
      files: [`src/${room}/*.ts`],
      rules: { 'no-restricted-imports': rule(`^\\.\\./(?!${names}${shaders})`) },
    },
  ];
}

export default ts.config(
  { ignores: ['dist', 'site', 'node_modules', 'tests/output', 'weights'] },
  js.configs.recommended,
  ts.configs.recommended,
  {
    files: ['**/*.ts'],
    rules: { '@typescript-eslint/consistent-type-imports': 'error' },
  },
  {
    files: ['**/*.mjs'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly' } },
  },
  { files: ['**/*.cjs'], languageOptions: { globals: { module: 'writable' } } },
  ...Object.entries(ROOMS).flatMap(([room, allowed]) => direction(room, allowed)),
);

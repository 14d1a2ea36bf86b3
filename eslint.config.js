import js from '@eslint/js';
import ts from 'typescript-eslint';

/** Who may import whom: a room imports from itself and from the rooms that it names here. */
const ROOMS = {
  errors: [],
  tensor: [],
  schedule: ['errors'],
  gpu: ['errors', 'tensor'],
  weights: ['errors', 'tensor'],
  ops: ['errors', 'tensor', 'gpu', 'weights'],
  unet: ['errors', 'tensor', 'gpu', 'ops', 'weights'],
  display: ['errors', 'tensor', 'gpu'],
  record: ['errors', 'tensor', 'gpu', 'ops', 'unet', 'schedule'],
  memory: ['errors', 'tensor', 'gpu', 'unet', 'record'],
  self_check: ['errors', 'tensor', 'gpu', 'ops', 'unet', 'weights', 'schedule'],
  model: ['self_check', 'errors', 'tensor', 'gpu', 'ops', 'unet', 'weights', 'schedule', 'record', 'memory'],
  export: ['errors', 'tensor', 'schedule', 'sampler', 'player'],
  sampler: ['errors', 'tensor', 'gpu', 'ops', 'unet', 'schedule', 'model'],
  runtime: ['errors', 'tensor', 'gpu', 'weights', 'model'],
  player: ['errors', 'tensor', 'gpu', 'schedule', 'display', 'sampler', 'runtime'],
  index: [
    'errors',
    'tensor',
    'gpu',
    'unet',
    'weights',
    'schedule',
    'display',
    'memory',
    'model',
    'sampler',
    'runtime',
    'player',
  ],
  element: [
    'errors',
    'tensor',
    'gpu',
    'weights',
    'schedule',
    'display',
    'model',
    'sampler',
    'runtime',
    'player',
    'export',
    'views',
  ],
  embed: ['element'],
  views: ['errors', 'tensor', 'gpu', 'schedule', 'model', 'sampler', 'runtime'],
};
const SHADER_ROOMS = ['ops', 'display'];

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

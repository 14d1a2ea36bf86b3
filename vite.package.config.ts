/** Builds what npm gets, into dist/: modules that share chunks, and with `--mode cdn` the one file for a script tag. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin, type UserConfig } from 'vite';
import { weights } from './vite.config.ts';

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const { version } = JSON.parse(readFileSync(at('package.json'), 'utf8')) as { version: string };

/** The one file takes the views of the lecture from beside it: they are larger than all the rest. */
const viewsBeside: Plugin = {
  name: 'views-beside',
  enforce: 'pre',
  resolveId: (id) => (id.endsWith('/article/index.ts') ? { id: './views.js', external: true } : null),
};

/**
 * Shaders go without comments and without spaces beside punctuation, which are more than half of the text. Lines of the
 * preprocessor stay as they are.
 */
const plainShaders: Plugin = {
  name: 'plain-shaders',
  enforce: 'pre',
  load(id) {
    const [path, query] = id.split('?');
    if (query !== 'raw' || !path!.endsWith('.wgsl')) return null;
    const lines = readFileSync(path!, 'utf8').split('\n');
    const plain = (line: string): string =>
      line.startsWith('#') ? line : line.replace(/\s*([{}()[\];,:=+*/<>&|!?])\s*/g, '$1');
    const code = lines.map((line) => plain(line.replace(/\/\/.*/, '').trim())).filter(Boolean);
    return `export default ${JSON.stringify(`${code.join('\n')}\n`)}`;
  },
};

export default defineConfig(({ mode }): UserConfig => {
  const cdn = mode === 'cdn';
  const entry: Record<string, string> = cdn
    ? { 'diffusion-sampler.min': at('src/apps/element/define.ts') }
    : {
        index: at('src/index.ts'),
        element: at('src/apps/element/diffusion-sampler.ts'),
        define: at('src/apps/element/define.ts'),
        views: at('src/apps/article/index.ts'),
      };
  return {
    publicDir: false,
    plugins: [plainShaders, cdn ? viewsBeside : weights()],
    define: { __VERSION__: JSON.stringify(version) },
    build: {
      target: 'es2023',
      emptyOutDir: !cdn,
      minify: true,
      reportCompressedSize: false,
      lib: {
        formats: ['es'],
        entry,
        fileName: (_format: string, name: string) => `${name}.js`,
      },
      rolldownOptions: {
        output: {
          minify: true, // white space, too, which Vite leaves in a library
          ...(cdn
            ? { codeSplitting: false }
            : { chunkFileNames: 'chunk-[name]-[hash].js', assetFileNames: '[name][extname]' }),
        },
      },
    },
  };
});

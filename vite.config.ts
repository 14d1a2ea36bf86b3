import { readFileSync } from 'node:fs';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/** Puts the manifest and the models' runtime files beside the built page (in development, Vite serves them). */
function weights(): Plugin {
  const read = (path: string) => readFileSync(new URL(`weights/${path}`, import.meta.url));
  return {
    name: 'weights',
    apply: 'build',
    generateBundle() {
      const emit = (path: string) =>
        this.emitFile({ type: 'asset', fileName: `weights/${path}`, source: read(path) });
      emit('models.json');
      const models = JSON.parse(read('models.json').toString()) as {
        name: string;
        files: { path: string }[];
      }[];
      for (const { name, files } of models) files.forEach(({ path }) => emit(`${name}/${path}`));
    },
  };
}

export default defineConfig({
  base: './',
  plugins: [weights()],
  build: { rolldownOptions: { input: ['index.html', 'lecture.html'] } },
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'node',
          include: ['tests/**/*.test.ts'],
          exclude: ['tests/browser/**'],
          pool: 'forks',
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'browser',
          include: ['tests/browser/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 180_000,
        },
      },
    ],
    maxWorkers: 2,
  },
});

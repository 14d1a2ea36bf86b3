import { readFileSync } from 'node:fs';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/** Puts the manifest and the models' runtime files beside the built page (in development, Vite serves them). */
export function weights(): Plugin {
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

/** The embed's oEmbed answer. Addresses in it are whole ones: SITE_URL says where the site will be. */
function oembed(): Plugin {
  return {
    name: 'oembed',
    apply: 'build',
    generateBundle() {
      const site = process.env['SITE_URL'] ?? 'http://localhost:4173/';
      const [width, height] = [400, 520];
      const answer = {
        version: '1.0',
        type: 'rich',
        title: 'Diffusion sampler',
        provider_name: 'Diffusion sampler',
        provider_url: site,
        width,
        height,
        html: `<iframe src="${new URL('embed.html', site).href}" width="${width}" height="${height}" title="Diffusion sampler" loading="lazy" style="border:0"></iframe>`,
      };
      this.emitFile({ type: 'asset', fileName: 'oembed.json', source: JSON.stringify(answer, null, 1) });
    },
  };
}

export default defineConfig({
  base: './',
  plugins: [weights(), oembed()],
  build: { rolldownOptions: { input: ['index.html', 'lecture.html', 'embed.html', 'blog.html'] } },
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'node',
          include: ['tests/**/*.test.ts'],
          exclude: ['tests/browser/**', 'tests/element/**'],
          pool: 'forks',
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'browser',
          include: ['tests/browser/**/*.test.ts', 'tests/element/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 180_000,
        },
      },
    ],
    maxWorkers: 2,
  },
});

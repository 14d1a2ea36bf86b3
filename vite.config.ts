import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'vite';
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

/** The element in one file beside the pages, at an address that stays: what the page's "Share" puts into a tag. */
function oneFile(): Plugin {
  return {
    name: 'one-file',
    apply: 'build',
    async generateBundle() {
      const configFile = fileURLToPath(new URL('vite.package.config.ts', import.meta.url));
      const [built] = [
        await build({ configFile, mode: 'cdn', logLevel: 'warn', build: { write: false } }),
      ].flat();
      const [chunk] = 'output' in built! ? built.output : [];
      if (!chunk) throw new Error('the element was not built');
      this.emitFile({ type: 'asset', fileName: 'define.js', source: chunk.code });
    },
  };
}

export default defineConfig({
  base: './',
  plugins: [weights(), oembed(), oneFile()],
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

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'vite';
import { defineConfig } from 'vitest/config';
import { gpuChecks } from './tools/gpu/vite_plugin.ts';

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

/**
 * The package's modules beside the pages, at addresses that stay: define.js is what the pages put into the tags that they
 * give away, and takes the rest from beside it.
 */
function element(): Plugin {
  return {
    name: 'element',
    apply: 'build',
    async generateBundle() {
      const configFile = fileURLToPath(new URL('vite.package.config.ts', import.meta.url));
      const [built] = [await build({ configFile, logLevel: 'warn', build: { write: false } })].flat();
      if (!('output' in built!)) throw new Error('the element was not built');
      for (const file of built.output)
        if (!file.fileName.startsWith('weights/'))
          this.emitFile({
            type: 'asset',
            fileName: file.fileName,
            source: file.type === 'chunk' ? file.code : file.source,
          });
    },
  };
}

export default defineConfig({
  base: './',
  plugins: [weights(), oembed(), element(), gpuChecks()],
  // dist/ is the package's.
  build: {
    outDir: 'site',
    rolldownOptions: { input: ['index.html', 'lecture.html', 'embed.html', 'blog.html', 'gpu.html'] },
  },
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'node',
          include: ['tests/**/*.test.ts'],
          exclude: ['tests/browser/**', 'tests/element/**', 'tests/examples/**'],
          pool: 'forks',
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'browser',
          include: ['tests/{browser,element,examples}/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 180_000,
        },
      },
    ],
    maxWorkers: 2,
  },
});

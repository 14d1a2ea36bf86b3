/** The package as npm gets it: packed, installed elsewhere, bundled, imported without a DOM; and its size. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { example, pack, ROOT, run, type Packed } from './packed.ts';

const bin = (name: string) => join(ROOT, 'node_modules/.bin', name);

let packed: Packed;
let app: string;
let installed: string;

beforeAll(() => {
  packed = pack();
  ({ app, installed } = packed);
}, 180_000);
afterAll(() => packed?.remove());

it('publint and are-the-types-wrong find nothing', () => {
  expect(run(bin('publint'), [packed.tarball, '--strict'])).toContain('All good');
  // Fails by its exit code; its words tell why.
  run(bin('attw'), [
    packed.tarball,
    '--profile',
    'esm-only',
    '--exclude-entrypoints',
    './custom-elements.json',
  ]);
});

it('what package.json points to is packed, by a path of the package', () => {
  const told = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as Record<string, unknown>;
  const paths = (value: unknown): string[] =>
    typeof value === 'string' ? [value] : Object.values(value ?? {}).flatMap(paths);
  const { exports, customElements, jsdelivr, unpkg, sideEffects } = told;
  expect(customElements).toBe('./dist/custom-elements.json');
  const effects = paths(sideEffects).filter((path) => !path.startsWith('./src/')); // those are for the site's build
  for (const path of paths([exports, customElements, jsdelivr, unpkg, effects])) {
    expect(path).toMatch(/^\.\//);
    expect(readdirSync(join(installed, path.replace(/[^/]*$/, ''))), path).toContainEqual(
      path.endsWith('*') ? expect.any(String) : path.split('/').at(-1),
    );
  }
  expect(readFileSync(join(installed, 'package.json'), 'utf8')).not.toMatch(/\/tmp|\/home|\/work|file:/);
});

it('is imported on a server, where there is no window', () => {
  const code = `
    import * as core from 'diffusion-sampler';
    import { DiffusionSampler } from 'diffusion-sampler/element';
    import 'diffusion-sampler/define';
    const { code } = await core.loadModel('digits').catch((e) => e);
    console.log(typeof core.sample, core.SCHEDULERS.length, DiffusionSampler.name.length > 0, code);`;
  expect(run(process.execPath, ['--input-type=module', '-e', code], app)).toBe('function 13 true no-webgpu-api\n'); // prettier-ignore
});

it('a clean Vite app builds with it, and takes of the core what it uses', async () => {
  writeFileSync(join(app, 'index.html'), '<script type="module" src="./main.js"></script>');
  const bundle = async (code: string): Promise<string> => {
    writeFileSync(join(app, 'main.js'), code);
    await build({
      root: app,
      configFile: false,
      logLevel: 'silent',
      build: { outDir: 'out', emptyOutDir: true },
    });
    const assets = join(app, 'out/assets');
    return readdirSync(assets).map((name) => (name.endsWith('.js') ? readFileSync(join(assets, name), 'utf8') : '')).join(''); // prettier-ignore
  };
  expect(await bundle("import 'diffusion-sampler/define';")).toContain('customElements.define');
  const noise = await bundle(
    "import { normals } from 'diffusion-sampler'; console.log(normals(1, 0, 0, 4));",
  );
  expect(noise).not.toContain('customElements');
  const unused = await bundle("import 'diffusion-sampler';");
  expect(unused.length).toBeLessThan(2000); // Vite's own
});

it('types are there for a strict program, and for the React example', () => {
  writeFileSync(
    join(app, 'main.ts'),
    `import { sample, loadModel, DiffusionError, type Sample } from 'diffusion-sampler';
     import 'diffusion-sampler/define';
     const model = await loadModel('digits', { dtype: 'f16' });
     for await (const s of sample(model, { steps: 4, scheduler: 'ddim' })) { const t: number = (s satisfies Sample).t; void t; }
     const el = document.querySelector('diffusion-sampler')!;
     el.addEventListener('step', ({ detail }) => { const k: number = detail.index; void k; });
     el.addEventListener('error', ({ detail }) => { void (detail satisfies DiffusionError).code; });
     // @ts-expect-error there is no such sampler
     sample(model, { scheduler: 'nonsense' });`,
  );
  writeFileSync(
    join(app, 'example.tsx'),
    `${example('React')}
     <Digit seed={3} />;
     // @ts-expect-error a seed is a number
     <diffusion-sampler seed="seven" />;`,
  );
  const flags = ['--strict', '--noEmit', '--jsx', 'react-jsx', '--module', 'nodenext', '--target', 'es2023', '--lib', 'es2024,dom,dom.iterable']; // prettier-ignore
  run(
    process.execPath,
    [join(ROOT, 'node_modules/typescript/bin/tsc'), ...flags, 'main.ts', 'example.tsx'],
    app,
  );
});

it('keeps to its size', () => {
  const read = (name: string) => readFileSync(join(installed, 'dist', name), 'utf8');
  /** Bytes of a module and of what it imports, gzipped; with `lazily` also of the engine, which comes with a run. */
  const sizeOf = (entry: string, lazily: boolean): number => {
    const seen = new Set<string>();
    const visit = (name: string): void => {
      if (seen.has(name)) return;
      seen.add(name);
      const next = [...read(name).matchAll(/(?:from|import)\s*["`]\.\/([^"`]+)["`]/g)].map((m) => m[1]!);
      const later = [...read(name).matchAll(/import\(["`]\.\/(chunk-model-[^"`]+)["`]\)/g)].map((m) => m[1]!);
      [...next, ...(lazily ? later : [])].forEach(visit);
    };
    visit(entry);
    expect([...seen].some((name) => name.startsWith('chunk-model-'))).toBe(lazily);
    return [...seen].reduce((bytes, name) => bytes + gzipSync(read(name), { level: 9 }).length, 0);
  };
  expect(sizeOf('define.js', false)).toBeLessThan(64 * 1024);
  expect(sizeOf('define.js', true)).toBeLessThan(92 * 1024);
  expect(gzipSync(read('diffusion-sampler.min.js'), { level: 9 }).length).toBeLessThan(92 * 1024);
  const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as Record<string, unknown>; // prettier-ignore
  expect(dependencies).toBeUndefined();
});

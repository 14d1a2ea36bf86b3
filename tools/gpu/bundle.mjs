// Bundles the programs of this folder, and the tests and benchmarks that they run, into modules that need nothing else:
// for Node (its only package, webgpu, stays outside) and for a page.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const here = (name) => `${ROOT}tools/gpu/${name}`;

/** The commit that is bundled; with `+` if files differ from it. */
export function commit() {
  const git = (...args) =>
    execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return git('rev-parse', '--short=9', 'HEAD') + (git('status', '--porcelain') ? '+' : '');
  } catch {
    return 'unknown';
  }
}

/** What stands in for what, by the end of the path that a module names. */
const STAND_INS = {
  node: { vitest: 'vitest.ts', 'node_gpu.ts': 'dawn.ts' },
  page: { vitest: 'vitest.ts', 'ort.ts': 'no_rivals.ts', 'node_gpu.ts': 'page_gpu.ts', 'node:fs': 'page_files.ts', 'node:fs/promises': 'page_files.ts', 'node:url': 'page_files.ts', 'node:path': 'page_files.ts' }, // prettier-ignore
};

const ROOTS = { node: "process.env['GPU_ROOT']", page: 'globalThis.gpuRoot' };

/**
 * Modules find the repository's files beside themselves, by import.meta.url. A bundle lies elsewhere, so each gets the
 * address that it has in the repository: below the variable GPU_ROOT, or in a page below `globalThis.gpuRoot`.
 */
function inPlace(target) {
  return {
    name: 'gpu-in-place',
    enforce: 'pre',
    resolveId(source) {
      const found = Object.entries(STAND_INS[target]).find(
        ([name]) => source === name || source.endsWith(`/${name}`),
      );
      return found ? here(found[1]) : null;
    },
    transform(code, id) {
      if (id.includes('/node_modules/') || !id.startsWith(ROOT)) return null;
      // package.json denies the project's modules side effects; a test file is nothing else.
      const moduleSideEffects = true;
      if (!code.includes('import.meta.url')) return { code, map: null, moduleSideEffects };
      const address = JSON.stringify(id.slice(ROOT.length).split('?')[0]);
      return {
        code: code.replaceAll('import.meta.url', `(${ROOTS[target]} + ${address})`),
        map: null,
        moduleSideEffects,
      };
    },
  };
}

const shared = (target) => ({
  configFile: false,
  root: ROOT,
  logLevel: 'warn',
  define: { __COMMIT__: JSON.stringify(commit()) },
  plugins: [inPlace(target)],
});

/**
 * Programs for Node.
 * @param {Record<string, string>} entries file of the repository by the name of the program
 */
export async function bundleForNode(entries, outDir, external = []) {
  await build({
    ...shared('node'),
    publicDir: false,
    ssr: { noExternal: true, external: ['webgpu', ...external] },
    build: {
      ssr: true,
      outDir,
      emptyOutDir: true,
      minify: false,
      target: 'node20',
      rolldownOptions: {
        input: Object.fromEntries(Object.entries(entries).map(([name, file]) => [name, `${ROOT}${file}`])),
        output: { entryFileNames: '[name].mjs', chunkFileNames: '[name]-[hash].mjs' },
      },
    },
  });
}

/** The checks of gpu.html as one module: its code. */
export async function bundleForPage() {
  const [built] = [
    await build({
      ...shared('page'),
      publicDir: false,
      build: {
        write: false,
        minify: true,
        target: 'es2023',
        lib: { entry: here('page.ts'), formats: ['es'] },
        rolldownOptions: { output: { codeSplitting: false } },
      },
    }),
  ].flat();
  return built.output.find(({ type }) => type === 'chunk').code;
}

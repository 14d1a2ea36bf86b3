// `npm run gpu:prove` and `npm run gpu:bench`: bundles the program and runs it on this machine's own adapter.
import { spawnSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { bundleForNode } from './bundle.mjs';
import { installed } from './pack.mjs';
import { CACHE, ROOT } from './paths.mjs';

const [program, ...args] = process.argv.slice(2);
if (program === 'bench') installed(`${ROOT}tests/bench`);
const folder = `${CACHE}/${program}`;
await bundleForNode({ [program]: `tools/gpu/${program}.ts` }, folder);
const { status } = spawnSync(process.execPath, [`${folder}/${program}.mjs`, ...args], {
  stdio: 'inherit',
  env: { ...process.env, GPU_ROOT: pathToFileURL(ROOT).href },
});
if (status === 3)
  console.error(
    'Dawn found no adapter: update the graphics driver. On Linux it needs a Vulkan driver, which VK_DRIVER_FILES may name.',
  );
process.exit(status ?? 1);

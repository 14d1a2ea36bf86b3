// Builds the Vulkan layer (layer/layer.c says why there is one) and gives the environment in which a command runs under it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const SOURCES = fileURLToPath(new URL('./layer', import.meta.url));
/** What is made here; git ignores it. */
export const OUTPUT = fileURLToPath(new URL('../../tests/output/gpu-static', import.meta.url));

const NAME = 'VK_LAYER_GPU_STATIC';
const LIBRARY = 'libVkLayer_gpu_static.so';
const ICD_FOLDERS = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d'];

/** The file that tells the Vulkan loader of RADV, Mesa's driver for AMD's GPUs; null if it is not installed. */
export function findRadv() {
  for (const folder of ICD_FOLDERS.filter(existsSync)) {
    const icd = readdirSync(folder).find((name) => /^radeon_icd.*\.json$/.test(name));
    if (icd) return `${folder}/${icd}`;
  }
  return null;
}

/**
 * Builds the layer if it is missing or older than its source.
 *
 * @returns its folder
 * @throws Error with the compiler's messages
 */
export function buildLayer() {
  const folder = `${OUTPUT}/layer`;
  const library = `${folder}/${LIBRARY}`;
  const sources = readdirSync(SOURCES).map((name) => `${SOURCES}/${name}`);
  const newest = Math.max(...sources.map((path) => statSync(path).mtimeMs));
  if (existsSync(library) && statSync(library).mtimeMs > newest) return folder;
  mkdirSync(folder, { recursive: true });
  const made = `${library}.${process.pid}`; // renamed when complete: another process may load the library meanwhile
  const flags = [
    '-std=gnu11',
    '-O1',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-shared',
    '-fPIC',
    '-fvisibility=hidden',
  ];
  const files = sources.filter((path) => path.endsWith('.c'));
  const gcc = spawnSync('gcc', [...flags, ...files, '-o', made, '-lpthread'], { encoding: 'utf8' });
  if (gcc.status !== 0)
    throw new Error(
      `gcc did not build the Vulkan layer of tools/gpu-static (it needs gcc, libc6-dev and libvulkan-dev): ${gcc.error ?? gcc.stderr}`,
    );
  const layer = {
    name: NAME,
    type: 'GLOBAL',
    library_path: `./${LIBRARY}`,
    api_version: '1.4.0',
    implementation_version: '1',
    description: 'Compiles and does not run: statistics of every compute pipeline go to a file',
  };
  const manifest = { file_format_version: '1.2.0', layer };
  writeFileSync(`${folder}/VkLayer_gpu_static.json`, JSON.stringify(manifest, null, 2));
  renameSync(made, library);
  return folder;
}

/**
 * The environment in which Vulkan has one adapter: the compile-only one of a family.
 *
 * @param family as RADV_FORCE_FAMILY names it: navi31
 * @param options `out`: file for the report; `folder`: for SPIR-V; `assembly`: the assembly too
 * @throws Error if RADV is not installed, or the layer cannot be built
 */
export function layerEnvironment(family, { out = '', folder = '', assembly = false } = {}) {
  const driver = findRadv();
  if (!driver)
    throw new Error("RADV is not installed: install Mesa's Vulkan drivers (Debian: mesa-vulkan-drivers).");
  return {
    VK_LAYER_PATH: buildLayer(),
    VK_INSTANCE_LAYERS: NAME,
    VK_DRIVER_FILES: driver,
    RADV_FORCE_FAMILY: family,
    MESA_SHADER_CACHE_DISABLE: 'true', // a cached shader has no statistics
    XDG_RUNTIME_DIR: process.env['XDG_RUNTIME_DIR'] ?? '/tmp',
    GPU_STATIC_OUT: out,
    GPU_STATIC_DIR: folder,
    GPU_STATIC_ISA: assembly ? '1' : '0',
  };
}

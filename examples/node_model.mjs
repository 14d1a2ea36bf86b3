/** WebGPU and a folder with a model, in Node. */

import { readFile } from 'node:fs/promises';
import { create, globals } from 'webgpu';
import { Model, openGpu } from '../dist/index.js';

Object.assign(globalThis, globals); // GPUBufferUsage and the like
const dawn = create([]); // one for the life of the process: devices need it

/** @param {URL} folder in diffusers layout, with / at its end */
export async function loadFolder(folder) {
  const gpu = await openGpu(dawn);
  const read = (path) => readFile(new URL(path, folder)).catch(() => null);
  return Model.load(gpu, { label: folder.href, read });
}

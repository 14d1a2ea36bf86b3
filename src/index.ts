/**
 * The library: models, samplers, runs. Importing it does nothing, and needs no DOM; what runs needs WebGPU.
 *
 *     import { draw, loadModel, Player, sample } from 'diffusion-sampler';
 *     const model = await loadModel('huggingface:google/ddpm-cifar10-32');
 *     const [image] = await draw(model, { seed: 7, steps: 50 });               // pixels
 *     for await (const { xT, t } of sample(model, { seed: 7, steps: 50 })) ... // every state, on the GPU
 *     const player = new Player(model);                                        // played, stepped, forked
 */

import { openGpu, type Gpu } from './engine/gpu/device.ts';
import { Model, type LoadOptions } from './engine/model.ts';
import { openSource, type SourceOptions } from './loading/source.ts';

export { Display, type DisplayOptions } from './ui/display/display.ts';
export { DiffusionError, type ErrorCode } from './core/errors.ts';
export { openGpu, type Gpu } from './engine/gpu/device.ts';
export { readTensor } from './engine/gpu/transfer.ts';
export { planMemory, smallestRun, type MemoryPlan } from './engine/memory.ts';
export { Model, type LoadOptions, type StepShape, type TuneOptions } from './engine/model.ts';
export { Player, type PlayerOptions, type PlayerStatus, type StoredState } from './session/player.ts';
export { termsOf, type StateView, type Term } from './session/state_view.ts';
export { acquire, Runtime, type AcquireOptions, type Lease, type RuntimeOptions } from './loading/runtime.ts';
export { draw } from './session/draw.ts';
export { qSample } from './session/latents.ts';
export type { ModelAccess } from './session/model_access.ts';
export {
  formatRecipe,
  makeRecipe,
  playRecipe,
  readRecipe,
  recipeOptions,
  type Recipe,
} from './session/recipe.ts';
export { sample, type Sample } from './session/sample.ts';
export { stepsOf, type SampleOptions, type SavedState } from './session/sample_options.ts';
export { parseSchedulerConfig, type SchedulerConfig } from './schedule/config.ts';
export { makeSteps } from './schedule/make_steps.ts';
export { noiseLevels } from './schedule/noise_levels.ts';
export type { RunOptions } from './schedule/run_options.ts';
export { SAMPLERS, SCHEDULERS, type SchedulerName } from './schedule/samplers.ts';
export type { Sampler } from './schedule/context.ts';
export { normals, slerp } from './schedule/noise.ts';
export type { Clip, LinearCombination, Step } from './schedule/step.ts';
export type { DType, GpuTensor, GpuTensor as Tensor, Shape } from './core/tensor.ts';
export { parseUNetConfig, type UNetConfig } from './engine/unet/config.ts';
export { cachedModels, deleteCached, type CachedModel } from './loading/cache.ts';
export type { ModelFiles } from './engine/formats/files.ts';
export { httpFiles } from './loading/http_files.ts';
export { droppedFiles, openSource, type ModelSource, type Notice, type SourceOptions } from './loading/source.ts'; // prettier-ignore

export interface LoadModelOptions extends LoadOptions, SourceOptions {
  readonly signal?: AbortSignal;
  /** The device to load it to; one is opened unless given, to be closed with `model.gpu.destroy()`. */
  readonly gpu?: Gpu;
}

/**
 * Finds a model, downloads it (or takes it from the browser's cache), and brings it to the GPU.
 * @param source as in openSource
 * @throws all of DiffusionError's codes but those of a run
 */
export async function loadModel(
  source: string | URL | readonly File[],
  options: LoadModelOptions = {},
): Promise<Model> {
  const gpu = options.gpu ?? (await openGpu());
  try {
    const { files } = await openSource(source, options);
    return await Model.load(gpu, files, options);
  } catch (error) {
    if (!options.gpu) gpu.destroy();
    throw error;
  }
}

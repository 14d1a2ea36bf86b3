/** WebGPU of the browser: bundle.mjs puts it in the place of the engine's node_gpu.ts. */
export const nodeGpu = (): Promise<GPU | undefined> => Promise.resolve(globalThis.navigator?.gpu);

/** Brings tfjs into a bundle; whatever else is asked for is imported by its address. */
export function loadRival(name: string): Promise<unknown> {
  if (name === '@tensorflow/tfjs-core') return import('@tensorflow/tfjs-core');
  if (name === '@tensorflow/tfjs-backend-webgpu') return import('@tensorflow/tfjs-backend-webgpu');
  return import(/* @vite-ignore */ name);
}

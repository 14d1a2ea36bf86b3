/**
 * Error scopes. An error inside a scope belongs to whoever opened it. An error outside of all scopes is a fault of the
 * device (device.ts), so everything that a GPU may refuse or have no memory for is done inside one.
 */

import { DiffusionError } from '../../core/errors.ts';

const FILTERS = ['validation', 'out-of-memory', 'internal'] as const;

/** A command that the GPU refused. `memory` is true if it ran out of memory. */
export interface Refusal {
  readonly memory: boolean;
  /** The driver's own words. For the console, not for a visitor: they may contain shader text. */
  readonly message: string;
}

/**
 * Runs `work` inside error scopes. `work` must not wait for anything: scopes are a stack of the device, shared by all.
 * @returns its result, and what the GPU refused meanwhile (null if nothing; also null if the device is lost)
 */
export function scoped<T>(device: GPUDevice, work: () => T): { result: T; refused: Promise<Refusal | null> } {
  const opened = FILTERS.filter((filter) => {
    try {
      device.pushErrorScope(filter);
      return true;
    } catch {
      return false; // `internal` is newer than the rest
    }
  });
  const close = (): Promise<Refusal | null> => {
    const errors = opened.map(() => device.popErrorScope().catch(() => null)).reverse();
    return Promise.all(errors).then((found) => {
      const error = found.find((e) => e !== null);
      // What follows from a buffer that was not allocated is a validation error: memory is the cause.
      const memory = found.some((e, i) => e !== null && opened[i] === 'out-of-memory');
      return error ? { memory, message: error.message } : null;
    });
  };
  let result: T;
  try {
    result = work();
  } catch (error) {
    void close();
    throw error;
  }
  return { result, refused: close() };
}

/** Writes what a driver said to the console, and returns a `gpu-error` without it. */
export function gpuError(what: string, cause: unknown): DiffusionError {
  console.warn(`diffusion-sampler: ${what}`, cause instanceof Error ? cause.message : cause);
  return new DiffusionError(
    'gpu-error',
    what,
    'Please report this, with the name of your browser and GPU and what its console says.',
    { cause },
  );
}

/**
 * As `scoped`, and throws what was refused.
 * @param what completes "The GPU has no room for ..."
 * @param undo frees what `work` allocated
 * @throws out-of-memory, gpu-error
 */
export async function allocate<T>(
  device: GPUDevice,
  what: string,
  work: () => T,
  undo: () => void = () => {},
): Promise<T> {
  const { result, refused } = scoped(device, work);
  const refusal = await refused;
  if (!refusal) return result;
  undo();
  if (!refusal.memory) throw gpuError(`The GPU refused a command (${what}).`, refusal.message);
  throw new DiffusionError(
    'out-of-memory',
    `The GPU has no room for ${what}.`,
    'Draw fewer pictures at a time, choose a smaller model, or close other tabs that use the GPU.',
  );
}

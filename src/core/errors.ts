/**
 * Every error that a user can meet: a stable code, one sentence on what happened, one action.
 * A leaf of the import graph: every room may import it, and it imports nothing.
 */

export type ErrorCode =
  | 'no-secure-context' // the page is not served over https or from localhost
  | 'no-webgpu-api' // navigator.gpu is missing
  | 'no-adapter' // the API is there, no adapter is
  | 'limits-too-small' // the adapter or device offers less than this model and batch need
  | 'device-lost'
  | 'out-of-memory'
  | 'gpu-error' // validation or internal error of the GPU: a fault of this code
  | 'file-not-found'
  | 'download-failed'
  | 'integrity-failed' // bytes are not the ones that the manifest promises
  | 'bad-weights' // a safetensors file that is not one, or that does not fit the config
  | 'unsupported-model' // a config that we do not run
  | 'bad-option' // an option of a run out of range, unknown, or impossible for this model
  | 'bad-input' // a file or tensor given by the user that does not fit
  | 'no-recipe' // a PNG that carries no recipe
  | 'numeric-fault' // NaN or infinity where a number was expected
  | 'internal' // anything else: a fault of this code
  | 'aborted';

/** `message` reads "what happened. What to do." */
export class DiffusionError extends Error {
  override readonly name = 'DiffusionError';
  readonly code: ErrorCode;
  /** What happened, one sentence. */
  readonly what: string;
  /** What to do about it, one sentence. */
  readonly action: string;

  constructor(code: ErrorCode, what: string, action: string, options?: ErrorOptions) {
    super(`${what} ${action}`, options);
    this.code = code;
    this.what = what;
    this.action = action;
  }
}

export const abortError = (): DiffusionError =>
  new DiffusionError('aborted', 'The run was stopped.', 'Start it again when you like.');

/** @throws aborted, if the signal has fired */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError();
}

/** Whether an error only reports that the user stopped something. */
export const isAbort = (error: unknown): boolean =>
  error instanceof DiffusionError && error.code === 'aborted';

/**
 * The error itself if it is typed; any other as a typed one that admits a fault of this code.
 * @param place completes "Something went wrong in this ..."
 */
export function toDiffusionError(error: unknown, place: 'page' | 'view' | 'run'): DiffusionError {
  if (error instanceof DiffusionError) return error;
  return new DiffusionError(
    'internal',
    `Something went wrong in this ${place} (${String(error)}).`,
    'Reload the page; if it happens again, please report it, with the name of your browser and GPU.',
    { cause: error },
  );
}

/** What to do without WebGPU: the oldest versions that have it, by system. docs/browsers.md has them as a table. */
export const BROWSERS =
  'Use Chrome or Edge 113 (Linux: 144, Android: 121), Safari 26, or Firefox 141 (Windows) or 147 (Macs with Apple silicon), or later.';

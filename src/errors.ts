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
  | 'gpu-error' // validation or internal error of the GPU: a fault of ours
  | 'file-not-found'
  | 'download-failed'
  | 'integrity-failed' // bytes are not the ones that the manifest promises
  | 'bad-weights' // a safetensors file that is not one, or that does not fit the config
  | 'unsupported-model' // a config that we do not run
  | 'bad-option' // an option of a run out of range, unknown, or impossible for this model
  | 'bad-input' // a file or tensor given by the user that does not fit
  | 'numeric-fault' // NaN or infinity where a number was expected
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

/** Throws the `aborted` error when the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted)
    throw new DiffusionError('aborted', 'The run was stopped.', 'Start it again when you like.');
}

/** What to do without WebGPU: the oldest versions that have it, by system. docs/browsers.md has them as a table. */
export const BROWSERS =
  'Use Chrome or Edge 113 (Linux: 144, Android: 121), Safari 26, or Firefox 141 (Windows) or 147 (Macs with Apple silicon), or later.';

/** Where a model's files come from. */

export interface ModelFiles {
  /** What to call the folder in an error. */
  readonly label: string;
  /** The bytes of a file, not to be changed; or null when it is not there. @throws download-failed, aborted ... */
  read(path: string, signal?: AbortSignal): Promise<Uint8Array | null>;
}

/** Nothing else is ever asked for: no pickles (.bin, .pt, .ckpt), no code. */
export const isModelFile = (path: string): boolean =>
  /^[\w.-]+(\/[\w.-]+)*\.(json|safetensors)$/.test(path) &&
  !path.split('/').some((part) => /^\.+$/.test(part));

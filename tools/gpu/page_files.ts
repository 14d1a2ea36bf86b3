/**
 * Files in a page, for tests that read fixtures at once: fetched beforehand, found by their path in the repository.
 * bundle.mjs puts it in the place of node:fs, node:fs/promises, node:path and node:url.
 */

/** Bytes that are text, too, if they are asked for it, as Node's buffers are. */
class Bytes extends Uint8Array<ArrayBuffer> {
  override toString(): string {
    return new TextDecoder().decode(this);
  }
}

const ROOT = '/repository/';
(globalThis as { gpuRoot?: string }).gpuRoot = `file://${ROOT}`;
const files = new Map<string, Bytes>();

export function putFile(path: string, bytes: ArrayBuffer): void {
  files.set(ROOT + path, new Bytes(bytes));
}

const pathOf = (path: string | URL): string => (path instanceof URL ? path.pathname : path);

export function readFileSync(path: string | URL): Bytes {
  const bytes = files.get(pathOf(path));
  if (!bytes) throw Object.assign(new Error(`${pathOf(path)} is not in the page`), { code: 'ENOENT' });
  return bytes;
}
export const readFile = async (path: string | URL): Promise<Bytes> => readFileSync(path);
export const existsSync = (path: string | URL): boolean => files.has(pathOf(path));
export const fileURLToPath = (url: string | URL): string => new URL(url).pathname;
export const join = (...parts: string[]): string => new URL(parts.join('/').replace(/\/+/g, '/'), 'file:///').pathname; // prettier-ignore
export const dirname = (path: string): string => path.slice(0, path.lastIndexOf('/'));

/** A page writes no files. */
const refuse = (): Promise<never> => Promise.reject(new Error('no files are written here'));
export { refuse as mkdir, refuse as writeFile };

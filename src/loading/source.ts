/** A model by its address: bundled with a page, on Hugging Face, in any folder on the web, or dropped from a disk. */

import { untilAborted } from '../core/abort.ts';
import { megabytes } from '../core/format.ts';
import { DiffusionError, throwIfAborted } from '../core/errors.ts';
import { readCached, writeCached, type StorageFault } from './cache.ts';
import { allowed, download, hash, type FilePromise, type OnProgress, type Timing } from './download.ts';
import { isModelFile, type ModelFiles } from '../engine/formats/files.ts';
import { httpFiles } from './http_files.ts';
import { wantedFiles } from '../engine/formats/load.ts';

export interface ModelSource {
  /** The same key is the same model, byte for byte. */
  readonly key: string;
  readonly title: string;
  /** To be downloaded in all; null when nobody says. */
  readonly bytes: number | null;
  readonly licence: string | null;
  /** Channels, height and width of a picture, where the list of files says so. */
  readonly shape?: readonly [channels: number, height: number, width: number];
  /** Every file is compared with a hash before it is used. */
  readonly verified: boolean;
  readonly files: ModelFiles;
}

/** What a visitor should know, and which is no error. */
export interface Notice {
  readonly code: 'unverified' | 'moving-revision' | StorageFault;
  /** One or two sentences. */
  readonly message: string;
}

export interface SourceOptions {
  /** The folder with models.json, of bundled models. `weights/` beside the page unless given. */
  readonly base?: URL;
  /** Of the opening; reading the files takes its own. */
  readonly signal?: AbortSignal;
  /** Bytes received of the whole model, whenever files are read; `total` is null until it is known. */
  readonly onProgress?: OnProgress;
  readonly onNotice?: (notice: Notice) => void;
  /** false: nothing is kept in the browser. */
  readonly cached?: boolean;
  /** The Hugging Face hub, or a mirror of it. */
  readonly hub?: URL;
  readonly timing?: Partial<Timing>;
}

/**
 * Finds a model and what is promised of its files; its weights are downloaded when they are read.
 * @param source the name of a bundled model; `huggingface:owner/name@revision`, or the address of its page there; the
 *   https address of a folder in diffusers layout; files dropped or chosen, with their paths (webkitRelativePath)
 * @throws bad-option, file-not-found, download-failed, integrity-failed, no-secure-context, aborted
 */
export async function openSource(
  source: string | URL | readonly File[],
  options: SourceOptions = {},
): Promise<ModelSource> {
  throwIfAborted(options.signal);
  if (typeof source !== 'string' && !(source instanceof URL)) return dropped(source, options.signal);
  const text = String(source).trim();
  const repository = onHub(text);
  if (repository) return huggingFace(repository.name, repository.revision, options);
  if (/^[\w-]+$/.test(text)) return bundled(text, options);
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  if (/^https?:\/\//.test(text) || (page && (/^\.{0,2}\//.test(text) || /^[\w./-]+\/$/.test(text))))
    return folder(new URL(text.replace(/\/?$/, '/'), page), options);
  const known = /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(text) ? text : 'owner/name';
  throw new DiffusionError(
    'bad-option',
    `${text.slice(0, 200) || 'An empty text'} is no address of a model.`,
    `Write huggingface:${known}, or the https address of a folder in diffusers layout.`,
  );
}

/** `huggingface:owner/name@revision`, or the address of a page of the repository. The revision is main unless given. */
function onHub(text: string): { name: string; revision: string } | null {
  const short = /^huggingface:([\w-][\w.-]*\/[\w-][\w.-]*)(?:@([\w-][\w./-]*))?$/.exec(text);
  const page = /^https:\/\/huggingface\.co\/([\w-][\w.-]*\/[\w-][\w.-]*?)(?:\/(?:(?:tree|blob|resolve)\/(refs\/pr\/\d+|[\w.-]+).*)?)?$/.exec(text); // prettier-ignore
  const [, name, revision] = short ?? page ?? [];
  return name === undefined ? null : { name, revision: revision ?? 'main' };
}

// ---- where models are -------------------------------------------------------------------------------------

async function bundled(name: string, options: SourceOptions): Promise<ModelSource> {
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  const base = options.base ?? new URL('weights/', page);
  const label = `The list of models, ${new URL('models.json', base).href}`;
  const list = await json(new URL('models.json', base), label, options);
  const models = Array.isArray(list) ? (list as unknown[]).filter(isRecord) : [];
  const model = models.find((m) => m['name'] === name);
  if (!model)
    throw new DiffusionError(
      'bad-option',
      `There is no bundled model ${name}.`,
      models.length ? `Choose ${models.map((m) => String(m['name'])).join(' or ')}.` : 'Reload the page; the site is not complete.', // prettier-ignore
    );
  return promised(new URL(`${name}/`, base), name, model, label, options);
}

/** A folder on the web; manifest.json in it, in the form of an entry of models.json, makes it verifiable. */
async function folder(url: URL, options: SourceOptions): Promise<ModelSource> {
  allowed(url, 'The model');
  url.hash = '';
  const name = decodeURIComponent(url.pathname.split('/').filter(Boolean).at(-1) ?? url.host);
  const files = httpFiles(url, { timing: options.timing ?? {} });
  const manifest = await files.read('manifest.json', options.signal);
  if (manifest) {
    const label = `manifest.json of ${url.href}`;
    const model = parse(manifest, label);
    return promised(url, name, isRecord(model) ? model : {}, label, options);
  }
  options.onNotice?.({
    code: 'unverified',
    message: `${url.href} has no manifest.json, so its files cannot be verified; they are not kept for the next visit.`,
  });
  const received = new Map<string, readonly [number, number | null]>();
  const unverified: ModelFiles = {
    label: url.href,
    async read(path, signal) {
      if (!isModelFile(path)) return null;
      const address = new URL(path, url);
      const onProgress: OnProgress = (...of) => {
        received.set(path, of);
        // The configs come first and say nothing of the weights.
        const total = [...received].some(([name, [, t]]) => name.endsWith('.safetensors') && t !== null);
        const sum = (k: 0 | 1) => [...received.values()].reduce((all, f) => all + (f[k] ?? 0), 0);
        options.onProgress?.(sum(0), total ? sum(1) : null);
      };
      return share(address.href, signal, onProgress, (own, progress) =>
        download(address, { label: address.href, signal: own, onProgress: progress, timing: options.timing }),
      );
    },
  };
  const remembered = remember(unverified);
  const config = (await remembered.read('unet/config.json', options.signal)) ?? (await remembered.read('config.json', options.signal)); // prettier-ignore
  if (!config)
    throw new DiffusionError(
      'file-not-found',
      `${url.href} has neither unet/config.json nor config.json (a web page in their place does not count).`,
      'Give the address of a folder in diffusers layout, with config.json and a .safetensors file (no .bin, no .pt).',
    );
  return { key: url.href, title: name, bytes: null, licence: null, verified: false, files: remembered };
}

/**
 * A repository of Hugging Face. One request says which commit a revision is, and size and hash of every file: SHA-256 of
 * those in LFS, which weights are, and git's name of the others.
 */
async function huggingFace(repo: string, revision: string, options: SourceOptions): Promise<ModelSource> {
  const hub = options.hub ?? new URL('https://huggingface.co/');
  const label = `The model ${repo}@${revision} of ${hub.host}`;
  const url = new URL(`api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`, hub);
  const info = await json(url, label, options);
  const broken = (what: string) =>
    new DiffusionError('integrity-failed', `${label} ${what}.`, 'Try again later, or use another model.');
  if (!isRecord(info) || typeof info['sha'] !== 'string' || !/^[0-9a-f]{40}$/.test(info['sha']))
    throw broken('is at no commit that the hub would name');
  const commit = info['sha'];
  if (revision !== commit)
    options.onNotice?.({
      code: 'moving-revision',
      message: `${revision} of ${repo} may change. It is ${commit.slice(0, 12)}… now: huggingface:${repo}@${commit} is this model for ever.`,
    });
  const files = (Array.isArray(info['siblings']) ? (info['siblings'] as unknown[]) : []).filter(isRecord);
  const entries = files.map((file) => {
    const lfs = isRecord(file['lfs']) ? file['lfs'] : null;
    return {
      path: file['rfilename'],
      bytes: lfs?.['size'] ?? file['size'],
      ...(lfs ? { sha256: lfs['sha256'] } : { gitBlob: file['blobId'] }),
    };
  });
  if (!entries.some(({ path }) => typeof path === 'string' && path.endsWith('.safetensors')))
    throw new DiffusionError(
      'file-not-found',
      `${label} has no .safetensors file.`,
      'Use a model that has one (pickles like .bin, .pt and .ckpt are not read), or convert it.',
    );
  const card = isRecord(info['cardData']) ? info['cardData'] : {};
  const model = { title: repo, licence: card['license'], files: entries };
  return promised(new URL(`${repo}/resolve/${commit}/`, hub), repo, model, label, options);
}

/** Files from a disk: a folder that was dropped or chosen, or its files without their folder. */
async function dropped(list: readonly File[], signal?: AbortSignal): Promise<ModelSource> {
  const all = list.map((file) => ({ file, path: file.webkitRelativePath || file.name }));
  const depth = (path: string) => path.split('/').length;
  const config = all
    .map(({ path }) => path)
    .filter((path) => /(^|\/)config\.json$/.test(path))
    .sort((a, b) => Number(/(^|\/)unet\/config\.json$/.test(b)) - Number(/(^|\/)unet\/config\.json$/.test(a)) || depth(a) - depth(b))[0]; // prettier-ignore
  if (config === undefined)
    throw new DiffusionError(
      'file-not-found',
      `There is no config.json among the ${all.length} files.`,
      'Drop a folder in diffusers layout, with config.json and a .safetensors file (no .bin, no .pt).',
    );
  const root = config.replace(/(unet\/)?config\.json$/, '');
  const files = new Map(
    all.flatMap(({ file, path }) =>
      path.startsWith(root) && isModelFile(path.slice(root.length)) ? [[path.slice(root.length), file] as const] : [],
    ),
  ); // prettier-ignore
  const title = root.split('/').filter(Boolean).at(-1) ?? 'Your model';
  const label = `the folder ${title}`;
  const read = async (file: File): Promise<Uint8Array<ArrayBuffer>> => {
    try {
      return new Uint8Array(await file.arrayBuffer());
    } catch (cause) {
      throw new DiffusionError(
        'file-not-found',
        `${file.name} of ${label} cannot be read any more.`,
        'Drop the folder again.',
        { cause },
      );
    }
  };
  const wanted = wantedFiles([...files.keys()]);
  const promises: FilePromise[] = [];
  for (const path of wanted) {
    const file = files.get(path)!;
    const bytes = await read(file);
    throwIfAborted(signal);
    promises.push({ path, bytes: file.size, sha256: await hash('SHA-256', bytes) });
    throwIfAborted(signal);
  }
  return {
    key: await keyOf(promises),
    title,
    bytes: promises.reduce((sum, { bytes }) => sum + bytes, 0),
    licence: null,
    verified: true,
    files: {
      label,
      async read(path, signal) {
        throwIfAborted(signal);
        const file = files.get(path);
        const bytes = file ? await read(file) : null;
        throwIfAborted(signal);
        return bytes;
      },
    },
  };
}

/**
 * The files below a folder that was dropped, for `openSource`. To be called while the event is handled: afterwards the
 * browser forgets what was dropped.
 */
export async function droppedFiles(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  const files: File[] = [];
  const walk = async (entry: FileSystemEntry): Promise<void> => {
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) =>
        (entry as FileSystemFileEntry).file(resolve, reject),
      );
      Object.defineProperty(file, 'webkitRelativePath', { value: entry.fullPath.replace(/^\//, '') });
      files.push(file);
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      // A reader gives a hundred at a time, and none at the end.
      const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
        reader.readEntries(resolve, reject),
      );
      if (some.length === 0 || files.length > 1000) return;
      for (const child of some) await walk(child);
    }
  };
  for (const entry of entries) await walk(entry);
  return files;
}

// ---- promised files ---------------------------------------------------------------------------------------

/** Files with a length and a hash each: verified, kept in the browser, downloaded once for all who want them now. */
async function promised(
  base: URL,
  name: string,
  manifest: Readonly<Record<string, unknown>>,
  source: string,
  options: SourceOptions,
): Promise<ModelSource> {
  const entries = Array.isArray(manifest['files']) ? (manifest['files'] as unknown[]) : [];
  const listed = entries.filter(
    (e) => isRecord(e) && typeof e['path'] === 'string' && isModelFile(e['path']),
  );
  const wanted = wantedFiles(listed.map((e) => (e as FilePromise).path));
  const promises = wanted.map((path): FilePromise => {
    const { bytes, sha256, gitBlob } = listed.find((e) => (e as FilePromise).path === path) as FilePromise;
    const whole = Number.isSafeInteger(bytes) && bytes >= 0;
    if (whole && typeof sha256 === 'string' && /^[0-9a-f]{64}$/i.test(sha256)) return { path, bytes, sha256 };
    if (whole && typeof gitBlob === 'string' && /^[0-9a-f]{40}$/.test(gitBlob))
      return { path, bytes, gitBlob };
    throw new DiffusionError(
      'integrity-failed',
      `${source} promises no length and SHA-256 of ${path}.`,
      'List every file as { path, bytes, sha256 }.',
    );
  });
  if (!wanted.some((path) => path.endsWith('.safetensors')))
    throw new DiffusionError(
      'file-not-found',
      `${source} lists no weights for ${name}.`,
      'A model has a config.json and a .safetensors file (no .bin, no .pt), in diffusers layout.',
    );
  const text = (key: string): string | null =>
    typeof manifest[key] === 'string' && manifest[key] ? manifest[key].slice(0, 200) : null;
  const title = text('title') ?? name;
  const key = await keyOf(promises);
  const total = promises.reduce((sum, { bytes }) => sum + bytes, 0);
  const received = new Map<string, number>();
  let told = false;
  const files: ModelFiles = {
    label: base.href,
    async read(path, signal) {
      throwIfAborted(signal);
      const promise = promises.find((p) => p.path === path);
      if (!promise) return null;
      const onProgress: OnProgress = (bytes) => {
        received.set(path, bytes);
        options.onProgress?.(
          [...received.values()].reduce((a, b) => a + b, 0),
          total,
        );
      };
      const { bytes, fault } = await share(
        `${promise.sha256 ?? promise.gitBlob} ${options.cached !== false}`,
        signal,
        onProgress,
        async (own, progress) => {
          const stored = options.cached === false ? null : await readCached(promise);
          if (stored) return { bytes: stored, fault: null };
          const address = new URL(path, base);
          const bytes = (await download(address, { label: address.href, promise, signal: own, onProgress: progress, timing: options.timing }))!; // prettier-ignore
          const fault = options.cached === false ? null : await writeCached(promise, bytes, { key, title });
          return { bytes, fault };
        },
      );
      onProgress(bytes.length, bytes.length);
      if (fault && !told) {
        told = true;
        options.onNotice?.(await storageNotice(fault));
      }
      return bytes;
    },
  };
  const shape = manifest['shape'];
  return {
    ...{ key, title, bytes: total, licence: text('licence'), verified: true, files: remember(files) },
    ...(isShape(shape) ? { shape } : {}),
  };
}

const isShape = (value: unknown): value is [number, number, number] =>
  Array.isArray(value) && value.length === 3 && value.every((n) => Number.isInteger(n) && n > 0 && n <= 4096);

async function storageNotice(code: StorageFault): Promise<Notice> {
  if (code === 'storage-refused')
    return {
      code,
      message: 'This browser keeps no data of this page, so the model is downloaded again on the next visit.',
    };
  const { usage = 0, quota = 0 } = (await navigator.storage?.estimate?.().catch(() => null)) ?? {};
  const room = quota ? ` (${megabytes(usage)} of ${megabytes(quota)} in use)` : '';
  return {
    code,
    message: `The browser's storage is full${room}, so the model is downloaded again on the next visit. Deleting cached models makes room.`,
  };
}

/** The key of a model: of what is promised of all its files. */
async function keyOf(promises: readonly FilePromise[]): Promise<string> {
  const lines = promises.map(({ path, sha256, gitBlob }) => `${path} ${sha256?.toLowerCase() ?? gitBlob}`);
  return hash('SHA-256', new TextEncoder().encode(lines.sort().join('\n')));
}

/** The JSON files are small and read more than once. */
function remember(files: ModelFiles): ModelFiles {
  const kept = new Map<string, Uint8Array | null>();
  return {
    label: files.label,
    async read(path, signal) {
      throwIfAborted(signal);
      const known = kept.get(path);
      if (known !== undefined) return known;
      const bytes = await files.read(path, signal);
      if (path.endsWith('.json')) kept.set(path, bytes);
      return bytes;
    },
  };
}

// ---- one download for many --------------------------------------------------------------------------------

interface Flight {
  readonly result: Promise<unknown>;
  readonly abort: AbortController;
  readonly watchers: Set<OnProgress>;
  last: Parameters<OnProgress> | null;
}
const flights = new Map<string, Flight>();

/** Joins the work under way with this key, or starts it. It is given up when all who wait for it have given up. */
async function share<T>(
  key: string,
  signal: AbortSignal | undefined,
  onProgress: OnProgress,
  start: (signal: AbortSignal, onProgress: OnProgress) => Promise<T>,
): Promise<T> {
  let flight = flights.get(key);
  if (!flight) {
    const abort = new AbortController();
    const watchers = new Set<OnProgress>();
    const result = start(abort.signal, (...of) => {
      own.last = of;
      for (const watch of watchers) watch(...of);
    });
    const own: Flight = { result, abort, watchers, last: null };
    const land = (): void => {
      if (flights.get(key) === own) flights.delete(key);
    };
    result.then(land, land);
    flights.set(key, (flight = own));
  }
  const { result, abort, watchers, last } = flight;
  watchers.add(onProgress);
  if (last) onProgress(...last);
  try {
    return (await untilAborted(result, signal)) as T;
  } finally {
    watchers.delete(onProgress);
    if (watchers.size === 0) {
      abort.abort();
      if (flights.get(key) === flight) flights.delete(key);
    }
  }
}

// ---- JSON -------------------------------------------------------------------------------------------------

const isRecord = (x: unknown): x is Record<string, unknown> =>
  typeof x === 'object' && x !== null && !Array.isArray(x);

function parse(bytes: Uint8Array, label: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown;
  } catch (cause) {
    throw new DiffusionError(
      'integrity-failed',
      `${label} is not JSON.`,
      'Try again; if it happens again, the server holds a wrong file.',
      { cause },
    );
  }
}

async function json(url: URL, label: string, { signal, timing }: SourceOptions): Promise<unknown> {
  const bytes = await download(url, { label, signal, timing });
  if (!bytes)
    throw new DiffusionError('file-not-found', `${label} is not there.`, 'Check the address, and that the site is complete.'); // prettier-ignore
  return parse(bytes, label);
}

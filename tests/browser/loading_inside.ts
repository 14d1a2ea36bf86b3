/** What loading.test.ts runs inside the page. */

import { DiffusionError } from '../../src/core/errors.ts';
import { openGpu, type Gpu } from '../../src/engine/gpu/device.ts';
import { Model } from '../../src/engine/model.ts';
import { sample } from '../../src/session/sample.ts';
import { cachedModels, deleteCached } from '../../src/loading/cache.ts';
import { openSource } from '../../src/loading/source.ts';

export interface Outcome {
  /** Of the error; null when the model is there. */
  readonly code: string | null;
  readonly message: string;
  readonly notices: string[];
  /** Bytes received and of how many, when it ended. */
  readonly progress: readonly [number, number | null];
  readonly parameters: number;
  readonly steps: number;
}

/** When to abort: after so many milliseconds, or when so many bytes have come. */
export interface Abort {
  readonly ms?: number;
  readonly received?: number;
}

let gpu: Promise<Gpu> | undefined;
const timing = { backOff: 5, stall: 1000, patience: 2000 };

export const inside = {
  /** Opens and loads a model, and draws with it if asked. */
  async load(url: string, { abort, draw = false }: { abort?: Abort; draw?: boolean } = {}): Promise<Outcome> {
    const notices: string[] = [];
    const controller = new AbortController();
    const { signal } = controller;
    let progress: Outcome['progress'] = [0, null];
    let steps = 0;
    const outcome = (code: string | null, message: string, parameters: number): Outcome => ({
      code,
      message,
      notices,
      progress,
      parameters,
      steps,
    });
    if (abort?.ms !== undefined) setTimeout(() => controller.abort(), abort.ms);
    try {
      const source = await openSource(url, {
        signal,
        timing,
        onNotice: (notice) => notices.push(notice.code),
        onProgress(...of) {
          progress = of;
          if (abort?.received !== undefined && of[0] >= abort.received) controller.abort();
        },
      });
      const model = await Model.load(await (gpu ??= openGpu()), source.files, { signal });
      if (draw)
        for await (const state of sample(model, { count: 1, steps: 1, scheduler: 'ddim' }))
          steps = state.index;
      const { parameters } = model;
      model.destroy();
      return outcome(null, '', parameters);
    } catch (error) {
      if (error instanceof DiffusionError) return outcome(error.code, error.message, 0);
      return outcome('untyped', String(error), 0);
    }
  },

  /** Entries of all caches, and those among them whose bytes are not the ones of their address. */
  async stored(): Promise<{ entries: number; bad: string[] }> {
    const bad: string[] = [];
    let entries = 0;
    for (const name of await caches.keys()) {
      const cache = await caches.open(name);
      for (const request of await cache.keys()) {
        entries++;
        const bytes = await (await cache.match(request))!.arrayBuffer();
        const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
        const hex = [...digest].map((b) => b.toString(16).padStart(2, '0')).join('');
        if (!request.url.endsWith(hex)) bad.push(request.url);
      }
    }
    return { entries, bad };
  },

  /** Damages every entry. */
  async poison(how: 'flip' | 'cut'): Promise<number> {
    let count = 0;
    for (const name of await caches.keys()) {
      const cache = await caches.open(name);
      for (const request of await cache.keys()) {
        const response = (await cache.match(request))!;
        const bytes = new Uint8Array(await response.arrayBuffer());
        bytes[bytes.length >> 1]! ^= 1;
        const body = how === 'flip' ? bytes : bytes.subarray(0, bytes.length - 1);
        await cache.put(request, new Response(body, { headers: response.headers }));
        count++;
      }
    }
    return count;
  },

  /** The browser refuses: storage of any kind, or only to write. undefined: it does not any more. */
  refuse(name?: 'SecurityError' | 'none'): Promise<void> {
    const own = window as unknown as { realOpen?: typeof caches.open };
    own.realOpen ??= CacheStorage.prototype.open;
    CacheStorage.prototype.open =
      name === undefined
        ? own.realOpen
        : () =>
            Promise.reject(name === 'none' ? new TypeError('no caches') : new DOMException('refused', name));
    return Promise.resolve();
  },

  cachedModels,
  deleteCached,
};
export type LoadingInside = typeof inside;

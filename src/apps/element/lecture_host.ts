/** A view of the lecture in place of the picture. Its code is loaded when it is asked for. */

import { DiffusionError } from '../../core/errors.ts';
import { runtime, type AcquireOptions, type Lease } from '../../loading/runtime.ts';
import type { ModelSource } from '../../loading/source.ts';
import { VIEW_TEXTS } from './template.ts';

interface Options {
  readonly host: HTMLElement;
  /** The settings of the view, by the names of its controls. */
  readonly params: Readonly<Record<string, string>>;
  /** The model, for views that ask one. */
  readonly describe: () => Promise<ModelSource>;
  /** The view could not be shown. */
  readonly onfail: (error: unknown) => void;
}

/** Mounts a view by its name. @returns what takes it away */
export function mountLecture(name: string, { host, params, describe, onfail }: Options): () => void {
  const abort = new AbortController();
  const { signal } = abort;
  let unmount: (() => void) | null = null;
  const mount = async (): Promise<void> => {
    const { views } = await import('../article/index.ts');
    if (!Object.hasOwn(views, name))
      throw new DiffusionError(
        'bad-option',
        `There is no view ${name}.`,
        `Choose one of ${[...Object.keys(VIEW_TEXTS), ...Object.keys(views)].join(', ')}.`,
      );
    const view = await views[name]!();
    if (signal.aborted) return;
    const acquire = async (onProgress?: AcquireOptions['onProgress']): Promise<Lease> =>
      runtime.acquire(await describe(), { signal, ...(onProgress ? { onProgress } : {}) });
    unmount = view.mount(host, { acquire, signal, params, headingLevel: 3 });
  };
  mount().catch((error: unknown) => {
    if (!signal.aborted) onfail(error);
  });
  return () => {
    abort.abort();
    unmount?.();
    host.replaceChildren();
  };
}

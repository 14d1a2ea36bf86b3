/** The drawer "Model": which model, what is known of it, and the lease once its weights are wanted. */

import { megabytes } from '../../core/format.ts';
import { openGpu } from '../../engine/gpu/device.ts';
import type { KernelPolicy } from '../../engine/kernels/kernel_policy.ts';
import { kernelPolicyFor } from '../../engine/kernels/conv_variants.ts';
import { acquire, runtime, type Lease } from '../../loading/runtime.ts';
import { byId, check, h, input } from '../../ui/dom.ts';
import { cachedModels, deleteCached } from '../../loading/cache.ts';
import { parse } from './fragment.ts';
import { clearNotices, guarded, notify, say, showError } from './messages.ts';
import { bundledModels, defaultModel, look, memoryOf, type Bundled, type ModelInfo } from './models.ts';
import type { Store } from './store.ts';

/** A cached model has at least this share of the bytes that it should have. */
const WHOLE = 0.9;

/**
 * Events: `interrupt` (another model is about to be opened, so runs should stop), `release` (the model of before is given
 * back, so its runs must go), `chosen` (`info` is of another model).
 */
export class ModelPanel extends EventTarget {
  /** The model that the settings name; null before it is known. */
  info: ModelInfo | null = null;
  /** No GPU device can be had, so nothing can be drawn. */
  broken = false;
  #bundled: readonly Bundled[] = [];
  #lease: Lease | null = null;
  /** The adapter computes on the CPU. */
  #software = false;
  #variants: KernelPolicy | undefined;
  readonly #store: Store;

  constructor(store: Store) {
    super();
    this.#store = store;
    byId('models').addEventListener('change', (event) => {
      const { value } = event.target as HTMLInputElement;
      showError(null);
      this.dispatchEvent(new Event('interrupt'));
      say('');
      store.set({ model: value, src: '' });
      const choose = (): void => void guarded(() => this.choose(value), choose);
      choose();
    });
    byId('src-look').addEventListener('click', () => this.#lookUp());
    input('src').addEventListener('keydown', ({ key }) => {
      if (key === 'Enter') this.#lookUp();
    });
    input('folder').addEventListener('change', () => {
      const files = [...(input('folder').files ?? [])];
      input('folder').value = '';
      showError(null);
      if (files.length > 0) void guarded(() => this.openFolder(files));
    });
  }

  /** The bundled model that the settings name, or the default one. */
  get name(): string {
    const { model } = this.#store.state;
    const known = this.#bundled.some(({ name }) => name === model);
    return known ? model : defaultModel(this.#bundled, this.#software);
  }

  isBundled(name: string): boolean {
    return this.#bundled.some((model) => model.name === name);
  }

  /** Finds out whether there is a device, which models there are, and what the address names. Downloads no weights. */
  async start(): Promise<void> {
    showError(null);
    this.broken = false;
    runtime.powerPreference = 'high-performance'; // a page that is opened to draw; embeds leave the choice to the browser
    const again = (): void => void this.start();
    await guarded(async () => {
      this.broken = true;
      const gpu = await openGpu(undefined, runtime); // for a moment
      this.broken = false;
      this.#software = gpu.isSoftware;
      this.#variants = kernelPolicyFor(gpu);
      gpu.destroy();
    }, again);
    await guarded(async () => {
      this.#bundled = await bundledModels();
      this.#list();
      await this.openChosen();
    }, again);
    this.#store.render();
  }

  /** Opens the model that the settings name. A model from elsewhere is not looked up before the visitor asks for it. */
  async openChosen(): Promise<void> {
    const { src } = this.#store.state;
    if (!src) {
      await this.choose(this.name, { keepLabel: true });
      check('model', this.name);
      return;
    }
    input('src').value = src;
    this.#store.set({ tab: 'model' }, { touch: false });
    void this.showCached();
    say(
      'This link names a model from elsewhere. Press Look to ask for its size; nothing is downloaded before.',
    );
    check('model', '');
  }

  /** Reads what is known of a model without its weights. */
  async choose(address: string | readonly File[], { keepLabel = false } = {}): Promise<void> {
    clearNotices();
    const found = await look(address, notify);
    if (found.source.key !== this.info?.source.key) {
      this.dispatchEvent(new Event('release'));
      this.#lease?.release();
      this.#lease = null;
    }
    this.info = found;
    const { label, count, guidance } = this.#store.state;
    const legal = typeof label !== 'number' || label < found.classes;
    if (!legal || (!keepLabel && found.classes === 0)) this.#store.set({ label: 'any' }, { touch: false });
    this.dispatchEvent(new Event('chosen'));
    const { key, title, bytes, licence } = found.source;
    const memory = memoryOf(found, count, found.hasAny && guidance !== 1, this.#variants);
    const isWhole = (cached: number): boolean => cached > WHOLE * (bytes ?? Infinity);
    const stored = (await cachedModels()).some((model) => model.key === key && isWhole(model.bytes));
    byId('size').textContent = stored || !bytes ? '' : `${megabytes(bytes)} to download, once`;
    byId('about').textContent = [
      title,
      bytes ? megabytes(bytes) : '',
      memory ? `about ${megabytes(memory)} of GPU memory` : '',
      licence ?? '',
    ]
      .filter(Boolean)
      .join(' · ');
    this.#store.render();
  }

  async openFolder(files: readonly File[]): Promise<void> {
    this.dispatchEvent(new Event('interrupt'));
    say('Reading the folder …');
    await this.choose(files);
    this.#store.set({ model: '', src: '' }, { touch: false });
    check('model', '');
    say(`${this.info!.source.title} is open.`);
  }

  /**
   * The model on the GPU, downloaded if it is not here.
   * @param onfail called when the lease is lost for good
   * @throws what `acquire` throws; aborted
   */
  async ready(signal: AbortSignal, onfail: (lease: Lease) => void): Promise<Lease> {
    if (this.#lease && !this.#lease.failure) return this.#lease;
    this.#lease?.release();
    this.#lease = null;
    const bar = byId<HTMLProgressElement>('progress');
    bar.hidden = false;
    say('Downloading the model …');
    try {
      const lease = await acquire(this.info!.source, {
        signal,
        onNotice: notify,
        onProgress(received, total) {
          if (total) bar.value = received / total;
          else bar.removeAttribute('value');
          const size = `${megabytes(received)}${total ? ` of ${megabytes(total)}` : ''}`;
          say(received === total ? 'Preparing the network …' : `Downloading: ${size}`);
        },
      });
      lease.addEventListener('error', () => onfail(lease));
      byId('size').textContent = '';
      void this.showCached();
      return (this.#lease = lease);
    } finally {
      bar.hidden = true;
      bar.value = 0;
    }
  }

  /** Lists the models that the browser keeps. */
  async showCached(): Promise<void> {
    const kept = await cachedModels();
    byId('cache-part').hidden = kept.length === 0;
    byId('cached').replaceChildren(
      ...kept.map(({ key, title, bytes }) => {
        const remove = (): void => void deleteCached(key).then(() => this.showCached());
        const button = h('button', { type: 'button', 'aria-label': `Delete ${title}`, onclick: remove }, 'Delete'); // prettier-ignore
        return h('li', {}, `${title}, ${megabytes(bytes)} `, button);
      }),
    );
  }

  #list(): void {
    const host = byId('models');
    host.replaceChildren(
      host.querySelector('legend')!,
      ...this.#bundled.map(({ name, title, bytes, licence }) => {
        const radio = h('input', { type: 'radio', name: 'model', value: name });
        const about = h('small', {}, `${megabytes(bytes)} · ${licence}`);
        return h('label', {}, radio, h('span', {}, h('b', {}, title), about));
      }),
    );
    check('model', this.#store.state.src ? '' : this.name);
  }

  #lookUp(): void {
    const address = input('src').value.trim();
    showError(null);
    void guarded(
      async () => {
        say('Looking …');
        await this.choose(address);
        this.#store.set({ src: parse(`#src=${encodeURIComponent(address)}`).src, model: '' });
        check('model', '');
        const { title, bytes } = this.info!.source;
        say(`${title}${bytes ? `: ${megabytes(bytes)} to download` : ''}. Draw starts the download.`);
      },
      () => this.#lookUp(),
    );
  }
}

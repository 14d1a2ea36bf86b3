/** The attributes of <diffusion-sampler>, as properties: how each is read, what it is if absent, and what it changes. */

/** Another model: the run and the model go. */
export const MODEL_ATTRIBUTES: readonly string[] = ['model', 'src'];
/** Attributes of a run: the next `play` starts a new one if they have changed. */
export const RUN_ATTRIBUTES: readonly string[] = ['sampler', 'steps', 'seed', 'label', 'guidance', 'eta', 'count']; // prettier-ignore
export const OTHER_ATTRIBUTES: readonly string[] = ['view', 'loading', 'reveal', 'controls', 'autoplay', 'loop', 'poster', 'hidden-policy', 'alt']; // prettier-ignore

/** Without a DOM the class can be imported, not constructed. */
const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement;

/** The attributes of the element are documented at `DiffusionSampler`. */
export class SamplerAttributes extends Base {
  get model(): string {
    return this.#text('model', 'digits');
  }
  set model(value: string) {
    this.#reflect('model', value);
  }
  get src(): string {
    return this.#text('src');
  }
  set src(value: string) {
    this.#reflect('src', value);
  }
  get sampler(): string {
    return this.#text('sampler');
  }
  set sampler(value: string) {
    this.#reflect('sampler', value);
  }
  get steps(): number {
    return this.#number('steps', 50);
  }
  set steps(value: number) {
    this.setAttribute('steps', String(value));
  }
  get seed(): number {
    return this.#number('seed', 0);
  }
  set seed(value: number) {
    this.setAttribute('seed', String(value));
  }
  get label(): string {
    return this.#text('label');
  }
  set label(value: string) {
    this.#reflect('label', value);
  }
  get guidance(): number {
    return this.#number('guidance', 1);
  }
  set guidance(value: number) {
    this.setAttribute('guidance', String(value));
  }
  get eta(): number {
    return this.#number('eta', 0);
  }
  set eta(value: number) {
    this.setAttribute('eta', String(value));
  }
  get view(): string {
    return this.#text('view') || 'x_t';
  }
  set view(value: string) {
    this.#reflect('view', value);
  }
  get count(): number {
    return this.#number('count', Math.max(labelsIn(this.label).length, 1));
  }
  set count(value: number) {
    this.setAttribute('count', String(value));
  }
  get loading(): 'auto' | 'lazy' | 'eager' {
    return this.#choice('loading', ['auto', 'lazy', 'eager']);
  }
  set loading(value: 'auto' | 'lazy' | 'eager') {
    this.setAttribute('loading', value);
  }
  get reveal(): 'interaction' | 'auto' {
    return this.#choice('reveal', ['interaction', 'auto']);
  }
  set reveal(value: 'interaction' | 'auto') {
    this.setAttribute('reveal', value);
  }
  get controls(): boolean {
    return this.hasAttribute('controls');
  }
  set controls(value: boolean) {
    this.toggleAttribute('controls', value);
  }
  get autoplay(): boolean {
    return this.hasAttribute('autoplay');
  }
  set autoplay(value: boolean) {
    this.toggleAttribute('autoplay', value);
  }
  get loop(): boolean {
    return this.hasAttribute('loop');
  }
  set loop(value: boolean) {
    this.toggleAttribute('loop', value);
  }
  get poster(): string {
    return this.#text('poster');
  }
  set poster(value: string) {
    this.#reflect('poster', value);
  }
  get hiddenPolicy(): 'pause' | 'continue' {
    return this.#choice('hidden-policy', ['pause', 'continue']);
  }
  set hiddenPolicy(value: 'pause' | 'continue') {
    this.setAttribute('hidden-policy', value);
  }
  get alt(): string {
    return this.#text('alt');
  }
  set alt(value: string) {
    this.#reflect('alt', value);
  }
  /** Of the form field. */
  get name(): string {
    return this.#text('name');
  }
  set name(value: string) {
    this.#reflect('name', value);
  }

  #text(name: string, absent = ''): string {
    return this.getAttribute(name) ?? absent;
  }

  #number(name: string, absent: number): number {
    const text = this.getAttribute(name);
    if (text === null) return absent;
    return text.trim() === '' ? NaN : Number(text); // the sampler has a message for NaN
  }

  /** The first value is the default, also for what is none of them. */
  #choice<V extends string>(name: string, values: readonly [V, ...V[]]): V {
    const value = this.getAttribute(name);
    return values.find((v) => v === value) ?? values[0];
  }

  #reflect(name: string, value: string): void {
    if (value === '') this.removeAttribute(name);
    else this.setAttribute(name, value);
  }
}

/** The entries of the attribute `label`. */
export const labelsIn = (label: string): string[] =>
  label
    .split(',')
    .map((text) => text.trim())
    .filter(Boolean);

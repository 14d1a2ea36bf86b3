/**
 * The whole state of the page in the address, after the #: `v=1&model=digits&label=7&seed=5`. In a fixed order, without
 * what has its default; what is unknown or out of range is as if it were not there. Nothing here throws, and nothing that
 * comes from an address is downloaded or run by itself (main.ts asks first).
 */

import { SCHEDULERS, type SchedulerName } from '../../schedule/samplers.ts';

export const VIEWS = ['x_t', 'x0', 'eps', 'update'] as const;
export type View = (typeof VIEWS)[number];
export const TABS = ['', 'model', 'settings', 'edit', 'compare', 'share'] as const;
export const EDITS = ['draw', 'paint', 'slide'] as const;
export const SPACINGS = ['', 'leading', 'trailing', 'linspace', 'karras', 'exponential', 'beta'] as const;

/** Where a lane leaves another, and with what. */
export interface Branch {
  /** The lane that it leaves: 0 is the trunk. */
  readonly from: number;
  /** The number of steps after which it leaves. */
  readonly at: number;
  readonly seed: number;
  /** '' for that of the lane it leaves; ddim-1 is DDIM with eta = 1. */
  readonly sampler: SchedulerName | 'ddim-1' | '';
  /** Of the pictures from there on; null for that of the lane it leaves. */
  readonly label: number | null;
}

export interface State {
  /** A name in models.json; '' for the page's choice. */
  readonly model: string;
  /** A model from elsewhere: "huggingface:owner/name@revision" or an https address; '' for none. */
  readonly src: string;
  /** A class, "any", or "each" for one after the other. */
  readonly label: number | 'any' | 'each';
  readonly seed: number;
  readonly steps: number;
  readonly sampler: SchedulerName;
  /** Of timesteps or of noise levels; '' for the model's own. */
  readonly spacing: (typeof SPACINGS)[number];
  readonly eta: number;
  readonly guidance: number;
  readonly count: number;
  /** Which of the four pictures is large. */
  readonly view: View;
  /** Which drawer is open. */
  readonly tab: (typeof TABS)[number];
  readonly edit: (typeof EDITS)[number];
  readonly strength: number;
  /** RePaint's walks back and forth: how often each stretch is walked; 1 is off. */
  readonly walks: number;
  /** The seed at the other end of a slide. */
  readonly seed2: number;
  /** What to compare with. */
  readonly sampler2: SchedulerName;
  readonly steps2: number;
  readonly spacing2: (typeof SPACINGS)[number];
  readonly branches: readonly Branch[];
}

interface Field<V> {
  readonly key: string;
  readonly initial: V;
  /** undefined: not a value. */
  readonly parse: (text: string) => V | undefined;
  readonly format: (value: V) => string;
}

const MAX_SEED = Number.MAX_SAFE_INTEGER - 4096; // a batch counts on from it

function whole(text: string, least: number, most: number): number | undefined {
  if (!/^\d{1,16}$/.test(text)) return undefined;
  const value = Number(text);
  return value >= least && value <= most ? value : undefined;
}
const integer = (key: string, initial: number, least: number, most: number): Field<number> => ({
  key,
  initial,
  parse: (text) => whole(text, least, most),
  format: String,
});
const decimal = (key: string, initial: number, least: number, most: number): Field<number> => ({
  key,
  initial,
  parse(text) {
    if (!/^\d{1,4}(\.\d{1,4})?$/.test(text)) return undefined;
    const value = Number(text);
    return value >= least && value <= most ? value : undefined;
  },
  format: (value) => String(Math.round(value * 1e4) / 1e4),
});
const among = <V extends string>(key: string, initial: V, values: readonly V[]): Field<V> => ({
  key,
  initial,
  parse: (text) => values.find((v) => v === text),
  format: (value) => value,
});
const text = (key: string, form: RegExp): Field<string> => ({
  key,
  initial: '',
  parse: (value) => (form.test(value) ? value : undefined),
  format: (value) => value,
});

const BRANCH = /^(\d)\.(\d{1,4})\.(\d{1,16})(?:\.([a-z0-9-]{0,20}))?(?:\.(\d{1,5}))?$/;
const BRANCH_SAMPLERS = ['', 'ddim-1', ...SCHEDULERS] as const;
const MAX_BRANCHES = 5;

const branches: Field<readonly Branch[]> = {
  key: 'branches',
  initial: [],
  parse(value) {
    const parts = value.split(',');
    if (parts.length > MAX_BRANCHES) return undefined;
    const list = parts.map((part, i): Branch | undefined => {
      const [, from, at, seedText, name = '', label] = BRANCH.exec(part) ?? [];
      const seed = seedText === undefined ? undefined : whole(seedText, 0, MAX_SEED);
      const sampler = BRANCH_SAMPLERS.find((s) => s === name);
      if (seed === undefined || sampler === undefined || Number(from) > i || Number(at) > 1000)
        return undefined;
      return {
        from: Number(from),
        at: Number(at),
        seed,
        sampler,
        label: label === undefined ? null : Number(label),
      };
    });
    return list.every((b) => b !== undefined) ? list : undefined;
  },
  format: (list) =>
    list
      .map(({ from, at, seed, sampler, label }) =>
        [
          from,
          at,
          seed,
          ...(sampler || label !== null ? [sampler] : []),
          ...(label === null ? [] : [label]),
        ].join('.'),
      )
      .join(','),
};

/** In the order in which an address has them. */
const FIELDS: { readonly [K in keyof State]: Field<State[K]> } = {
  model: text('model', /^[a-z0-9][a-z0-9-]{0,39}$/),
  src: text(
    'src',
    /^(huggingface:[\w.-]{1,96}\/[\w.-]{1,96}(@[\w.-]{1,100})?|https:\/\/[\w.-]{1,200}(:\d{1,5})?(\/[\w./~%-]{0,400})?)$/,
  ),
  label: {
    key: 'label',
    initial: 'any',
    parse: (value) => (value === 'any' || value === 'each' ? value : whole(value, 0, 99_999)),
    format: String,
  },
  seed: integer('seed', 5, 0, MAX_SEED),
  steps: integer('steps', 50, 1, 1000),
  sampler: among('sampler', 'ddim', SCHEDULERS),
  spacing: among('spacing', '', SPACINGS),
  eta: decimal('eta', 0, 0, 1),
  guidance: decimal('guidance', 2, 0, 20),
  count: integer('count', 1, 1, 64),
  view: among('view', 'x_t', VIEWS),
  tab: among('tab', '', TABS),
  edit: among('edit', 'draw', EDITS),
  strength: decimal('strength', 0.6, 0.02, 1),
  walks: integer('walks', 1, 1, 20),
  seed2: integer('seed2', 6, 0, MAX_SEED),
  sampler2: among('sampler2', 'dpmpp-2m', SCHEDULERS),
  steps2: integer('steps2', 10, 1, 1000),
  spacing2: among('spacing2', '', SPACINGS),
  branches,
};

const NAMES = Object.keys(FIELDS) as (keyof State)[];

export const INITIAL = Object.fromEntries(
  NAMES.map((name) => [name, FIELDS[name].initial]),
) as unknown as State;

/** @param hash with its # or without; of any content */
export function parse(hash: string): State {
  if (hash.length > 4000) return INITIAL;
  const values = new URLSearchParams(hash.replace(/^#/, ''));
  const version = values.get('v');
  if (version !== null && version !== '1') return INITIAL;
  const read = (name: keyof State): unknown => {
    const { key, initial, parse: from } = FIELDS[name];
    const value = values.get(key);
    return (value === null ? undefined : from(value)) ?? initial;
  };
  return Object.fromEntries(NAMES.map((name) => [name, read(name)])) as unknown as State;
}

/** With the #; '' for the initial state. */
export function format(state: State): string {
  const parts: string[] = [];
  const write = <K extends keyof State>(name: K): void => {
    const { key, initial, format: to } = FIELDS[name];
    const value = to(state[name]);
    if (value !== to(initial)) parts.push(`${key}=${encodeURIComponent(value).replaceAll('%2C', ',')}`);
  };
  NAMES.forEach(write);
  return parts.length > 0 ? `#v=1&${parts.join('&')}` : '';
}

/** Reads a JSON object of any content, key by key, and refuses what does not fit in a sentence that names the key. */

/** Throws an error on the key. `why` continues a sentence: "is 3, and ...". */
export type Refuse = (key: string, why: string) => never;

export class ConfigReader {
  readonly #given: ReadonlyMap<string, unknown>;
  readonly #seen = new Set<string>();
  /** Throws an error on a key of the config. */
  readonly refuse: Refuse;

  /** @param json null for an empty object @throws what `refuse` throws */
  constructor(json: unknown, refuse: Refuse) {
    if (json !== null && !isObject(json)) refuse('the config', 'is not an object');
    this.#given = new Map(Object.entries(json ?? {}));
    this.refuse = refuse;
  }

  has(key: string): boolean {
    return this.#given.has(key);
  }

  /** The value of a key. An absent key means the default; null is a value of its own. */
  get(key: string, absent: unknown): unknown {
    this.#seen.add(key);
    return this.#given.has(key) ? this.#given.get(key) : absent;
  }

  integer(key: string, absent: unknown, min: number, max: number): number {
    return this.asInteger(key, this.get(key, absent), min, max);
  }

  real(key: string, absent: unknown, min: number, max: number): number {
    const value = this.get(key, absent);
    return typeof value === 'number' && value >= min && value <= max
      ? value
      : this.refuse(key, `is ${showValue(value)}, and should be a number from ${min} to ${max}`);
  }

  flag(key: string, absent: boolean): boolean {
    const value = this.get(key, absent);
    return typeof value === 'boolean'
      ? value
      : this.refuse(key, `is ${showValue(value)}, and should be true or false`);
  }

  /** A list of 1 to `max` entries. */
  list(key: string, absent: readonly unknown[], max: number): readonly unknown[] {
    const value = this.get(key, absent);
    return Array.isArray(value) && value.length >= 1 && value.length <= max
      ? value
      : this.refuse(key, `is ${showValue(value)}, and should be a list of 1 to ${max}`);
  }

  /** One of some values. */
  choice<V>(key: string, absent: V, values: readonly V[]): V {
    const value = this.get(key, absent);
    const found = values.indexOf(value as V);
    const supported = values.length > 1 ? 'supported values are' : 'supported value is';
    if (found < 0)
      this.refuse(key, `is ${showValue(value)}, and the ${supported} ${values.map(showValue).join(', ')}`);
    return values[found]!;
  }

  /** A value from elsewhere, as an entry of a list, in the name of a key. */
  asInteger(key: string, value: unknown, min: number, max: number): number {
    return Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      ? (value as number)
      : this.refuse(key, `is ${showValue(value)}, and should be an integer from ${min} to ${max}`);
  }

  /** Keys that nothing has asked for; keys with a leading underscore are comments. */
  unread(): string[] {
    return [...this.#given.keys()].filter((key) => !this.#seen.has(key) && !key.startsWith('_'));
  }
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A value as JSON, at most 60 characters of it. */
export function showValue(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}

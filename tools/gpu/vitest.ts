/**
 * The part of vitest that this project's tests use, from vitest's own packages: it needs no Node, no Vite and no process
 * of its own. bundle.mjs puts it in the place of vitest.
 */

import {
  ASYMMETRIC_MATCHERS_OBJECT,
  chai,
  GLOBAL_EXPECT,
  JestAsymmetricMatchers,
  JestChaiExpect,
  JestExtend,
  setState,
} from '@vitest/expect';
import { fn, spyOn } from '@vitest/spy';

export { afterAll, afterEach, beforeAll, beforeEach, describe, it, test } from '@vitest/runner';

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);

const world = globalThis as unknown as Record<string | symbol, unknown>;

interface Poll {
  readonly timeout?: number;
  readonly interval?: number;
}

/** Asks again until the matcher is satisfied, or time is up. */
function poll(ask: () => unknown, { timeout = 1000, interval = 50 }: Poll = {}): object {
  type Assertion = Record<string, (...args: unknown[]) => void> & { not: Assertion };
  const matcher =
    (name: string, negated: boolean) =>
    async (...args: unknown[]): Promise<void> => {
      for (const end = Date.now() + timeout; ;) {
        const value = await ask();
        try {
          const assertion = expect(value) as unknown as Assertion;
          (negated ? assertion.not : assertion)[name]!(...args);
          return;
        } catch (error) {
          if (Date.now() > end) throw error;
          await new Promise((resolve) => setTimeout(resolve, interval));
        }
      }
    };
  const matchers = (negated: boolean): object =>
    new Proxy({}, { get: (_, name) => (name === 'not' ? matchers(!negated) : matcher(String(name), negated)) }); // prettier-ignore
  return matchers(false);
}

export const expect = Object.assign(
  (value: unknown, message?: string) => chai.expect(value, message),
  chai.expect,
  world[ASYMMETRIC_MATCHERS_OBJECT],
  { poll },
);
world[GLOBAL_EXPECT] = expect;
setState({ assertionCalls: 0 }, expect as never);

const stubbed = new Map<string, PropertyDescriptor | undefined>();

export const vi = {
  fn,
  spyOn,
  mocked: <T>(value: T): T => value,
  stubGlobal(name: string, value: unknown): void {
    if (!stubbed.has(name)) stubbed.set(name, Object.getOwnPropertyDescriptor(globalThis, name));
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  },
  unstubAllGlobals(): void {
    for (const [name, before] of stubbed)
      if (before) Object.defineProperty(globalThis, name, before);
      else delete world[name];
    stubbed.clear();
  },
};

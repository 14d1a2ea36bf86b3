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
  const matcher = (name: string) =>
    async (...args: unknown[]): Promise<void> => {
      for (const end = Date.now() + timeout; ; ) {
        const value = await ask();
        try {
          const assertion = expect(value) as unknown as Record<string, (...args: unknown[]) => void>;
          assertion[name]!(...args);
          return;
        } catch (error) {
          if (Date.now() > end) throw error;
          await new Promise((resolve) => setTimeout(resolve, interval));
        }
      }
    }; // prettier-ignore
  return new Proxy({}, { get: (_, name) => matcher(String(name)) });
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

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

export const expect = Object.assign(
  (value: unknown, message?: string) => chai.expect(value, message),
  chai.expect,
  world[ASYMMETRIC_MATCHERS_OBJECT],
);
world[GLOBAL_EXPECT] = expect;
setState({ assertionCalls: 0 }, expect as never);

const stubbed = new Map<string, PropertyDescriptor | undefined>();

export const vi = {
  fn,
  spyOn,
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

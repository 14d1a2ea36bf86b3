/** Runs test files through vitest's runner, in this process, and tells of each test as it ends. */

import { startTests, type Suite, type Task, type Test, type VitestRunner } from '@vitest/runner';
import { observed } from '../../tests/helpers/array.ts';

export type State = 'passed' | 'failed' | 'not offered' | 'not run';

export interface Tested {
  readonly name: string;
  readonly state: State;
  readonly ms: number;
  /** Of the tolerance, the largest share that a comparison of the test took; null if it compared nothing so. */
  readonly share: number | null;
  readonly message?: string;
}

export interface Listener {
  begin?(name: string): void;
  end(test: Tested): void;
  /** Looked at before each test; true leaves it out. */
  stop?(): boolean;
}

/** A test of 16-bit floats, on an adapter that has none, is not a failure of the engine. */
const NOT_OFFERED = /16-bit floats/;

const nameOf = (task: Task): string => {
  const names: string[] = [];
  for (let at: Task | undefined = task; at && at.type !== undefined && 'suite' in at; at = at.suite as Suite)
    names.unshift(at.name);
  return names.join(' > ');
};

/** The first lines of an error, without colours. */
const short = (text: string): string =>
  // eslint-disable-next-line no-control-regex
  text.replace(/\x1b\[[0-9;]*m/g, '').slice(0, 600);

/**
 * @param load imports the file: its `describe` and `it` are collected
 * @param only names of tests to run; the others are left out of the results
 */
export async function runFile(
  path: string,
  load: () => Promise<unknown>,
  listener: Listener,
  only?: RegExp,
): Promise<void> {
  const told = new Set<string>();
  const tell = (test: Test, state: State, share: number | null, message?: string): void => {
    told.add(test.id);
    const ms = Math.round((test.result?.duration ?? 0) * 10) / 10;
    listener.end({ name: nameOf(test), state, ms, share, ...(message ? { message: short(message) } : {}) });
  };
  const messageOf = (task: Task): string =>
    (task.result?.errors ?? []).map(({ name, message }) => `${name}: ${message}`).join('\n');
  const runner: VitestRunner = {
    config: {
      root: '/',
      setupFiles: [],
      name: '',
      passWithNoTests: true,
      testNamePattern: only,
      allowOnly: true,
      sequence: { seed: 0, hooks: 'stack', setupFiles: 'list' },
      chaiConfig: undefined,
      maxConcurrency: 1,
      testTimeout: 120_000,
      hookTimeout: 120_000,
      retry: 0,
      includeTaskLocation: false,
      tags: [],
      tagsFilter: undefined,
      strictTags: false,
    },
    importFile: load,
    onBeforeRunTask(test) {
      observed.share = null;
      if (test.mode !== 'run') return;
      if (listener.stop?.()) {
        test.mode = 'skip';
        tell(test, 'not run', null);
      } else listener.begin?.(nameOf(test));
    },
    onAfterRunTask(test) {
      if (told.has(test.id) || test.mode !== 'run') return;
      const message = messageOf(test);
      const failed = test.result?.state === 'fail';
      const state = !failed ? 'passed' : NOT_OFFERED.test(message) ? 'not offered' : 'failed';
      tell(test, state, observed.share, state === 'failed' ? message : undefined);
    },
  };
  const files = await startTests([path], runner);
  // A file that does not load, and a suite whose preparation fails, have no test to tell of it.
  const walk = (task: Task): void => {
    if (task.type === 'suite') {
      if (task.result?.state === 'fail' && task.result.errors?.length)
        listener.end({ name: nameOf(task) || path, state: 'failed', ms: 0, share: null, message: short(messageOf(task)) }); // prettier-ignore
      task.tasks.forEach(walk);
    } else if (task.mode === 'run' && !told.has(task.id)) tell(task, 'not run', null);
  };
  files.forEach(walk);
}

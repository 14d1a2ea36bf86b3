import { DiffusionError } from '../../src/core/errors.ts';

/** The typed error that a call must end in; anything else fails the test. */
export function refusal(run: () => unknown): DiffusionError {
  try {
    run();
  } catch (error) {
    if (error instanceof DiffusionError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

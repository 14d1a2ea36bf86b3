/** What the page tells the visitor: the status line, errors, notices. */

import { isAbort, toDiffusionError, type ErrorCode } from '../../core/errors.ts';
import { byId } from '../../ui/dom.ts';
import type { Notice } from '../../loading/source.ts';

/** Errors after which trying again may help. */
const AGAIN: readonly ErrorCode[] = [
  'download-failed',
  'integrity-failed',
  'device-lost',
  'out-of-memory',
  'gpu-error',
  'internal',
  'no-adapter',
];
let again: () => void = () => {};

byId('retry').addEventListener('click', () => {
  showError(null);
  again();
});

export function say(text: string): void {
  byId('status').textContent = text;
}

/** Shows what happened and what to do; null hides the box. @param retry what "Try again" does */
export function showError(error: unknown, retry: () => void = () => {}): void {
  const box = byId('message');
  box.hidden = !error;
  if (!error) return;
  const known = toDiffusionError(error, 'page');
  box.dataset['code'] = known.code;
  byId('message-text').textContent = known.message;
  box.scrollIntoView({ block: 'nearest' });
  again = retry;
  byId('retry').hidden = !AGAIN.includes(known.code);
  if (known !== error) console.error(error);
}

/** Runs something, and shows its error. Stopping is no error. */
export async function guarded(work: () => Promise<void> | void, retry?: () => void): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (isAbort(error)) return;
    say('');
    showError(error, retry);
  }
}

/** Adds a notice on the model. Notices stand until another model is chosen. */
export function notify({ message }: Notice): void {
  const box = byId('notice');
  box.hidden = false;
  if (!box.textContent.includes(message)) box.textContent = `${box.textContent} ${message}`.trim();
}

export function clearNotices(): void {
  byId('notice').hidden = true;
  byId('notice').textContent = '';
}

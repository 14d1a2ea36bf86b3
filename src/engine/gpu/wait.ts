/** Waiting for a GPU, in browsers that do not look whether it is done. */

/** Milliseconds between two looks. */
const LOOK_MS = 4;

/**
 * Awaits a promise of the queue (`onSubmittedWorkDone`, `mapAsync`). Firefox looks for finished work ten times a second,
 * and whenever something is submitted (bugzilla 1870699), so an empty submit every few milliseconds makes it look.
 * Elsewhere the promise settles by itself, mostly before the first of them.
 */
export async function awaitQueue<T>(device: GPUDevice, promise: Promise<T>): Promise<T> {
  let settled = false;
  const done = promise.then(
    () => void (settled = true),
    () => void (settled = true),
  );
  for (;;) {
    await Promise.race([done, new Promise<void>((resolve) => setTimeout(resolve, LOOK_MS))]);
    if (settled) return promise;
    device.queue.submit([]);
  }
}

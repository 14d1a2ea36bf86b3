/**
 * What an engine asks of WebGPU, seen from outside: wraps methods of its prototypes, so that all engines are counted in
 * the same way. Only counters while timing; the times of submits are taken in runs of their own.
 */

export interface Counts {
  readonly dispatches: number;
  readonly passes: number;
  readonly submits: number;
  readonly bindGroups: number;
  readonly buffersMade: number;
}

const counts = { dispatches: 0, passes: 0, submits: 0, bindGroups: 0, buffersMade: 0 };
let [live, peak] = [0, 0];
const sizes = new WeakMap<object, number>();
/** Set while the submits are timed. */
let submitted: ((queue: GPUQueue) => void) | null = null;

type Method = (this: object, ...args: never[]) => unknown;

function wrap(owner: unknown, name: string, before: (self: object, result: unknown) => void): void {
  const prototype = (owner as { prototype: Record<string, Method> }).prototype;
  const method = prototype[name]!;
  prototype[name] = function (...args) {
    const result = method.apply(this, args);
    before(this, result);
    return result;
  };
}

let installed = false;
/** Call before any device is opened; more than once does no harm. */
export function installProbe(): void {
  if (installed) return;
  installed = true;
  for (const name of ['dispatchWorkgroups', 'dispatchWorkgroupsIndirect'])
    wrap(GPUComputePassEncoder, name, () => counts.dispatches++);
  wrap(GPUCommandEncoder, 'beginComputePass', () => counts.passes++);
  wrap(GPUQueue, 'submit', (queue) => {
    counts.submits++;
    submitted?.(queue as GPUQueue);
  });
  wrap(GPUDevice, 'createBindGroup', () => counts.bindGroups++);
  wrap(GPUDevice, 'createBuffer', (_, made) => {
    const { size } = made as GPUBuffer;
    counts.buffersMade++;
    sizes.set(made as object, size);
    peak = Math.max(peak, (live += size));
  });
  wrap(GPUBuffer, 'destroy', (buffer) => {
    live -= sizes.get(buffer) ?? 0;
    sizes.delete(buffer);
  });
}

/** What `work` asks for. */
export async function countsOf(work: () => Promise<unknown>): Promise<Counts> {
  const before = { ...counts };
  await work();
  const difference = Object.entries(counts).map(([key, n]) => [key, n - before[key as keyof Counts]]);
  return Object.fromEntries(difference) as unknown as Counts;
}

/** Bytes of all buffers that are not destroyed, and the most there were since the last call. */
export function memory(): { live: number; peak: number } {
  const now = { live, peak };
  peak = live;
  return now;
}

/** The longest time in milliseconds that one submit of `work` kept the queue. */
export async function longestSubmit(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let done = performance.now();
  const waiting: Promise<void>[] = [];
  submitted = (queue) => {
    const since = performance.now();
    waiting.push(
      queue.onSubmittedWorkDone().then(() => {
        const now = performance.now();
        longest = Math.max(longest, now - Math.max(since, done));
        done = now;
      }),
    );
  };
  try {
    await work();
  } finally {
    submitted = null;
  }
  await Promise.all(waiting);
  return longest;
}

/** The protocol: outputs first, then times, interleaved. Runs in Node and in the page alike. */

import { countsOf, longestSubmit, memory, type Counts } from './probe.ts';
import type { Dispatched, Runner } from './engine.ts';

export interface Contender {
  readonly name: string;
  /** The most that an output may differ from the first contender's, relative to its largest number. */
  readonly tolerance: number;
  open(): Promise<Runner>;
}

export interface Protocol {
  /** Timesteps at which the outputs are compared. */
  readonly compareAt: readonly number[];
  /** Rounds of A-B-A-B, while they last. */
  readonly rounds: number;
  /** Seconds for the rounds; at least three are made. */
  readonly seconds: number;
  /** Whether every dispatch is timed, too, where the engine can. */
  readonly profile: boolean;
  /** Steps of a timed run; as many as the slowest contender makes in about a second unless given. */
  readonly steps: number | null;
  log(line: string): void;
}

export interface Timing {
  readonly engine: string;
  /** Milliseconds a step: median and quartiles of the rounds. */
  readonly ms: number;
  readonly quartiles: readonly [number, number];
  readonly rounds: number;
  /** Steps of each timed run, the read-back at its end included. */
  readonly steps: number;
  /** Largest difference of the outputs from ours, relative to the largest number; null of ours itself. */
  readonly error: number | null;
  /** Seconds from nothing (weights in memory) to the first step's result: library, device, upload, compilation. */
  readonly coldStart: number;
  /** Of one step. */
  readonly counts: Counts;
  /** Of all its buffers, in bytes, at the most. */
  readonly bytes: number;
  readonly longestSubmitMs: number;
  /** Milliseconds of script a step; null where it cannot be told from waiting. */
  readonly scriptMs: number | null;
  /** Every dispatch of a step, timed by itself. */
  readonly dispatched?: readonly Dispatched[];
  readonly note: string;
}
export interface Failure {
  readonly engine: string;
  readonly failure: string;
  /** Its numbers differ from ours: the bench fails. */
  readonly mismatch: boolean;
}

/** Largest |a - b| by the largest |b|; infinite where a number is not finite. */
export function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let [gap, scale] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    const d = Math.abs(a[i]! - b[i]!);
    if (!(d <= gap)) gap = Number.isFinite(d) ? d : Infinity;
    scale = Math.max(scale, Math.abs(b[i]!));
  }
  return gap / scale;
}

function quantile(sorted: readonly number[], q: number): number {
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  return sorted[low]! + (at - low) * (sorted[Math.min(low + 1, sorted.length - 1)]! - sorted[low]!);
}

interface Ready {
  readonly name: string;
  readonly runner: Runner;
  readonly coldStart: number;
  readonly bytes: number;
  readonly error: number | null;
  readonly times: number[];
}

export async function compare(
  contenders: readonly Contender[],
  protocol: Protocol,
): Promise<{ timings: Timing[]; failures: Failure[] }> {
  const { compareAt, rounds, seconds, profile, log } = protocol;
  const ready: Ready[] = [];
  const failures: Failure[] = [];
  let wanted: Float32Array[] | null = null;
  const fail = (engine: string, failure: string, mismatch = false): void => {
    failures.push({ engine, failure, mismatch });
    log(`  ${engine}: ${mismatch ? 'MISMATCH' : 'does not run here'}: ${failure}`);
  };
  for (const { name, tolerance, open } of contenders) {
    const { live } = memory();
    const since = performance.now();
    let runner: Runner | null = null;
    try {
      runner = await open();
      await runner.run(1);
      const coldStart = (performance.now() - since) / 1000;
      const outputs: Float32Array[] = [];
      for (const t of compareAt) outputs.push(await runner.predict(t));
      outputs.push(await runner.run(2));
      const error = wanted && Math.max(...outputs.map((y, i) => difference(y, wanted![i]!)));
      if (error !== null && !(error <= tolerance)) {
        fail(
          name,
          `differs by ${error.toExponential(1)} of the largest number (allowed: ${tolerance})`,
          true,
        );
        runner.destroy();
        continue;
      }
      if (!outputs.every((y) => y.every(Number.isFinite))) {
        fail(name, 'its output is not finite', true);
        runner.destroy();
        continue;
      }
      wanted ??= outputs;
      const bytes = memory().peak - live;
      ready.push({ name, runner, coldStart, bytes, error, times: [] });
      const agreed = error === null ? '' : `, differs by ${error.toExponential(1)}`;
      log(
        `  ${name}: first step after ${coldStart.toFixed(1)} s${agreed}${runner.note ? ` (${runner.note})` : ''}`,
      );
    } catch (error) {
      runner?.destroy();
      fail(name, String(error).slice(0, 300));
    }
  }

  // Warm: the second run of each tells how many steps a timed run may have.
  let steps = protocol.steps ?? 0;
  if (!steps) {
    let slowest = 0;
    for (const { runner } of ready) {
      const since = performance.now();
      await runner.run(1);
      slowest = Math.max(slowest, performance.now() - since);
    }
    steps = Math.max(1, Math.min(50, Math.round(1000 / slowest)));
  }
  for (const { runner } of ready) if (steps > 1) await runner.run(Math.min(steps, 10));
  const began = performance.now();
  for (let round = 0; round < rounds; round++) {
    if (round >= 3 && performance.now() - began > seconds * 1000) break;
    // A-B, then B-A: no contender always runs on the heels of the same other.
    for (const { runner, times } of round % 2 ? [...ready].reverse() : ready) {
      const since = performance.now();
      await runner.run(steps);
      times.push((performance.now() - since) / steps);
    }
  }

  const timings: Timing[] = [];
  for (const { name, runner, times, ...rest } of ready) {
    const sorted = [...times].sort((a, b) => a - b);
    const one = await countsOf(() => runner.run(1));
    const two = await countsOf(() => runner.run(2));
    const each = Object.entries(two).map(([key, n]) => [key, n - one[key as keyof Counts]]);
    timings.push({
      engine: name,
      ms: quantile(sorted, 0.5),
      quartiles: [quantile(sorted, 0.25), quantile(sorted, 0.75)],
      rounds: times.length,
      steps,
      ...rest,
      counts: Object.fromEntries(each) as unknown as Counts,
      longestSubmitMs: await longestSubmit(() => runner.run(1)),
      scriptMs: runner.scriptMs?.() ?? null,
      ...(profile && runner.profile ? { dispatched: await runner.profile() } : {}),
      note: runner.note,
    });
    runner.destroy();
  }
  return { timings, failures };
}

/** How the commands of a program are split into submits, so that the page gets the GPU in between. */

/** Commands `from` to before `to`. */
export interface CommandRange {
  readonly from: number;
  readonly to: number;
}

/** Longest time that one submit should keep the GPU, in milliseconds: the page gets it within 100. */
const SUBMIT_MS = 60;

/** Milliseconds of a dispatch before it is measured, estimated from its FLOPs and the bytes that it may read and write. */
export const estimateMs = (isSoftware: boolean, flops: number, bytes: number): number =>
  (flops + (bytes + 1) * 4) / (isSoftware ? 2e6 : 2e8);

/** The expected time of each command: an estimate at first, corrected by measurements. */
export class CommandTimings {
  readonly #ms: number[];

  /** @param estimates milliseconds of each command */
  constructor(estimates: readonly number[]) {
    this.#ms = [...estimates];
  }

  get all(): CommandRange {
    return { from: 0, to: this.#ms.length };
  }

  /** Milliseconds that a range of commands is expected to take; default all. */
  ms({ from, to } = this.all): number {
    return this.#ms.slice(from, to).reduce((sum, ms) => sum + ms, 0);
  }

  /** Corrects the expected times of a range by a measurement. */
  recordTiming(range: CommandRange, ms: number): void {
    const expected = this.ms(range);
    // A range that took much longer may have waited for other work; a coarse clock may return 0.
    const factor = Math.max(Math.min((expected + ms) / 2, 2 * expected), 0.01) / expected;
    for (let i = range.from; i < range.to; i++) this.#ms[i]! *= factor;
  }

  /** Splits all commands into ranges of about equal time, each short enough for a submit, or a single command. */
  split(): readonly CommandRange[] {
    const all = this.ms();
    const target = all / Math.max(1, Math.ceil(all / SUBMIT_MS));
    const ranges: CommandRange[] = [];
    let [from, sum] = [0, 0];
    this.#ms.forEach((ms, i) => {
      // A command goes to the range that it leaves nearer to the target.
      if (i > from && sum + ms / 2 > target) {
        ranges.push({ from, to: i });
        [from, sum] = [i, 0];
      }
      sum += ms;
    });
    ranges.push({ from, to: this.#ms.length });
    return ranges;
  }
}

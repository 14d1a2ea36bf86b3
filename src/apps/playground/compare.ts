/** The drawer "Compare": two samplers from the same noise, side by side. */

import { readTensor } from '../../engine/gpu/transfer.ts';
import { Player } from '../../session/player.ts';
import type { Lease } from '../../loading/runtime.ts';
import { stepsOf, type SampleOptions } from '../../session/sample_options.ts';
import { byId, input } from '../../ui/dom.ts';
import { Painter } from '../../ui/painter.ts';
import { showError } from './messages.ts';
import { nameOf } from './options.ts';

export class Compare {
  readonly #stages = (['canvas-a', 'canvas-b'] as const).map(
    (id) =>
      new Painter(
        [{ canvas: byId<HTMLCanvasElement>(id), view: () => 'x_t', side: () => 512, missing: 'nothing' }],
        showError,
      ),
  );
  #players: Player[] = [];

  constructor() {
    input('compare-at').addEventListener('input', () => {
      const share = Number(input('compare-at').value) / 1000;
      for (const player of this.#players) player.seek(share * player.steps);
    });
  }

  get running(): boolean {
    return this.#players.some((p) => p.status === 'running');
  }

  stop(): void {
    for (const player of this.#players) player.pause();
  }

  clear(): void {
    for (const stage of this.#stages) stage.show(null);
    for (const player of this.#players) player.destroy();
    this.#players = [];
    input('compare-at').disabled = true;
  }

  /** Resolves when both rest. @returns whether both came to their end @throws what the runs throw */
  async run(
    lease: Lease,
    runs: readonly [SampleOptions, SampleOptions],
    pace: (steps: number) => () => Promise<void>,
  ): Promise<boolean> {
    this.clear();
    byId('difference').textContent = '';
    this.#players = runs.map((options) => new Player(lease, { pace: pace(options.steps ?? 50) }));
    const own = this.#players;
    runs.forEach((options, i) => {
      const steps = stepsOf(lease.model.schedulerConfig, options);
      const caption = `${nameOf(options.scheduler ?? 'ddim')}, ${steps.length} evaluations`;
      byId(i === 0 ? 'caption-a' : 'caption-b').textContent = caption;
      this.#stages[i]!.show(own[i]!);
      void own[i]!.start(options);
    });
    await Promise.all(own.map((player) => player.settled()));
    if (own !== this.#players || own.some((p) => p.status !== 'done')) return false;
    input('compare-at').disabled = false;
    input('compare-at').value = '1000';
    const [a, b] = await Promise.all(own.map((p) => readTensor(lease.gpu, p.at(p.steps)!.xT)));
    const rms = Math.sqrt(a!.reduce((sum, x, i) => sum + (x - b![i]!) ** 2, 0) / a!.length);
    byId('difference').textContent =
      `The two differ by ${((rms / 2) * 100).toFixed(1)} % of the range from black to white (root mean square).`;
    return true;
  }
}

/** Measures one item of the plan: the same in Node and in a page. */

import { runSpec, type Place } from '../../tests/bench/job.ts';
import { hasTimestamps } from '../../tests/bench/timestamps.ts';
import { openNetwork } from '../../tests/bench/networks.ts';
import { idOf, type Item, type Measured } from './bench_plan.ts';
import { convRow, type ConvRow } from './conv_table.ts';
import { convShapes, openGpu } from './engine.ts';

export interface Effort {
  /** For the timed rounds of one comparison. */
  readonly seconds: number;
  readonly rounds: number;
  /** Of a timed run; as many as fit by default. */
  readonly steps: number | null;
  /** Shapes of a table of convolutions, at most. */
  readonly shapes: number;
}

export async function measure(
  item: Item,
  place: Place,
  effort: Effort,
  log: (line: string) => void,
  expired: () => boolean,
): Promise<Measured> {
  const since = performance.now();
  const id = idOf(item);
  const done = (rest: Omit<Measured, 'id' | 'seconds'>): Measured => ({
    id,
    seconds: (performance.now() - since) / 1000,
    ...rest,
  });
  try {
    if (item.kind === 'network') {
      const { network: name, batch, engines, layers } = item;
      const { rounds, seconds, steps } = effort;
      const outcome = await runSpec(
        { name, batch, engines, protocol: { rounds, seconds, profile: layers, steps } },
        place,
        log,
      );
      return done(outcome ? { outcome } : { failure: `${name} is not here` });
    }
    const network = await openNetwork(item.network, place.open);
    if (!network) return done({ failure: `${item.network} is not here` });
    const gpu = await openGpu(await place.gpu());
    try {
      if (!hasTimestamps(gpu)) return done({ failure: 'the adapter has no timestamp-query' });
      const rows: ConvRow[] = [];
      for (const shape of convShapes(network.config).slice(0, effort.shapes)) {
        if (expired()) break;
        rows.push(await convRow(gpu, shape, item.dtype));
      }
      return done({ rows });
    } finally {
      gpu.destroy();
    }
  } catch (error) {
    return done({ failure: String(error).slice(0, 400) });
  }
}

/** What `gpu:bench` measures, the most telling first, and the form of its report. */

import type { AdapterFigures } from '../../tests/bench/adapter.ts';
import type { Outcome } from '../../tests/bench/job.ts';
import type { ConvRow } from './conv_table.ts';
import type { Facts } from './facts.ts';

export type Item =
  | {
      readonly kind: 'network';
      readonly network: string;
      readonly batch: number;
      readonly engines: readonly string[];
      readonly layers: boolean;
    }
  /** Every way for every shape of a network. */
  | { readonly kind: 'convolutions'; readonly network: string; readonly dtype: 'f32' | 'f16' };

export interface Measured {
  readonly id: string;
  readonly seconds: number;
  readonly outcome?: Outcome;
  readonly rows?: readonly ConvRow[];
  /** Why it was not measured. */
  readonly failure?: string;
}

export interface BenchReport {
  readonly kind: 'bench';
  readonly date: string;
  readonly commit: string;
  readonly host: Readonly<Record<string, string>>;
  readonly toggles: readonly string[];
  facts: Facts | null;
  figures: AdapterFigures | null;
  readonly items: Measured[];
  finished: boolean;
}

export const idOf = (item: Item): string =>
  item.kind === 'network'
    ? `${item.network}, batch ${item.batch}${item.engines.includes('ours+direct') ? ', every way' : ''}`
    : `convolutions of ${item.network}, ${item.dtype}`;

const WAYS = ['direct', 'winograd', 'tiled-16', 'tiled-32', 'tiled-64'].map((way) => `ours+${way}`);

export interface PlanOptions {
  readonly f16: boolean;
  /** Those of the bundled models that have no plan of their own here (the hero model, once it is there). */
  readonly others: readonly string[];
  readonly tfjs: boolean;
  /** Two networks; `smoke`: one of each kind, to see that all runs. */
  readonly size: 'full' | 'short' | 'smoke';
}

export function planOf({ f16, others, tfjs, size }: PlanOptions): Item[] {
  const rival = tfjs ? ['tfjs'] : [];
  const halves = f16 ? ['ours-f16'] : [];
  const network = (name: string, batch: number, engines: string[], layers = false): Item => ({
    kind: 'network',
    network: name,
    batch,
    engines,
    layers,
  });
  const usual = ['ours', 'ours+rule', ...halves, ...rival];
  if (size === 'short') return [network('digits', 1, usual, true), network('avatars', 1, ['ours', 'ours+rule', ...halves])]; // prettier-ignore
  const table = (name: string, dtype: 'f32' | 'f16'): Item => ({
    kind: 'convolutions',
    network: name,
    dtype,
  });
  if (size === 'smoke') return [network('digits', 1, ['ours', ...rival], true), table('digits', 'f32')];
  const tables = (name: string): Item[] => [table(name, 'f32'), ...(f16 ? [table(name, 'f16')] : [])];
  return [
    network('avatars', 1, ['ours', 'ours+rule', 'ours+tuned', ...halves, ...rival], true),
    network('cifar10', 1, ['ours', 'ours+rule', 'ours+tuned', ...halves, ...rival], true),
    ...tables('cifar10'),
    ...others.map((name) => network(name, 1, usual, true)),
    network('digits', 1, usual, true),
    network('cifar10', 16, usual),
    ...tables('avatars'),
    network('celebahq-256', 1, ['ours', 'ours+rule', ...halves], true),
    network('cifar10', 1, ['ours+rule', ...WAYS]),
    network('avatars', 1, ['ours+rule', ...WAYS]),
    network('avatars', 16, usual),
    network('small32', 1, usual),
    ...others.map((name) => network(name, 16, usual)),
    network('digits', 16, usual),
    network('small32', 16, usual),
    ...others.flatMap(tables),
    table('celebahq-256', 'f32'),
  ];
}

/** The lecture in each browser: networks that are quick to run, and a view that is opened by its address. */

import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Page } from 'playwright';
import { expect } from 'vitest';
import { randomModel } from '../helpers/random_model.ts';
import { OUTPUT } from './browser.ts';

/** Two tiny networks with random weights, beside the site: one of the kind of `avatars`, one that knows no classes. */
export async function writeModels(): Promise<void> {
  const config = {
    sample_size: 16, block_out_channels: [8, 8], layers_per_block: 1, norm_num_groups: 4, add_attention: false,
    down_block_types: ['DownBlock2D', 'DownBlock2D'], up_block_types: ['UpBlock2D', 'UpBlock2D'],
  }; // prettier-ignore
  const names = Array.from({ length: 14 }, (_, k) => `kind ${k}`);
  const all = {
    'tiny-colour': {
      config: { ...config, in_channels: 3, out_channels: 6, num_class_embeds: 15 },
      scheduler: { beta_schedule: 'squaredcos_cap_v2', prediction_type: 'v_prediction', variance_type: 'learned_range' },
      labels: [...names, 'any'],
    },
    'tiny-plain': { config: { ...config, in_channels: 1, out_channels: 1 }, scheduler: {}, labels: null },
  }; // prettier-ignore
  for (const [name, { config, scheduler, labels }] of Object.entries(all)) {
    const weights = await randomModel(config).read('diffusion_pytorch_model.safetensors');
    const files: Record<string, string | Uint8Array> = {
      'unet/config.json': JSON.stringify(config),
      'unet/diffusion_pytorch_model.safetensors': weights!,
      'scheduler/scheduler_config.json': JSON.stringify(scheduler),
      ...(labels ? { 'labels.json': JSON.stringify(labels) } : {}),
    };
    const entries = Object.entries(files).map(([path, data]) => {
      const file = join(OUTPUT, 'site', name, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, data);
      return { path, bytes: data.length, sha256: createHash('sha256').update(data).digest('hex') };
    });
    const bytes = entries.reduce((sum, e) => sum + e.bytes, 0);
    const manifest = { name, title: name, licence: 'none', bytes, files: entries };
    writeFileSync(join(OUTPUT, 'site', name, 'manifest.json'), JSON.stringify(manifest));
  }
}

/** Views that show a network, their settings for a short run, and the fact that they show last. */
export const NETWORK: readonly (readonly [name: string, params: string, fact: string])[] = [
  ['q-and-p', 'steps=6&at=3', 'closed'],
  ['lenses', 't=500', 'factor'],
  ['inside', 'steps=4&at=2', 'by-hand'],
  ['noise', 'steps=5', 'eta-ddpm'],
  ['variances', 'steps=4&at=2', 'v-mean'],
  ['solvers', 'upto=5', 'reference'],
  ['guidance', '', 'again'],
];

/** A page with nothing in it yet, and its errors. */
export interface Reader {
  readonly page: Page;
  readonly errors: string[];
  readonly url: string;
}

/** Opens a view and waits until it shows `fact` and, unless told otherwise, rests. Gives its facts. */
export async function openView(
  { page, errors, url }: Reader,
  name: string,
  params: string,
  fact: string,
  rests = true,
): Promise<(key: string) => string> {
  errors.length = 0;
  await page.goto('about:blank');
  await page.goto(`${url}lecture.html#${name}${params && `?${params}`}`);
  const view = `[data-view="${name}"]`;
  await page.waitForFunction(
    ([view, fact, rests]) => {
      const root = document.querySelector(view);
      const text = root?.querySelector(`[data-name="${fact}"]`)?.textContent ?? '…';
      return text !== '…' && !(rests && root!.hasAttribute('data-busy'));
    },
    [view, fact, rests] as const,
    { timeout: 120_000 },
  );
  const facts = await page
    .locator(`${view} [data-name]`)
    .evaluateAll((list) =>
      list.map((e) => [(e as HTMLElement).dataset['name']!, e.textContent] as [string, string]),
    );
  expect(await page.locator(`${view} .dv-error`).textContent()).toBe('');
  expect(errors).toEqual([]);
  const map = new Map(facts);
  return (key) => {
    expect([...map.keys()]).toContain(key);
    return map.get(key)!;
  };
}

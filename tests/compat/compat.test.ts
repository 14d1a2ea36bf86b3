/** The versions that README, docs/browsers.md and the message to visitors name are true, feature by feature. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import bcd from '@mdn/browser-compat-data';
import { expect, it } from 'vitest';
import { BROWSERS } from '../../src/core/errors.ts';
import { FLOOR, lacking, usesOfScripts, usesOfStyles } from './uses.ts';

const read = (path: string): string =>
  readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');

/** Uses that a browser of the table does not have, each where it is guarded; the styles only lose their effect. */
const GUARDED: Readonly<Record<string, readonly string[]>> = {
  'api|GPUAdapter|info': ['src/engine/gpu/device.ts'],
  'api|GPUAdapterInfo|isFallbackAdapter': ['src/engine/gpu/device.ts'],
  'api|GPUAdapterInfo|subgroupMinSize': ['src/engine/gpu/device.ts'],
  'api|GPUError|message': ['src/engine/gpu/device.ts', 'src/engine/gpu/scope.ts', 'src/engine/gpu/tape.ts'], // at worst, "undefined" in a text
  'api|CanvasRenderingContext2D|imageSmoothingQuality': ['src/apps/article/picture.ts'], // a property that is set
  'api|OffscreenCanvasRenderingContext2D|imageSmoothingQuality': ['src/apps/playground/pictures.ts'],
  'css|types|color|light-dark': ['src/ui/style/tokens.css'], // of our own pages: the build lowers it
};
const COSMETIC =
  /^css\|(properties\|(text-wrap|field-sizing|cursor|resize|text-size-adjust|forced-color-adjust)(\||$)|selectors\|(dir|-(webkit|moz)-progress-(bar|value))$)/;

/** What the code reaches that MDN's data does not list by interface and member. */
const UNLISTED =
  /^(RegExpExecArray|PromiseFulfilledResult|ReadableStreamReadValueResult|ReadableStreamReadDoneResult|StorageEstimate|CSSStyleDeclaration|ImportMeta|Iterator\w+|\w+Iterator|\w+Like|\w+Options)\.|^say\.bind$|^Option$/;

it('every platform feature that the pages use is in every browser of the table, or is guarded', () => {
  const entries = ['src/index.ts', 'src/apps/element/define.ts', 'src/apps/playground/main.ts', 'src/apps/article/page.ts', 'src/apps/embed/embed.ts', 'src/apps/embed/blog.ts']; // prettier-ignore
  const { uses, unknown } = usesOfScripts(entries);
  const styles = usesOfStyles();
  expect(uses.size).toBeGreaterThan(450);
  expect(styles.size).toBeGreaterThan(200);
  expect([...unknown].filter((name) => !UNLISTED.test(name))).toEqual([]);
  const missing = [...uses.values(), ...styles.values()].flatMap(({ feature, files }) => {
    const without = lacking(feature);
    const allowed = GUARDED[feature] ?? [];
    const bare = [...files].filter((file) => !allowed.includes(file));
    if (Object.keys(without).length === 0 || COSMETIC.test(feature) || bare.length === 0) return [];
    return [`${feature} in ${bare.join(', ')}: needs ${JSON.stringify(without)}`];
  });
  expect(missing).toEqual([]);
}, 240_000);

// That visitors without WebGPU get the message: tests/element/old_browser.test.ts.
it('the message, README and the table name the same versions, and MDN has them', () => {
  const list = BROWSERS.replace(/^Use |\.$/g, '');
  expect(read('README.md').replace(/\s+/g, ' ')).toContain(`a browser with WebGPU: ${list}.`);
  const rows = read('docs/browsers.md')
    .split('## What each lacks')[0]!
    .split('\n')
    .filter((line) => /^\| (Chrome|Safari|Firefox)/.test(line))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  const table = rows.map(([, browser, , version]) => [browser!.split(',')[0]!, version!] as const);
  const versions = (name: string) => table.filter(([b]) => b === name).map(([, v]) => v);
  // Each version of the sentence is in the table; the table has one more, of one macOS alone.
  const said = (name: string) => [...BROWSERS.split(/(?=Chrome|Safari|Firefox)/).find((part) => part.startsWith(name))!.matchAll(/\d+/g)].map(String); // prettier-ignore
  expect(said('Chrome')).toEqual(versions('Chrome'));
  expect(said('Safari')).toEqual(versions('Safari'));
  expect(versions('Firefox')).toEqual(expect.arrayContaining([...said('Firefox'), '145', 'none']));
  expect(said('Firefox')).toHaveLength(2);
  const { support } = bcd.api['GPU']!.__compat!;
  const added = (b: keyof typeof support) => [support[b] ?? []].flat().map((s) => s.version_added);
  expect(added('chrome').sort()).toEqual(['113', '144']);
  expect(added('edge').sort()).toEqual(['113', '144']);
  expect(added('chrome_android')).toEqual([String(FLOOR.chrome_android)]);
  expect(added('safari')).toEqual(['26']);
  expect(added('firefox')).toEqual(['141']);
  const notes = [support.firefox ?? []].flat().flatMap((s) => s.notes ?? []).join(' '); // prettier-ignore
  expect([...notes.matchAll(/since Firefox (\d+)/g)].map(([, v]) => v)).toEqual(['141', '145', '147']);
});

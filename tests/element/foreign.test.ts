/** The packed element on pages that are not ours: it can be read on each, in the colours that the page uses. */

import type { Browser, Page } from 'playwright';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { views } from '../../src/apps/article/index.ts';
import { launchBrowser, OUTPUT } from '../browser/browser.ts';
import { contrasts } from './contrast.ts';
import { serveElement, type Site } from './page.ts';

let site: Site;
let browser: Browser;

beforeAll(async () => {
  site = await serveElement();
  browser = await launchBrowser(site.page('empty', ''));
}, 300_000);
afterAll(async () => {
  await browser?.close();
  site?.server.close();
});

const DEFINE = '<script type="module" src="/pkg/define.js"></script>';
const ONE_FILE = '<script type="module" src="/pkg/diffusion-sampler.min.js"></script>';
/** The poster, an error, a download under way. */
const THREE =
  '<diffusion-sampler id="a" seed="3" controls></diffusion-sampler><diffusion-sampler id="b" model="nowhere" controls></diffusion-sampler><diffusion-sampler id="c" loading="eager" controls></diffusion-sampler>';
const AROUND = `<div id="around"></div><script>document.querySelector('#around').attachShadow({ mode: 'open' }).innerHTML = '<style>button, p { color: red; background: red }</style>${THREE}'</script>`;
/** What resets, themes and careless rules do to what is inherited, and names that themes use for something else. */
const HOSTILE = `<style>
  * { all: revert; }
  * { color: #777; letter-spacing: 0.5em; line-height: 4; font-size: 3px; text-transform: uppercase; text-align: right; background: none; }
  main { max-width: 400px; }
  html { font-size: 62.5%; -webkit-text-fill-color: #888; accent-color: #808080; }
  :root { --accent: 12 80% 50%; --ink: 1; --line: 2px; --card: 0 0% 3%; --soft: url(x); --well: 3; --edge: 0; --x-0: 4; --x-t: 5; --eps: 1e-5; --update: 6; --sans: 7; --serif: 8; }
  button, select, p, output { background: #777 !important; color: #777 !important; opacity: 0.1 !important; }
</style>`;
const style = (rules: string): string => `<style>${rules}</style>`;

/** A page; weights never come, so that the download stays under way. */
async function open(url: string): Promise<{ page: Page; errors: string[] }> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.route('**/*.safetensors', () => {});
  await page.goto(url);
  return { page, errors };
}

/** Whether the element's colours are those of a dark page. */
const isDark = (page: Page): Promise<boolean> =>
  page.evaluate(() => {
    const around = document.querySelector('#around')?.shadowRoot ?? document;
    const element = around.querySelector('diffusion-sampler')!;
    return (
      parseInt(
        /\d+/.exec(getComputedStyle(element.shadowRoot!.querySelector('.controls')!).backgroundColor)![0],
      ) < 128
    );
  });

type Case = [name: string, head: string, body: string, dark: { light: boolean; dark: boolean }];
const [never, always, asked] = [{ light: false, dark: false }, { light: true, dark: true }, { light: false, dark: true }]; // prettier-ignore
const CASES: Case[] = [
  ['plain', DEFINE, THREE, never],
  ['one-file', ONE_FILE, THREE, never],
  ['light', DEFINE + style('html { color-scheme: light }'), THREE, never],
  ['dark', DEFINE + style('html { color-scheme: dark }'), THREE, always],
  ['one-file-dark', ONE_FILE + style('html { color-scheme: dark }'), THREE, always],
  ['both', DEFINE + style('html { color-scheme: light dark }'), THREE, asked],
  ['meta', `${DEFINE}<meta name="color-scheme" content="dark light">`, THREE, asked],
  ['dark-part', DEFINE + style('section { color-scheme: dark; background: #222 }'), `<section>${THREE}</section>`, always], // prettier-ignore
  ['dark-paint', DEFINE + style('body { background: #111; color: #eee }'), THREE, never],
  ['shadow', DEFINE + style('html { color-scheme: light dark }'), AROUND, asked],
  ['hostile', DEFINE + HOSTILE, THREE, never],
  ['hostile-dark', DEFINE + HOSTILE + style('html { color-scheme: dark }'), THREE, always],
];

it.each(CASES)('%s: poster, error and download can be read', async (name, head, body, dark) => {
  const { page, errors } = await open(site.page(name, body, { head }));
  await page.waitForFunction(() => {
    const around = document.querySelector('#around')?.shadowRoot ?? document;
    const [a, b, c] = around.querySelectorAll('diffusion-sampler');
    return a?.shadowRoot?.textContent.includes('1.4 MB') && b!.status === 'failed' && c!.status === 'loading';
  });
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    expect(await isDark(page), `${colorScheme} preferred`).toBe(dark[colorScheme]);
    const { measured, faint } = await contrasts(page);
    expect(faint, `${colorScheme} preferred`).toEqual([]);
    expect(measured.text).toBeGreaterThanOrEqual(6); // Run, title, message, bytes, Cancel, the lists
    expect(measured.marks).toBeGreaterThanOrEqual(3);
    await page.screenshot({ path: `${OUTPUT}foreign-${name}-${colorScheme}.png`, fullPage: true });
  }
  const run = await page.evaluate(() => {
    const around = document.querySelector('#around')?.shadowRoot ?? document;
    const button = around.querySelector('#a')!.shadowRoot!.querySelector('[part=run]')!;
    const { fontSize, textTransform, letterSpacing, opacity } = getComputedStyle(button);
    return { fontSize, textTransform, letterSpacing, opacity, height: button.getBoundingClientRect().height };
  });
  expect(run).toEqual({ fontSize: '14px', textTransform: 'none', letterSpacing: 'normal', opacity: '1', height: 44 }); // prettier-ignore
  expect(errors).toEqual([]);
  await page.close();
});

/** Views that plot without a network. */
const PLOTS = ['schedules', 'mixture', 'variances'];
const VIEW_CASES = [
  ['plain', DEFINE],
  ['dark', ONE_FILE + style('html { color-scheme: dark }')],
  ['hostile', DEFINE + HOSTILE],
] as const;
it.each(VIEW_CASES)('the lecture’s ten views on a page of the kind “%s”', async (name, head) => {
  const body = '<diffusion-sampler view="schedules"></diffusion-sampler>';
  const { page, errors } = await open(site.page(`views-${name}`, body, { head }));
  await page.emulateMedia({ colorScheme: 'dark' });
  for (const view of Object.keys(views)) {
    await page.evaluate((v) => (document.querySelector('diffusion-sampler')!.view = v), view);
    const root = page.locator(`diffusion-sampler [data-view="${view}"]`);
    await root.locator('.katex').first().waitFor();
    await page.mouse.move(1, 1); // over a symbol, the pointer dims what does not belong to it
    if (PLOTS.includes(view))
      await page.waitForFunction(() => {
        const { shadowRoot } = document.querySelector('diffusion-sampler')!;
        const plots = [...shadowRoot!.querySelectorAll('.dv-plot > svg')];
        return plots.length > 0 && plots.every((plot) => plot.getBoundingClientRect().width > 300);
      });
    await page.waitForTimeout(300); // transitions
    const { measured, faint } = await contrasts(page);
    expect(faint, view).toEqual([]);
    expect(measured.text, view).toBeGreaterThan(15);
    expect(measured.colours, view).toBe(9);
    if (PLOTS.includes(view)) expect(measured.marks, view).toBeGreaterThanOrEqual(3);
    const small = await root.evaluate((e) => [...e.querySelectorAll<HTMLElement>('p, label, button, td')].filter((t) => parseFloat(getComputedStyle(t).fontSize) < 11).length); // prettier-ignore
    expect(small, view).toBe(0);
    await page.screenshot({ path: `${OUTPUT}foreign-view-${view}-${name}.png`, fullPage: true });
  }
  expect(errors).toEqual([]);
  await page.close();
});

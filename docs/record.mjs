// Drives the built page and saves its own exports: the poster of the page and the recording of the README.
//
//     node docs/record.mjs        # under a display, or `xvfb-run -a node docs/record.mjs`
//
// CHROMIUM names the browser where it is not Playwright's own.
import { decodeApng } from 'fast-png';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright';
import { build, createServer, preview } from 'vite';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const ARGS = `--no-sandbox --enable-unsafe-webgpu --ignore-gpu-blocklist --enable-features=Vulkan --enable-gpu
  --enable-unsafe-swiftshader --use-webgpu-adapter=swiftshader --use-angle=swiftshader --use-vulkan=swiftshader
  --disable-vulkan-surface --disable-quic --no-first-run`.split(/\s+/);

const outDir = `${ROOT}tests/output/record`;
await build({ root: ROOT, logLevel: 'warn', build: { outDir, emptyOutDir: true } });
const server = await preview({ root: ROOT, logLevel: 'warn', build: { outDir }, preview: { port: 0 } });
const executablePath = process.env['CHROMIUM'];
const browser = await chromium.launch({
  headless: false,
  args: ARGS,
  ...(executablePath ? { executablePath } : {}),
});
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });

/** Draws what a fragment says, and saves the animation. */
async function record(fragment, withX0) {
  await page.goto(`${server.resolvedUrls.local[0]}${fragment}`);
  await page.reload();
  await page.locator('#draw:enabled').waitFor({ timeout: 120_000 });
  await page.click('#draw');
  await page.waitForFunction("document.getElementById('status').textContent.startsWith('Done')", null, {
    timeout: 600_000,
  });
  await page.setChecked('#with-x0', withX0);
  const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save-apng')]);
  return readFileSync(await download.path());
}

const CELLS = '#v=1&model=digits&label=each&seed=21&steps=24&count=9&tab=share';
const dev = await createServer({ root: ROOT, logLevel: 'error', server: { middlewareMode: true } });
const { apng } = await dev.ssrLoadModule('/src/ui/export/apng.ts');
const { png } = await dev.ssrLoadModule('/src/ui/export/png.ts');

// The poster: the nine pictures side by side, without magnification and without the gaps between them. It plays once: what
// moves for longer than five seconds needs a button to stop it.
const { width, channels, frames } = decodeApng(await record(CELLS, false));
const [columns, side, zoom, gap] = [3, 32, 4, 2]; // as the page exports nine pictures
if (width !== columns * (side * zoom + gap) - gap) throw new Error(`the export is ${width} pixels wide`);
const size = columns * side;
const from = (x) => Math.floor(x / side) * (side * zoom + gap) + (x % side) * zoom;
const small = frames.map(({ data }) => {
  const pixel = (_, i) => data[from(Math.floor(i / size)) * width + from(i % size)];
  return { width: size, height: size, channels, data: Uint8Array.from({ length: size * size }, pixel) };
});
// Noise does not compress. While nothing can be seen in it, one frame in three is enough, and 32 levels of grey are.
const NOISY = 13;
const kept = small.flatMap((frame, i) => {
  if (i >= NOISY) return [frame];
  const data = frame.data.map((v) => (Math.round((v / 255) * 31) * 255) / 31);
  return i % 3 === 0 ? [{ ...frame, data }] : [];
});
const delays = kept.map((_, i) => (i * 3 < NOISY ? 200 : 130));
writeFileSync(`${ROOT}src/apps/playground/poster.png`, apng(kept, delays, { plays: 1 }));
writeFileSync(`${ROOT}src/apps/playground/poster-still.png`, png(small.at(-1)));
await dev.close();

writeFileSync(`${ROOT}docs/recording.png`, await record(CELLS, true));
await browser.close();
await server.close();

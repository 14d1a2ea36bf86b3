/**
 * Every name of the custom-elements manifest is used in a page and does what the manifest says of it. A name without a
 * check here fails, and so does a check without a name.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decode } from 'fast-png';
import type { Browser, Page } from 'playwright';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { DiffusionSampler } from '../../src/apps/element/diffusion-sampler.ts';
import { readRecipe } from '../../src/session/recipe.ts';
import { launchBrowser } from '../browser/browser.ts';
import { PACKAGE, serveElement, type Site } from './page.ts';

interface Told {
  readonly name: string;
  readonly kind?: string;
  readonly static?: boolean;
}
let site: Site;
let browser: Browser;
let page: Page;
let manifest: Record<'attributes' | 'members' | 'events' | 'slots' | 'cssParts' | 'cssProperties', Told[]>;
const errors: string[] = [];

beforeAll(async () => {
  site = await serveElement();
  browser = await launchBrowser(site.page('empty', ''));
  const { modules } = JSON.parse(readFileSync(join(PACKAGE, 'custom-elements.json'), 'utf8')) as {
    modules: { declarations: (typeof manifest)[] }[];
  };
  manifest = modules[0]!.declarations[0]!;
  page = await browser.newPage();
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.route('**/slow/**', () => {}); // never answered
  await page.addInitScript(() => (window.log = []));
  // One element keeps the model on the GPU for all that follow; its download is the one that is watched.
  const keeper = '<diffusion-sampler id="keeper" steps="1"></diffusion-sampler><form id="form"></form>';
  await page.goto(site.page('names', keeper));
  await page.evaluate(async () => {
    const keeper = document.getElementById('keeper') as DiffusionSampler;
    keeper.addEventListener('progress', ({ detail }) => window.log.push(['keeper progress', detail]));
    keeper.addEventListener('ready', ({ detail }) => window.log.push(['keeper ready', detail]));
    await keeper.play();
  });
}, 300_000);
afterAll(async () => {
  await browser?.close();
  site?.server.close();
});

declare global {
  interface Window {
    log: [string, unknown][];
  }
}

/** The one element under test, new. */
async function fresh(attributes: string, inner = ''): Promise<void> {
  await page.evaluate(
    ([a, i]) => {
      window.log = window.log.filter(([type]) => type.startsWith('keeper'));
      const form = document.getElementById('form')!;
      form.innerHTML = `<diffusion-sampler ${a}>${i}</diffusion-sampler>`;
      window.el = form.querySelector('diffusion-sampler')!;
      for (const type of ['ready', 'progress', 'step', 'done', 'error'])
        window.el.addEventListener(type, (event) => window.log.push([type, (event as CustomEvent).detail]));
    },
    [attributes, inner],
  );
}
const status = (wanted: string) =>
  page.waitForFunction((s) => window.el.status === s, wanted, { timeout: 60_000 });
async function run(attributes: string): Promise<void> {
  await fresh(attributes);
  await page.evaluate(() => window.el.play());
  await status('done');
}
const get = <T>(read: () => T): Promise<T> => page.evaluate(read);
const logged = (type: string): Promise<unknown[]> =>
  page.evaluate((t) => window.log.filter(([name]) => name === t).map(([, detail]) => detail), type);
const options = () => get(() => window.el.player!.options);
const picture = async () => {
  const bytes = await page.evaluate(async () => [...new Uint8Array(await (await window.el.toBlob()).arrayBuffer())]); // prettier-ignore
  return decode(Uint8Array.from(bytes));
};
const hide = (hidden: boolean) =>
  page.evaluate((h) => {
    Object.defineProperty(document, 'hidden', { value: h, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);

const GIF = 'data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=';

const attributes: Record<string, () => Promise<void>> = {
  async model() {
    await fresh('model="digits"');
    await page.waitForFunction(() => window.el.shadowRoot!.textContent.includes('Digits: MNIST'));
    await fresh('model="nonsense"');
    await status('failed');
    expect(await get(() => window.el.error!.message)).toContain('There is no bundled model nonsense');
  },
  async src() {
    await run(`model="nonsense" steps="1" src="${site.url}pkg/weights/digits/"`); // src wins
    expect(await get(() => window.el.player!.lease.source!.key)).toContain('/pkg/weights/digits/');
  },
  async sampler() {
    await run('sampler="heun" steps="2"');
    expect(await options()).toMatchObject({ scheduler: 'heun' });
  },
  async steps() {
    await run('steps="3"');
    expect(await get(() => window.el.player!.steps)).toBe(3);
  },
  async seed() {
    const pictures = [];
    for (const seed of [1, 2, 1]) {
      await run(`steps="1" seed="${seed}"`);
      pictures.push((await picture()).data);
    }
    expect(pictures[0]).toEqual(pictures[2]);
    expect(pictures[0]).not.toEqual(pictures[1]);
  },
  async label() {
    await run('steps="1" label="3, 8"');
    expect(await options()).toMatchObject({ labels: [3, 8] });
  },
  async guidance() {
    await run('steps="1" label="3" guidance="2.5"');
    expect(await options()).toMatchObject({ guidance: 2.5 });
  },
  async eta() {
    await run('steps="1" sampler="ddim" eta="0.5"');
    expect(await options()).toMatchObject({ eta: 0.5 });
  },
  async view() {
    const pictures = [];
    for (const view of ['eps', 'x_t']) {
      await run(`steps="2" view="${view}"`);
      await get(() => window.el.seek(1));
      pictures.push((await picture()).data);
    }
    expect(pictures[0]).not.toEqual(pictures[1]);
  },
  async count() {
    await run('steps="1" count="4"');
    const { width, height } = await picture();
    expect(width).toBe(height);
    expect(width).toBeGreaterThanOrEqual(64);
    expect(await get(() => window.el.player!.at(1)!.xT.shape[0])).toBe(4);
  },
  async loading() {
    await fresh('loading="eager"');
    await status('ready');
    await fresh('loading="lazy"');
    await status('ready');
    await fresh('');
    await page.waitForTimeout(200);
    expect(await get(() => window.el.status)).toBe('poster');
  },
  async reveal() {
    await fresh('reveal="auto" steps="2"');
    await status('paused');
    expect(await get(() => window.el.player!.index)).toBe(0); // the noise
  },
  async controls() {
    await fresh('controls');
    const bar = page.locator('#form [part="controls"]');
    expect(await bar.isVisible()).toBe(true);
    await get(() => (window.el.controls = false));
    expect(await bar.isVisible()).toBe(false);
  },
  async autoplay() {
    await fresh('autoplay steps="1"');
    await status('done');
  },
  async loop() {
    await run('loop steps="1" seed="4"');
    await page.waitForFunction(() => window.el.seed === 5 && window.el.status === 'done');
    await get(() => window.el.pause()); // somebody decides
    await page.waitForTimeout(3000);
    expect(await get(() => window.el.seed)).toBe(5);
  },
  async poster() {
    await fresh(`poster="${GIF}"`);
    const image = page.locator('#form [part="poster-image"]');
    expect(await image.getAttribute('src')).toBe(GIF);
    await run(`poster="${GIF}" steps="1"`);
    expect(await image.isVisible()).toBe(false);
  },
  async 'hidden-policy'() {
    try {
      for (const [policy, expected] of [
        ['pause', 'paused'],
        ['continue', 'running'],
      ] as const) {
        await fresh(`hidden-policy="${policy}" steps="100"`);
        await get(() => window.el.play());
        await hide(true);
        expect(await get(() => window.el.status), policy).toBe(expected);
        await hide(false);
        await status('running');
      }
    } finally {
      await hide(false);
    }
  },
  async alt() {
    await run('steps="1" alt="A test"');
    expect(await page.locator('#form [part="canvas"]').getAttribute('aria-label')).toBe('A test; step 1 of 1, the picture'); // prettier-ignore
    await get(() => (window.el.alt = ''));
    expect(await page.locator('#form [part="canvas"]').getAttribute('aria-label')).toContain('drawn by the model digits from seed 0'); // prettier-ignore
  },
};

const methods: Record<string, () => Promise<void>> = {
  async play() {
    await fresh('steps="2"');
    await get(() => window.el.play());
    expect(await get(() => window.el.status)).toBe('running');
    await status('done');
    await get(() => window.el.play()); // again from the end
    await status('done');
  },
  async pause() {
    await fresh('steps="100"');
    await get(() => window.el.play());
    await get(() => window.el.pause());
    expect(await get(() => window.el.status)).toBe('paused');
  },
  async step() {
    await fresh('steps="3"');
    for (const index of [0, 1, 2]) {
      await get(() => window.el.step());
      await page.waitForFunction((i) => window.el.player!.index === i, index);
      expect(await get(() => window.el.status)).toBe('paused');
    }
  },
  async stepBack() {
    await run('steps="3"');
    await get(() => window.el.stepBack());
    expect(await get(() => [window.el.player!.index, window.el.status])).toEqual([2, 'paused']);
  },
  async seek() {
    await run('steps="3"');
    await get(() => window.el.seek(1));
    expect(await get(() => window.el.player!.index)).toBe(1);
    for (const k of [99, -5]) await page.evaluate((at) => window.el.seek(at), k);
    expect(await get(() => window.el.player!.index)).toBe(0);
  },
  async stop() {
    await fresh(`src="${site.url}slow/"`);
    const refused = get(() => window.el.play().then(() => null, (e: { code: string }) => e.code)); // prettier-ignore
    await status('loading');
    await get(() => window.el.stop());
    expect(await refused).toBe('aborted');
    expect(await get(() => window.el.status)).toBe('poster');
  },
  async fork() {
    await run('steps="4" label="3"');
    const trunk = (await picture()).data;
    await get(() => window.el.fork(1, {}));
    await status('done');
    expect((await picture()).data).toEqual(trunk); // bit for bit
    await get(() => window.el.fork(1, { labels: [8] }));
    await status('running');
    await status('done');
    expect((await picture()).data).not.toEqual(trunk);
  },
  async toBlob() {
    await fresh('steps="2"');
    expect(await get(() => window.el.toBlob().catch((e: { code: string }) => e.code))).toBe('bad-option');
    await get(() => window.el.play());
    // As soon as the status says done, and without waiting for the event: the recipe is there.
    const text = await page.evaluate(async () => {
      while (window.el.status !== 'done') await new Promise((resolve) => setTimeout(resolve, 1));
      return (await window.el.toBlob()).text();
    });
    expect(text).toContain('"seed"');
  },
  async save() {
    await run('steps="1" seed="6"');
    for (const [name, expected] of [
      [undefined, 'digits-6.png'],
      ['mine.png', 'mine.png'],
    ] as const) {
      const download = page.waitForEvent('download');
      await page.evaluate((n) => window.el.save(n), name);
      expect((await download).suggestedFilename()).toBe(expected);
    }
  },
};

const events: Record<string, () => Promise<void>> = {
  async ready() {
    expect(await logged('keeper ready')).toMatchObject([{ title: expect.stringContaining('Digits') as string, bytes: 1395036, parameters: expect.any(Number) as number, adapter: expect.any(String) as string }]); // prettier-ignore
  },
  async progress() {
    const all = (await logged('keeper progress')) as { received: number; total: number }[];
    expect(all.at(-1)).toEqual({ received: 1395036, total: 1395036 });
    all.forEach(({ received }, i) => expect(received).toBeGreaterThanOrEqual(all[i - 1]?.received ?? 0));
  },
  async step() {
    await run('steps="2"');
    const steps = (await logged('step')) as { index: number; steps: number; t: number }[];
    expect(steps.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(steps.map(({ t }) => t > steps.at(-1)!.t)).toEqual([true, true, false]);
  },
  async done() {
    await run('steps="2" seed="3"');
    await page.waitForFunction(() => window.log.some(([type]) => type === 'done'));
    expect(await logged('done')).toMatchObject([{ steps: 2, seed: 3, seconds: expect.any(Number) as number }]); // prettier-ignore
  },
  async error() {
    await fresh('label="a dragon"');
    await get(() => window.el.play().catch(() => {}));
    expect(await page.evaluate(() => window.log.filter(([type]) => type === 'error').map(([, e]) => [(e as Error).name, (e as { code: string }).code]))).toEqual([['DiffusionError', 'bad-option']]); // prettier-ignore
  },
};

const slots: Record<string, () => Promise<void>> = {
  async poster() {
    await fresh('steps="1"', '<b slot="poster">Mine</b>');
    expect(await page.getByText('Mine').isVisible()).toBe(true);
    await get(() => window.el.play());
    expect(await page.getByText('Mine').isVisible()).toBe(false);
  },
  async progress() {
    await fresh(`src="${site.url}slow/"`, '<b slot="progress">Moment</b>');
    await get(() => void window.el.play().catch(() => {}));
    expect(await page.getByText('Moment').isVisible()).toBe(true);
    expect(await page.locator('#form [part="progress-bar"]').isVisible()).toBe(false);
    await get(() => window.el.stop());
    expect(await page.getByText('Moment').isVisible()).toBe(false);
  },
  async error() {
    await fresh('label="a dragon"', '<b slot="error">Sorry</b>');
    expect(await page.getByText('Sorry').isVisible()).toBe(false);
    await get(() => window.el.play().catch(() => {}));
    expect(await page.getByText('Sorry').isVisible()).toBe(true);
    expect(await page.locator('#form [part="error-message"]').isVisible()).toBe(false);
  },
};

/** In which states a part is seen. */
const scenes: Record<string, [enter: () => Promise<void>, parts: string[]]> = {
  waiting: [
    async () => {
      await fresh(`poster="${GIF}"`);
      await page.waitForFunction(() => window.el.shadowRoot!.textContent.includes('MB'));
    },
    ['frame', 'poster', 'poster-image', 'run', 'title'],
  ],
  loading: [
    async () => {
      await fresh(`src="${site.url}slow/"`);
      await get(() => void window.el.play().catch(() => {}));
    },
    ['progress', 'progress-bar', 'progress-text', 'cancel'],
  ],
  failed: [
    async () => {
      await fresh('label="a dragon"');
      await get(() => window.el.play().catch(() => {}));
    },
    ['error', 'error-message', 'retry'],
  ],
  done: [() => run('steps="1"'), ['canvas', 'toggle']],
  'done, with controls': [
    () => run('steps="1" controls'),
    ['controls', 'button', 'play', 'stop', 'step-back', 'step', 'save', 'timeline', 'status', 'view'],
  ],
  'a view of the lecture': [
    async () => {
      await fresh('view="one-jump"');
      await page.locator('#form h3').waitFor();
    },
    ['view-host'],
  ],
};
const parts: Record<string, () => Promise<void>> = {};
for (const [enter, names] of Object.values(scenes))
  for (const name of names)
    parts[name] = async () => {
      await enter();
      const found = await page.evaluate((part) => {
        const style = document.head.appendChild(document.createElement('style'));
        style.textContent = `diffusion-sampler::part(${part}) { --reached: ${part} }`;
        const all = [...window.el.shadowRoot!.querySelectorAll<HTMLElement>(`[part~="${part}"]`)];
        const of = all.filter((node) => node.checkVisibility());
        const reached = of.every((node) => getComputedStyle(node).getPropertyValue('--reached') === part);
        style.remove();
        return { shown: of.length > 0, reached };
      }, name);
      expect(found).toEqual({ shown: true, reached: true });
    };

/** Where a custom property arrives: the part (':host' for the element), the property, a value. */
const COLOUR = 'rgb(1, 2, 3)';
const properties: Record<string, [scene: keyof typeof scenes, part: string, property: string, value: string, computed?: string]> = {
  size: ['waiting', ':host', 'width', '123px'],
  aspect: ['waiting', 'frame', 'aspect-ratio', '2 / 1'],
  accent: ['waiting', 'run', 'background-color', COLOUR],
  'on-accent': ['waiting', 'run', 'color', COLOUR],
  ink: ['waiting', 'frame', 'color', COLOUR],
  soft: ['waiting', 'title', 'color', COLOUR],
  card: ['done, with controls', 'play', 'background-color', COLOUR],
  well: ['waiting', 'frame', 'background-color', COLOUR],
  line: ['done, with controls', 'play', 'border-top-color', COLOUR],
  bad: ['failed', 'error-message', 'color', COLOUR],
  radius: ['waiting', 'frame', 'border-top-left-radius', '3px'],
  font: ['waiting', 'frame', 'font-family', 'fantasy'],
}; // prettier-ignore

const fields: Record<string, () => Promise<void>> = {
  async name() {
    await run('name="art" steps="1"');
    await page.waitForFunction(() => window.el.value !== '');
    const sent = await get(() => [...new FormData(document.querySelector('form')!).entries()]);
    expect(sent.map(([key]) => key)).toEqual(['art']);
    expect(readRecipe(String(sent[0]![1])).options).toMatchObject({ steps: 1 });
  },
  async value() {
    await run('steps="1" seed="8"');
    await page.waitForFunction(() => window.el.value !== '');
    expect(readRecipe(await get(() => window.el.value)).options).toMatchObject({ seed: 8 });
    await get(() => document.querySelector('form')!.reset());
    expect(await get(() => window.el.value)).toBe('');
  },
  async form() {
    await fresh('');
    expect(await get(() => window.el.form === document.querySelector('form'))).toBe(true);
  },
  async status() {
    await fresh('steps="1"');
    expect(await get(() => window.el.status)).toBe('poster');
    await get(() => window.el.play());
    await status('done');
  },
  async player() {
    await fresh('steps="1"');
    expect(await get(() => window.el.player)).toBe(null);
    await get(() => window.el.play());
    expect(await get(() => window.el.player!.steps)).toBe(1);
  },
  async error() {
    await fresh('label="a dragon" steps="1"');
    expect(await get(() => window.el.error)).toBe(null);
    await get(() => window.el.play().catch(() => {}));
    expect(await get(() => window.el.error!.code)).toBe('bad-option');
    await get(() => ((window.el.label = '2'), window.el.play()));
    expect(await get(() => window.el.error)).toBe(null);
  },
  async version() {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(await get(() => (window.el.constructor as typeof DiffusionSampler).version)).toBe(version);
  },
  async base() {
    const failed = await page.evaluate(async () => {
      const Class = window.el.constructor as typeof DiffusionSampler;
      Class.base = '/nowhere/';
      document.getElementById('form')!.innerHTML = '<diffusion-sampler></diffusion-sampler>';
      const el = document.querySelector<DiffusionSampler>('#form diffusion-sampler')!;
      const code = await el.play().catch((e: Error) => e.message);
      Class.base = null;
      return code;
    });
    expect(failed).toContain('/nowhere/models.json');
  },
  async powerPreference() {
    const other = await page.context().browser()!.newPage(); // with a device of its own
    await other.goto(page.url());
    const asked = await other.evaluate(async () => {
      const Class = customElements.get('diffusion-sampler') as typeof DiffusionSampler;
      const preferences: unknown[] = [];
      const request = GPU.prototype.requestAdapter;
      GPU.prototype.requestAdapter = function (options) {
        preferences.push(options?.powerPreference);
        return request.call(this, options);
      };
      const before = Class.powerPreference;
      Class.powerPreference = 'low-power';
      document.body.innerHTML = '<diffusion-sampler steps="1"></diffusion-sampler>';
      await document.querySelector('diffusion-sampler')!.play();
      return [before, Class.powerPreference, ...preferences];
    });
    await other.close();
    expect(asked).toEqual([undefined, 'low-power', 'low-power']);
  },
  async formAssociated() {
    expect(await get(() => (window.el.constructor as typeof DiffusionSampler).formAssociated)).toBe(true);
  },
};

const fieldOf = (attribute: string) => (attribute === 'hidden-policy' ? 'hiddenPolicy' : attribute);
for (const attribute of Object.keys(attributes))
  fields[fieldOf(attribute)] = async () => {
    // Both ways, on an element that is in no document.
    const row = await page.evaluate(
      ([name, field]) => {
        const el = document.createElement('diffusion-sampler') as unknown as Record<string, unknown> & HTMLElement; // prettier-ignore
        const numeric = ['steps', 'seed', 'guidance', 'eta', 'count'].includes(name);
        const flag = ['controls', 'autoplay', 'loop'].includes(name);
        const word = { loading: 'eager', reveal: 'auto', 'hidden-policy': 'continue' }[name] ?? 'abc';
        const value = flag ? true : numeric ? 3 : word;
        const text = flag ? '' : String(value);
        el[field] = value;
        const there = el.getAttribute(name) === text;
        el.removeAttribute(name);
        const absent = el[field] !== value;
        el.setAttribute(name, text);
        return { there, absent, back: el[field] === value };
      },
      [attribute, fieldOf(attribute)] as const,
    );
    expect(row).toEqual({ there: true, absent: true, back: true });
  };

const CHECKS = {
  attribute: attributes,
  method: methods,
  field: fields,
  event: events,
  slot: slots,
  part: parts,
  property: Object.fromEntries(
    Object.entries(properties).map(([name, [scene, part, property, value]]) => [
      `--diffusion-sampler-${name}`,
      async () => {
        await scenes[scene]![0]();
        const computed = await page.evaluate(
          ([n, v, p, css]) => {
            window.el.style.setProperty(`--diffusion-sampler-${n}`, v);
            const node = p === ':host' ? window.el : window.el.shadowRoot!.querySelector(`[part~="${p}"]`)!;
            return getComputedStyle(node).getPropertyValue(css);
          },
          [name, value, part, property] as const,
        );
        expect(computed).toBe(value);
      },
    ]),
  ),
} satisfies Record<string, Record<string, () => Promise<void>>>;

it('has a check for every name, and no other', () => {
  const names = (list: readonly Told[], kind?: string) =>
    list.filter((told) => !kind || told.kind === kind).map(({ name }) => name).sort(); // prettier-ignore
  const told = {
    attribute: names(manifest.attributes),
    method: names(manifest.members, 'method'),
    field: names(manifest.members, 'field'),
    event: names(manifest.events),
    slot: names(manifest.slots),
    part: names(manifest.cssParts),
    property: names(manifest.cssProperties),
  };
  const checked = Object.fromEntries(Object.entries(CHECKS).map(([kind, all]) => [kind, Object.keys(all).sort()])); // prettier-ignore
  expect(checked).toEqual(told);
});

it.each(Object.entries(CHECKS).flatMap(([kind, all]) => Object.entries(all).map(([name, check]) => [kind, name, check] as const)))('%s %s', async (_kind, _name, check) => {
  await check();
  await page.evaluate(() => (document.getElementById('form')!.innerHTML = '')); // nothing runs on
  expect(errors).toEqual([]);
}, 60_000); // prettier-ignore

it('the element observes the attributes of the manifest', async () => {
  const observed = await page.evaluate(() => [
    ...(customElements.get('diffusion-sampler') as typeof DiffusionSampler).observedAttributes,
  ]);
  expect(observed.sort()).toEqual(manifest.attributes.map(({ name }) => name).sort());
});

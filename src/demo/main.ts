/** The page: settings in, pictures out. Every computation is in sampler.ts and below. */

import { Display } from '../display/display.ts';
import { DiffusionError } from '../errors.ts';
import { openGpu, type Gpu } from '../gpu/device.ts';
import { Model } from '../model.ts';
import { sample, type Sample, type SampleOptions } from '../sampler.ts';
import type { SchedulerName } from '../scheduler/index.ts';
import { httpFiles, verifiedFiles, type FilePromise } from '../weights/files.ts';

const byId = <E extends HTMLElement>(id: string): E => document.getElementById(id) as E;
const canvas = byId<HTMLCanvasElement>('canvas');
const hint = byId('hint');
const progress = byId<HTMLProgressElement>('progress');
const status = byId('status');
const message = byId('message');
const retry = byId<HTMLButtonElement>('retry');
const buttons = {
  generate: byId<HTMLButtonElement>('generate'),
  step: byId<HTMLButtonElement>('step'),
  stop: byId<HTMLButtonElement>('stop'),
  save: byId<HTMLButtonElement>('save'),
};

interface Manifest {
  readonly name: string;
  readonly title: string;
  readonly licence: string;
  readonly bytes: number;
  readonly files: readonly FilePromise[];
}

let gpu: Gpu | null = null;
let model: Model | null = null;
let display: Display | null = null;
/** The state on the canvas; null while there is none whose memory is sure to be alive. */
let shown: Sample | null = null;

/** A run under way. While `paused` it waits for `go` before each step. */
interface Run {
  readonly abort: AbortController;
  paused: boolean;
  go: () => void;
}
let run: Run | null = null;

// ---- starting up ------------------------------------------------------------------------------------------

async function open(): Promise<void> {
  showError(null);
  hint.hidden = false;
  hint.textContent = 'Loading the model …';
  try {
    gpu?.destroy();
    gpu = model = display = shown = null;
    enable(); // after a loss nothing may be pressed until the model is here again
    const opened = await openGpu();
    const base = new URL('weights/', document.baseURI);
    const manifest = (await readManifest(base)).find((m) => m.name === 'digits')!;
    let received = 0;
    const last = new Map<string, number>();
    const files = httpFiles(new URL(`${manifest.name}/`, base), {
      onProgress(path, bytes) {
        received += bytes - (last.get(path) ?? 0);
        last.set(path, bytes);
        progress.value = received / manifest.bytes;
      },
    });
    const loaded = await Model.load(opened, verifiedFiles(files, manifest.files));
    gpu = opened;
    model = loaded;
    display = new Display(opened, canvas);
    hint.textContent = 'Press Generate to watch a digit come out of noise.';
    progress.value = 0;
    status.textContent = 'Ready.';
    byId('about').textContent =
      `${manifest.title}. ${(loaded.parameters / 1e6).toFixed(2)} million parameters, ` +
      `${(manifest.bytes / 1e6).toFixed(1)} MB. ${manifest.licence}. Running on ${opened.adapter}` +
      `${opened.isSoftware ? ' (software: right, but slow)' : ''}.`;
  } catch (error) {
    hint.textContent = 'No picture: see the message.';
    showError(error);
  }
  enable();
}

async function readManifest(base: URL): Promise<Manifest[]> {
  const bytes = await httpFiles(base).read('models.json');
  if (!bytes)
    throw new DiffusionError(
      'download-failed',
      'The list of models is not on this server.',
      'Reload the page; if it happens again, the site is not complete.',
    );
  return JSON.parse(new TextDecoder().decode(bytes)) as Manifest[];
}

// ---- settings -----------------------------------------------------------------------------------------------

function makeClasses(): void {
  const choices: [string, string, string][] = Array.from({ length: 10 }, (_, k) => [
    `${k}`,
    `${k}`,
    `Digit ${k}`,
  ]);
  choices.push(['any', 'any', 'Let the model choose'], ['each', '0–9', 'One after the other']);
  byId('classes').replaceChildren(
    ...choices.map(([value, text, title]) => {
      const label = document.createElement('label');
      const input = document.createElement('input');
      Object.assign(input, { type: 'radio', name: 'class', value, checked: value === '7' });
      label.title = title;
      label.append(input, text);
      return label;
    }),
  );
}

/** A field's number; NaN when it is empty, for which the sampler has a message. */
const numberIn = (id: string): number => {
  const { value } = byId<HTMLInputElement>(id);
  return value.trim() === '' ? NaN : Number(value);
};

function settings(): SampleOptions {
  const chosen = document.querySelector<HTMLInputElement>('input[name="class"]:checked')!.value;
  const sampler = byId<HTMLSelectElement>('sampler').value;
  const labels = Array.from({ length: numberIn('count') }, (_, n) =>
    chosen === 'any' ? null : chosen === 'each' ? n % 10 : Number(chosen),
  );
  return {
    labels,
    seed: numberIn('seed'),
    steps: numberIn('steps'),
    scheduler: (sampler === 'ddim-1' ? 'ddim' : sampler) as SchedulerName,
    ...(sampler === 'ddim-1' ? { eta: 1 } : {}),
    guidance: numberIn('guidance'),
  };
}

// ---- running ------------------------------------------------------------------------------------------------

/** Until the browser has had the chance to show what was drawn. Hidden tabs get no frames: go on there. */
const frame = (): Promise<void> =>
  new Promise((resolve) => {
    if (document.hidden) return resolve();
    const timer = setTimeout(resolve, 100);
    requestAnimationFrame(() => {
      clearTimeout(timer);
      resolve();
    });
  });

async function start(paused: boolean): Promise<void> {
  if (!model || run) return;
  const own: Run = { abort: new AbortController(), paused, go: () => {} };
  run = own;
  const before = shown;
  shown = null; // its memory may go to the new run
  showError(null);
  enable();
  const { signal } = own.abort;
  const began = performance.now();
  let waited = 0;
  try {
    for await (const state of sample(model, { ...settings(), signal })) {
      if (signal.aborted) break;
      show(state);
      await frame();
      while (own.paused && state.index < state.steps && !signal.aborted) {
        const since = performance.now();
        await new Promise<void>((resolve) => (own.go = resolve));
        waited += performance.now() - since;
        if (own.paused) break; // one step
      }
    }
    if (!signal.aborted) {
      const seconds = (performance.now() - began - waited) / 1000;
      status.textContent += ` Done in ${seconds.toFixed(seconds < 10 ? 1 : 0)} s.`;
    }
  } catch (error) {
    if (!(error instanceof DiffusionError && error.code === 'aborted')) {
      // An option is refused before anything is touched: the last picture stays.
      shown = error instanceof DiffusionError && error.code === 'bad-option' ? before : null;
      showError(error);
    }
  }
  if (signal.aborted) status.textContent += ' Stopped.';
  run = null;
  enable();
  canvas.dispatchEvent(new CustomEvent('end', { bubbles: true }));
}

function show(state: Sample): void {
  shown = state;
  hint.hidden = true;
  paint();
  progress.value = state.index / state.steps;
  status.textContent =
    state.index === 0
      ? `Pure noise; ${state.steps} steps to go.`
      : `Step ${state.index} of ${state.steps}${state.t >= 0 ? `, t = ${state.t}` : ': the picture'}.`;
  canvas.setAttribute('aria-label', `The pictures after step ${state.index} of ${state.steps}`);
  canvas.dispatchEvent(
    new CustomEvent('step', { bubbles: true, detail: { index: state.index, steps: state.steps } }),
  );
}

function paint(): void {
  if (!shown || !display) return;
  const clean = document.querySelector<HTMLInputElement>('input[name="view"]:checked')!.value === 'x_0';
  display.draw((clean && shown.x0Hat) || shown.xT);
}

function enable(): void {
  const running = run !== null && !run.paused;
  buttons.generate.disabled = !model || running;
  buttons.generate.textContent = run?.paused ? 'Continue' : 'Generate';
  buttons.step.disabled = !model || running;
  buttons.stop.disabled = !run;
  buttons.save.disabled = !shown || running;
}

/** What happened and what to do, from a typed error; anything else is a fault of ours and says so. */
function showError(error: unknown): void {
  message.hidden = !error;
  if (!error) return;
  const known = error instanceof DiffusionError ? error : null;
  message.dataset['code'] = known?.code ?? 'internal';
  byId('message-text').textContent = known
    ? known.message
    : `Something went wrong in this page (${String(error)}). Reload it; if it happens again, please report it.`;
  const again = [
    'download-failed',
    'integrity-failed',
    'device-lost',
    'out-of-memory',
    'gpu-error',
    'no-adapter',
  ];
  retry.hidden = !known || !again.includes(known.code);
  if (!known) console.error(error);
}

// ---- wiring -------------------------------------------------------------------------------------------------

makeClasses();
byId<HTMLFormElement>('controls').addEventListener('submit', (event) => {
  event.preventDefault();
  if (run?.paused) {
    run.paused = false;
    run.go();
    enable();
  } else void start(false);
});
buttons.step.addEventListener('click', () => {
  if (run?.paused) run.go();
  else void start(true);
});
buttons.stop.addEventListener('click', () => {
  run?.abort.abort();
  run?.go();
});
buttons.save.addEventListener('click', () => {
  paint(); // a canvas keeps its picture for the task that drew it
  canvas.toBlob((blob) => {
    if (!blob) return;
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = 'diffusion.png';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
});
byId('dice').addEventListener('click', () => {
  byId<HTMLInputElement>('seed').value = String(Math.floor(Math.random() * 1e6));
});
byId('view').addEventListener('change', paint);
byId('guidance').addEventListener('input', () => {
  byId('guidance-value').textContent = byId<HTMLInputElement>('guidance').value;
});
retry.addEventListener('click', () => void open());
void open();

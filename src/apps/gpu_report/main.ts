/** gpu.html: runs the project's checks and a short benchmark in this browser, and shows a report to send. */

import { base, countOf, emptyReport, files, run, textOf, type Report } from 'virtual:gpu-checks';

const byId = <E extends HTMLElement>(id: string): E => document.getElementById(id) as E;
const start = byId<HTMLButtonElement>('start');
const stop = byId<HTMLButtonElement>('stop');
const bar = byId<HTMLProgressElement>('bar');
const status = byId('status');
const verdict = byId('verdict');
const text = byId<HTMLTextAreaElement>('text');
const result = byId('result');
const copied = byId('copied');

/** `?only=linear`: only test files whose names have this in them, and a shorter measurement. */
const only = new URLSearchParams(location.search).get('only') ?? '';
let report: Report | null = null;
let stopped = false;

function show(): void {
  if (!report) return;
  const { passed, failed } = countOf(report);
  const name = report.prove.passes[0]?.facts?.engine.name;
  verdict.textContent = `${name ?? 'No adapter'}: ${passed} passed, ${failed} failed`;
  verdict.dataset['bad'] = String(failed > 0);
}

/** A DiffusionError says what happened and what to do; of anything else there is only its message. */
function explain(error: unknown): string {
  const { what, action } = error as { what?: string; action?: string };
  return what ? `${what} ${action ?? ''}` : `The run ended early: ${error instanceof Error ? error.message : String(error)}`; // prettier-ignore
}

async function begin(): Promise<void> {
  stopped = false;
  start.disabled = true;
  stop.hidden = bar.hidden = false;
  result.hidden = true;
  verdict.textContent = '';
  bar.value = 0;
  const host = {
    browser: navigator.userAgent,
    cores: `${navigator.hardwareConcurrency} threads`,
    screen: `${screen.width} x ${screen.height} at ${devicePixelRatio}`,
  };
  report = emptyReport(host);
  const address = (path: string): string =>
    new URL((path.startsWith('weights/') ? './/' : base) + path, location.href).href;
  const watch = {
    progress(_: Report, done: number, doing: string) {
      bar.value = done;
      status.textContent = `${Math.round(done * 100)} %: ${doing}`;
      show();
    },
    stopped: () => stopped,
  };
  try {
    await run(report, { address, files, only }, watch);
    status.textContent = stopped ? 'Stopped: the report has what was done until then.' : 'Done.';
  } catch (error) {
    status.textContent = explain(error);
  }
  show();
  text.value = textOf(report);
  result.hidden = false;
  start.disabled = false;
  start.textContent = 'Run again';
  stop.hidden = bar.hidden = true;
}

const json = (): string => JSON.stringify(report);

byId('copy').addEventListener('click', () => {
  void navigator.clipboard.writeText(text.value).then(
    () => (copied.textContent = 'Copied.'),
    () => {
      text.select();
      copied.textContent = 'The browser does not allow it: the text is selected, copy it by hand.';
    },
  );
});
byId('save').addEventListener('click', () => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([json()], { type: 'application/json' }));
  link.download = 'gpu-report.json';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
start.addEventListener('click', () => void begin());
stop.addEventListener('click', () => {
  stopped = true;
  status.textContent = 'Stopping after this test …';
});
start.disabled = false;

/** One voice a page for screen readers, whatever the number of elements (and of versions of this code) on it. */

const ID = 'diffusion-sampler-status';
/** Milliseconds between two announcements; of those that come meanwhile the last is spoken. */
const PAUSE = 1000;

let waiting: string | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;

function region(): HTMLElement {
  let node = document.getElementById(ID);
  if (!node) {
    node = document.createElement('div');
    node.id = ID;
    node.setAttribute('role', 'status');
    // By script, not by attribute: a strict style-src allows it.
    Object.assign(node.style, {
      position: 'fixed',
      inlineSize: '1px',
      blockSize: '1px',
      overflow: 'hidden',
      clipPath: 'inset(50%)',
      whiteSpace: 'nowrap',
    });
    document.body.append(node);
  }
  return node;
}

export function announce(text: string): void {
  waiting = text;
  timer ??= setTimeout(() => {
    region().textContent = waiting;
    waiting = null;
    timer = setTimeout(() => {
      timer = undefined;
      if (waiting !== null) announce(waiting);
    }, PAUSE);
  }, 100);
}

/** Pictures: tensors on small canvases, and the visitor's own picture (drawn, dropped, or drawn by the model). */

import { grid, planesOf, toSigned } from '../../core/pixels.ts';
import { paintPixels } from '../../ui/canvas.ts';
import { h } from '../../ui/dom.ts';
import { later, register } from './controls.ts';
import { rich, setText } from './text.ts';
import type { Frame } from './frame.ts';

/** Planar (C, H, W), C = 1 or 3. */
export interface Picture {
  readonly data: Float32Array<ArrayBuffer>;
  readonly channels: number;
  readonly width: number;
  readonly height: number;
}

/** -1 to 1 as black to white; or around zero, from blue over white to orange, both safe for colour-blind eyes. */
export type Palette = 'picture' | 'signed';

export interface TensorCanvas {
  readonly figure: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  /** `reach`: the number shown as white (or as full colour); 1 unless given. */
  draw(picture: Picture, reach?: number): void;
  caption(text: string): void;
}

export function tensorCanvas(
  parent: HTMLElement,
  {
    label,
    sym,
    colour,
    palette = 'picture',
  }: { readonly label: string; readonly sym?: string; readonly colour?: string; readonly palette?: Palette },
): TensorCanvas {
  const canvas = h('canvas', { width: 32, height: 32, role: 'img', 'aria-label': label });
  const caption = h('figcaption', {}, ...rich(label));
  const figure = h(
    'figure',
    {
      class: 'dv-picture',
      ...(sym ? { 'data-sym': sym } : {}),
      ...(colour ? { style: `--own: var(--v-${colour})` } : {}),
    },
    canvas,
    caption,
  );
  parent.append(figure);
  return {
    figure,
    canvas,
    draw: (picture, reach = 1) => paint(canvas, picture, palette, reach),
    caption(text) {
      setText(caption, text);
      canvas.setAttribute('aria-label', text);
    },
  };
}

function paint(
  canvas: HTMLCanvasElement,
  { data, channels, width, height }: Picture,
  palette: Palette,
  reach: number,
): void {
  const size = width * height;
  if (palette === 'picture')
    return paintPixels(
      canvas,
      grid(data, [1, channels, height, width], { byte: (v) => (v / reach + 1) * 127.5 }),
    );
  const pixels = new Uint8ClampedArray(3 * size);
  for (let i = 0; i < size; i++) {
    let v = 0;
    for (let k = 0; k < channels; k++) v += data[k * size + i]! / channels;
    const u = Math.min((Math.abs(v) * Math.sqrt(channels)) / reach, 1); // a mean of noises is as much smaller
    const to = v > 0 ? [196, 78, 0] : [20, 84, 170];
    for (let k = 0; k < 3; k++) pixels[3 * i + k] = 250 + u * (to[k]! - 250);
  }
  paintPixels(canvas, { width, height, channels: 3, data: new Uint8Array(pixels.buffer) });
}

export interface Picker {
  /** The picture of now, at the size asked for. */
  readonly picture: Picture;
  /** Another size or channel count; the picture is taken from its source again. */
  resize(width: number, height: number, channels: number): void;
  /** Takes a picture from elsewhere, as from the model. */
  use(picture: Picture): void;
}

const INITIAL = '7';
/** Strokes of the examples, in [0, 1]: a digit that everybody can draw, and two more. */
const EXAMPLES: Readonly<Record<string, readonly (readonly (readonly [number, number])[])[]>> = {
  '7': [[[0.28, 0.27], [0.72, 0.27], [0.66, 0.42], [0.52, 0.6], [0.45, 0.78]]],
  '3': [[[0.33, 0.3], [0.45, 0.23], [0.6, 0.25], [0.65, 0.36], [0.58, 0.45], [0.46, 0.49], [0.6, 0.52], [0.68, 0.63], [0.6, 0.75], [0.45, 0.78], [0.31, 0.71]]],
  star: [[[0.5, 0.15], [0.6, 0.42], [0.88, 0.42], [0.66, 0.58], [0.75, 0.86], [0.5, 0.69], [0.25, 0.86], [0.34, 0.58], [0.12, 0.42], [0.4, 0.42], [0.5, 0.15]]],
}; // prettier-ignore

/**
 * Where the visitor's picture comes from: a small canvas to draw on (white on black, as digits are), a file, an example,
 * or the model. `on` is called with every new picture; first, when the view is complete, with the example 7 or with what
 * the address says (`picture`: 7, 3, star, none, or model-SEED; what was drawn or dropped stays on this machine).
 * @param drawn draws the model's picture of a seed and gives it to `use`
 */
export function picker(
  frame: Frame,
  size: { readonly width: number; readonly height: number; readonly channels: number },
  on: (picture: Picture) => void,
  drawn: (seed: number) => void,
): Picker {
  let { width, height, channels } = size;
  const SIDE = 256;
  const canvas = h('canvas', {
    width: SIDE,
    height: SIDE,
    role: 'img',
    'aria-label': 'Your picture: draw here',
  });
  const context = canvas.getContext('2d', { willReadFrequently: true })!;
  const clear = (): void => {
    context.fillStyle = '#000';
    context.fillRect(0, 0, SIDE, SIDE);
  };
  const pen = (): void => {
    context.strokeStyle = '#fff';
    context.lineWidth = SIDE / 11;
    context.lineCap = context.lineJoin = 'round';
  };
  let picture = read();

  /** The canvas, scaled down with its pixels averaged. */
  function read(): Picture {
    const small = h('canvas', { width, height });
    const c = small.getContext('2d')!;
    c.imageSmoothingQuality = 'high';
    c.drawImage(canvas, 0, 0, width, height);
    const { data } = c.getImageData(0, 0, width, height);
    return { data: toSigned(planesOf(data, channels)), width, height, channels };
  }
  const taken = (): void => {
    picture = read();
    on(picture);
  };
  /** In the address. */
  let source = INITIAL;
  const own = (): void => {
    source = INITIAL;
    taken();
    frame.changed();
  };
  const modelSeed = (): number => Number(/^model-(\d{1,9})$/.exec(source)?.[1] ?? 0);
  /** @param name as in the address; others are ignored */
  function take(name: string): void {
    const known = name === 'none' || Object.hasOwn(EXAMPLES, name);
    if (!known && !/^model-\d{1,9}$/.test(name)) return;
    source = name;
    frame.changed();
    if (!known) return drawn(modelSeed());
    if (name === 'none') clear();
    else example(name);
    taken();
  }

  function example(name: string): void {
    clear();
    pen();
    for (const stroke of EXAMPLES[name]!) {
      context.beginPath();
      stroke.forEach(([x, y], i) => context[i ? 'lineTo' : 'moveTo'](x * SIDE, y * SIDE));
      context.stroke();
    }
  }

  let down: [number, number] | null = null;
  const at = (event: PointerEvent): [number, number] => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  };
  canvas.addEventListener('pointerdown', (event) => {
    canvas.setPointerCapture(event.pointerId);
    down = at(event);
    draw(event);
  });
  canvas.addEventListener('pointermove', (event) => down && draw(event));
  for (const type of ['pointerup', 'pointercancel'] as const)
    canvas.addEventListener(type, () => {
      if (down) own();
      down = null;
    });
  function draw(event: PointerEvent): void {
    pen();
    context.beginPath();
    context.moveTo(...down!);
    context.lineTo(...(down = at(event)));
    context.stroke();
  }

  async function open(file: File | undefined): Promise<void> {
    if (!file) return;
    try {
      frame.fail(null);
      const bitmap = await createImageBitmap(file);
      const side = Math.min(bitmap.width, bitmap.height); // the square in the middle
      clear();
      context.imageSmoothingQuality = 'high';
      context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, SIDE, SIDE); // prettier-ignore
      bitmap.close();
      own();
    } catch {
      const { DiffusionError } = await import('../../core/errors.ts');
      frame.fail(
        new DiffusionError('bad-input', `${file.name} is not a picture.`, 'Choose a PNG, JPEG or WebP file.'),
      );
    }
  }
  const file = h('input', { type: 'file', accept: 'image/*', hidden: true });
  file.addEventListener('change', () => void open(file.files?.[0]).then(() => (file.value = '')));
  const press = (label: string, run: () => void): HTMLElement =>
    h('button', { type: 'button', onclick: run }, label);
  const element = h(
    'div',
    { class: 'dv-picker', role: 'group', 'aria-label': 'Your picture' },
    canvas,
    h(
      'div',
      {},
      h('p', {}, 'Your picture: draw in it, drop a file on it, or take'),
      press('a 7', () => take('7')),
      press('a 3', () => take('3')),
      press('a star', () => take('star')),
      press('one drawn by the model', () => take(`model-${modelSeed() + 1}`)),
      press('a file …', () => file.click()),
      press('nothing', () => take('none')),
      file,
    ),
  );
  element.addEventListener('dragover', (event) => {
    event.preventDefault();
    element.classList.add('over');
  });
  element.addEventListener('dragleave', () => element.classList.remove('over'));
  element.addEventListener('drop', (event) => {
    event.preventDefault();
    element.classList.remove('over');
    void open(event.dataTransfer?.files[0]);
  });
  frame.controls.append(element);
  example(INITIAL);
  later(frame, () => {
    register(frame, 'picture', INITIAL, { get value() { return source; }, set: take }); // prettier-ignore
    if (source === INITIAL) taken();
  });
  return {
    get picture() {
      return picture;
    },
    resize(w, hh, c) {
      [width, height, channels] = [w, hh, c];
      taken();
    },
    use(given) {
      picture = given;
      const small = h('canvas');
      paint(small, given, 'picture', 1);
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, SIDE, SIDE);
      context.imageSmoothingEnabled = true;
      on(given);
    },
  };
}

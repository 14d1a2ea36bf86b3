/** The pictures of this visit, each with the recipe that makes it again. */

import type { Picture } from '../export/png.ts';
import type { Recipe } from '../export/recipe.ts';
import { byId, el } from './dom.ts';

export interface Item {
  readonly picture: Picture;
  readonly recipe: Recipe;
  readonly caption: string;
}

/** So many are kept; the oldest goes first. */
const MOST = 120;

export class Gallery {
  readonly #list = byId<HTMLUListElement>('pictures');
  readonly #onchoose: (item: Item) => void;

  constructor(onchoose: (item: Item) => void) {
    this.#onchoose = onchoose;
    byId('gallery-clear').addEventListener('click', () => {
      this.#list.replaceChildren();
      byId('gallery').hidden = true;
    });
  }

  add(item: Item): void {
    const canvas = el('canvas', { width: item.picture.width, height: item.picture.height });
    paintPicture(canvas, item.picture);
    const button = el(
      'button',
      { type: 'button', title: 'Bring this picture’s settings back' },
      canvas,
      el('span', {}, item.caption),
    );
    button.addEventListener('click', () => this.#onchoose(item));
    this.#list.prepend(el('li', {}, button));
    while (this.#list.childElementCount > MOST) this.#list.lastElementChild!.remove();
    byId('gallery').hidden = false;
  }
}

export function paintPicture(canvas: HTMLCanvasElement, { width, height, channels, data }: Picture): void {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d')!;
  const image = context.createImageData(width, height);
  for (let p = 0; p < width * height; p++) {
    for (let k = 0; k < 3; k++) image.data[4 * p + k] = data[p * channels + (channels === 1 ? 0 : k)]!;
    image.data[4 * p + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

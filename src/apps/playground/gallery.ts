/** The pictures of this visit, each with the recipe that makes it again. */

import type { Pixels } from '../../core/pixels.ts';
import type { Recipe } from '../../session/recipe.ts';
import { paintPixels } from '../../ui/canvas.ts';
import { byId, h } from '../../ui/dom.ts';

export interface Item {
  readonly picture: Pixels;
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
    const canvas = h('canvas');
    paintPixels(canvas, item.picture);
    const button = h(
      'button',
      { type: 'button', title: 'Bring this picture’s settings back' },
      canvas,
      h('span', {}, item.caption),
    );
    button.addEventListener('click', () => this.#onchoose(item));
    this.#list.prepend(h('li', {}, button));
    while (this.#list.childElementCount > MOST) this.#list.lastElementChild!.remove();
    byId('gallery').hidden = false;
  }
}

import { make, type Array4 } from '../helpers/array.ts';

/** The images `repeat` times one after the other, times scale plus offset. */
export function pack(x: Array4, o: { repeat: number; scale: number; offset: number }): Array4 {
  const [n, c, h, w] = x.shape;
  return make([n * o.repeat, c, h, w], (index) => x.data[index % x.data.length]! * o.scale + o.offset);
}

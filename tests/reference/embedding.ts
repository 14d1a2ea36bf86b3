import { make, type Array4 } from '../helpers/array.ts';

export function embedding(x: Array4, table: Array4, labels: ArrayLike<number>): Array4 {
  const c = x.shape[1];
  return make(
    x.shape,
    (index) => x.data[index]! + table.data[labels[Math.floor(index / c)]! * c + (index % c)]!,
  );
}

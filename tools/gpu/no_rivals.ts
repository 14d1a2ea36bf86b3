/** Stands in for tests/bench/ort.ts on the page: its packages are the bench's own, and a visitor's browser has no rivals. */

import type { Engine } from '../../tests/bench/engine.ts';

export const ort = (): Engine => {
  throw new Error('ONNX Runtime Web is compared by npm run bench, not on this page.');
};

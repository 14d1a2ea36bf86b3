/** The bench inside a page: built by browser.ts, called by bench.ts. */

import { httpFiles } from '../../src/loading/http_files.ts';
import { adapterFigures, runSpec, type Place, type Spec } from './job.ts';
import { loadRival } from './rivals.ts';

const place: Place = {
  gpu: () => Promise.resolve(navigator.gpu),
  load: loadRival,
  open: (path) => Promise.resolve(httpFiles(new URL(`/files/${path.replace('../', '')}/`, location.href))),
  ortBase: new URL('/ort/', location.href).href,
};

export const bench = {
  adapter: () => adapterFigures(place),
  run: (spec: Spec) => runSpec(spec, place, (line) => console.log(line)),
  isolated: () => crossOriginIsolated,
};

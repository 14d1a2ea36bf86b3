/** Guidance: what the view shows of a step is what the sampler did in it. */

import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { diskFiles } from '../../src/apps/cli/files.ts';
import { Model } from '../../src/engine/model.ts';
import { guided, moves, runOptions, stepped } from '../../src/apps/article/guidance.ts';
import type { ViewLease } from '../../src/apps/article/view.ts';
import { evaluate, maxDifference, size, trace } from '../../src/apps/article/runs.ts';
import { expectClose } from '../helpers/array.ts';
import { useGpu } from '../helpers/gpu.ts';

const gpu = useGpu();
let lease: ViewLease;
beforeAll(async () => {
  const files = diskFiles(fileURLToPath(new URL('../../weights/digits', import.meta.url)));
  const model = await Model.load(gpu(), files);
  lease = { gpu: gpu(), model, source: { title: 'digits' }, turn: (work) => work(), release: () => {} };
});
afterAll(() => lease.model.destroy());

const { signal } = new AbortController();
const STEPS = 3;
type Said = Awaited<ReturnType<typeof evaluate>>[number];

it.each([0, 1, 2.5, 8])('w = %d: the step from the two pictures shown is the sampler’s', async (w) => {
  const states = await trace(lease, runOptions(lease, 8, w, STEPS, 7), signal);
  expect(states).toHaveLength(STEPS + 1);
  for (let k = 0; k < STEPS; k++) {
    const { x, t } = states[k]!;
    const { step, x: after } = states[k + 1]!;
    const [{ m: ofClass }, { m: ofNull }] = (await evaluate(lease, [x, x], [t, t], [8, null])) as [
      Said,
      Said,
    ];
    const { diff, eps } = guided(ofNull, ofClass, w);
    expectClose(stepped(step!, x, eps), after, { atol: 2e-5, rtol: 0 }, `step ${k}`);
    // The picture of the difference is not black, and explains what the class moves x0Hat by.
    expect(size(diff)).toBeGreaterThan(1e-3);
    const x0 = (m: Float32Array) => x.map((v, i) => step!.x0Hat.x * v + step!.x0Hat.modelOutput * m[i]!);
    const [a, b] = [x0(ofClass), x0(ofNull)];
    const moved = moves(step!, { ofNull, ofClass });
    expect(size(a.map((v, i) => v - b[i]!)) / moved).toBeCloseTo(1, 2);
    // Another strength is another step: the comparison can fail.
    expect(maxDifference(stepped(step!, x, guided(ofNull, ofClass, w + 1).eps), after)).toBeGreaterThan(2e-4);
  }
});

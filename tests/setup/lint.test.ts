/** The rule on who may import whom has teeth. */

import { ESLint } from 'eslint';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const cwd = fileURLToPath(new URL('../..', import.meta.url));

it.each([
  ['src/schedule/x.ts', '../model.ts', false],
  ['src/schedule/x.ts', '../errors.ts', true],
  ['src/gpu/x.ts', '../unet/unet.ts', false],
  ['src/unet/x.ts', '../../shaders/concat.wgsl?raw', false],
  ['src/ops/x.ts', '../../shaders/concat.wgsl?raw', true],
  ['src/unet/x.ts', '../ops/concat.ts', true],
  ['src/model.ts', './session/sample.ts', false],
  ['src/session/sample.ts', '../model.ts', true],
  ['src/core/x.ts', '../session/sample.ts', false],
  ['src/session/x.ts', '../ui/dom.ts', false],
  ['src/ui/x.ts', '../session/player.ts', true],
  ['src/demo/x.ts', '../element/define.ts', false],
  ['src/weights/x.ts', './half.ts', true],
  ['src/weights/x.ts', '../cli/files.ts', false],
])('%s imports %s: %s', async (filePath, path, allowed) => {
  const [result] = await new ESLint({ cwd }).lintText(`export * from '${path}';\n`, { filePath });
  expect(result!.messages.filter((m) => m.ruleId === 'no-restricted-imports')).toHaveLength(allowed ? 0 : 1);
});

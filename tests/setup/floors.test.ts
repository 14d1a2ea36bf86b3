/** The rules of the floors: what they refuse, and that ARCHITECTURE.md draws the code. */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

it('an import that leads up is refused, also a dynamic one and one of types; cycles and loose files too', () => {
  const house = mkdtempSync(join(tmpdir(), 'floors-'));
  const files: Record<string, string> = {
    'core/errors.ts': "import '../schedule/steps.ts';",
    'schedule/steps.ts': 'export type Step = number;',
    'engine/gpu/device.ts': "export const load = () => import('../../session/sample.ts');",
    'loading/runtime.ts': "import type { Player } from '../session/sample.ts'; export type P = Player;",
    'session/sample.ts':
      "import '../core/errors.ts'; import '../engine/gpu/device.ts'; export type Player = 1;",
    'ui/dom.ts': "import '../apps/cli/main.ts';",
    'apps/cli/main.ts': "import '../../session/sample.ts'; import './files.ts';",
    'apps/cli/files.ts': "import './more.ts';",
    'apps/cli/more.ts': "import './files.ts';",
    'loose.ts': "import './core/errors.ts';",
    'ui/unused.ts': 'export {};',
  };
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(house, 'src', path)), { recursive: true });
    writeFileSync(join(house, 'src', path), text);
  }
  writeFileSync(
    join(house, 'tsconfig.json'),
    '{ "compilerOptions": { "allowImportingTsExtensions": true } }',
  );
  const config = join(ROOT, '.dependency-cruiser.cjs');
  const { stdout } = spawnSync(
    process.execPath,
    [
      join(ROOT, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs'),
      '--config',
      config,
      '--output-type',
      'json',
      'src',
    ],
    { cwd: house, encoding: 'utf8' },
  );
  rmSync(house, { recursive: true });
  const { summary } = JSON.parse(stdout) as {
    summary: { violations: { rule: { name: string }; from: string; to: string }[] };
  };
  const found = summary.violations.map(({ rule, from, to }) =>
    `${rule.name}: ${from} ${to}`.replaceAll('src/', ''),
  );
  expect(found.sort()).toEqual([
    'floor-core: core/errors.ts schedule/steps.ts',
    'floor-engine: engine/gpu/device.ts session/sample.ts',
    'floor-loading: loading/runtime.ts session/sample.ts',
    'floor-ui: ui/dom.ts apps/cli/main.ts',
    'no-cycles: apps/cli/files.ts apps/cli/more.ts',
    'no-cycles: engine/gpu/device.ts session/sample.ts',
    'no-orphans: ui/unused.ts ui/unused.ts',
    'on-a-floor: loose.ts core/errors.ts',
  ]);
}, 60_000);

it('ARCHITECTURE.md draws the code', () => {
  execFileSync(process.execPath, [join(ROOT, 'tools/floors.mjs'), '--check'], { cwd: ROOT, stdio: 'pipe' });
}, 120_000);

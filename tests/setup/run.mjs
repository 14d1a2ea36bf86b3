// The whole of `npm test`: prepares the machine, then types, lint, format and every test, Node and browser.
// Arguments go to vitest (`npm test -- tests/ops`); with any, only vitest runs.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { prepareMachine } from './machine.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const REPORT = `${ROOT}/tests/output/report.json`;
const args = process.argv.slice(2);
let passed = 0;
let failed = 0;

const bin = (name) => `${ROOT}/node_modules/.bin/${name}`;

function check(title, command, commandArgs) {
  console.log(`\n=== ${title}`);
  const { status } = spawnSync(command, commandArgs, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] });
  if (status === 0) passed++;
  else failed++;
  return status === 0;
}

try {
  const { env, wrapper } = prepareMachine({ firefox: true, compiler: true });
  Object.assign(process.env, env);
  if (args.length === 0) {
    check('types', bin('tsc'), ['-p', '.']);
    check('lint', bin('eslint'), ['.']);
    check('floors', bin('depcruise'), ['src']);
    check('format', bin('prettier'), ['--check', '--log-level', 'warn', '.']);
  }
  mkdirSync(`${ROOT}/tests/output`, { recursive: true });
  rmSync(REPORT, { force: true });
  console.log('\n=== tests');
  const vitest = [
    bin('vitest'),
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${REPORT}`,
  ];
  const [command, ...rest] = [...wrapper, ...vitest, ...args];
  const { status } = spawnSync(command, rest, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] });
  const report = JSON.parse(readFileSync(REPORT, 'utf8'));
  passed += report.numPassedTests;
  failed += report.numFailedTests + report.numPendingTests + report.numTodoTests; // a skipped test is a failure
  if (report.numTotalTests === 0) failed++;
  // A file that does not load, or an error outside any test, has no failed test to its name.
  if (status !== 0 && report.numFailedTests === 0) failed++;
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : error}`);
  failed++;
}
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

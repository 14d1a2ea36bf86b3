// Runs compile.ts, as src/apps/cli/cli.mjs runs the command line.
import { runTypeScript } from './typescript.mjs';

process.exit(await (await runTypeScript('compile.ts')).main(process.argv[2]));

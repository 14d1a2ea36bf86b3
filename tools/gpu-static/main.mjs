// Runs main.ts: npm run gpu:static.
import { runTypeScript } from './typescript.mjs';

process.exitCode = await (await runTypeScript('main.ts')).main(process.argv.slice(2)); // stdout may be a pipe: let it drain

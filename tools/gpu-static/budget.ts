/** What the kernels may take of a GPU, and which of them take more. */

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import type { Compiled, Row } from './families.ts';

/** The committed file. */
const FILE = fileURLToPath(new URL('budget.json', import.meta.url));

export interface Budget {
  /** The family that it was written for. */
  readonly family: string;
  /** Mesa's version at that time. */
  readonly driver: string;
  /** By kernel: vector registers a lane, bytes of workgroup memory. */
  readonly kernels: Readonly<Record<string, readonly [vgprs: number, lds: number]>>;
}

/**
 * Registers more than the budget that another version of Mesa may take: one step in which RDNA 3 hands out registers to
 * 64 lanes. With the budget's own version there is no slack, as the same text compiles to the same code.
 */
const SLACK = 12;

const REWRITE = 'Rewrite the budget if this is meant: npm run gpu:static -- --write-budget';

export const readBudget = (): Budget => JSON.parse(readFileSync(FILE, 'utf8')) as Budget;

export async function writeBudget({ family, driver, rows }: Compiled): Promise<void> {
  const kernels = Object.fromEntries(rows.map(({ kernel, vgprs, lds }) => [kernel, [vgprs, lds] as const]));
  const budget: Budget = { family, driver, kernels };
  writeFileSync(
    FILE,
    await format(JSON.stringify(budget), { ...(await resolveConfig(FILE)), parser: 'json' }),
  );
}

/** What no budget allows, in sentences: refused shaders, spills, scratch memory. */
export function faultsOf({ family, rows, refused, missing }: Compiled): string[] {
  const spills = ({ kernel, spills, scratch }: Row): string[] => [
    ...(spills > 0 ? [`${kernel} spills ${spills} registers on ${family}.`] : []),
    ...(scratch > 0 ? [`${kernel} takes ${scratch} bytes of scratch memory a wave on ${family}.`] : []),
  ];
  return [
    ...refused.map(({ kernel, message }) => `${kernel} is refused on ${family}: ${message}`),
    ...missing.map((kernel) => `${kernel} is missing on ${family}: the driver compiled no such pipeline.`),
    ...rows.flatMap(spills),
  ];
}

/** What is above the budget, in sentences, and what is not in it or in it alone. */
export function excessOf({ family, driver, rows, refused, missing }: Compiled, budget: Budget): string[] {
  if (family !== budget.family) throw new Error(`The budget is for ${budget.family}, not for ${family}.`);
  const slack = driver === budget.driver ? 0 : SLACK;
  const seen = new Set([...[...rows, ...refused].map(({ kernel }) => kernel), ...missing]);
  const over = rows.flatMap(({ kernel, vgprs, lds }) => {
    const allowed = budget.kernels[kernel];
    if (!allowed) return [`${kernel} is new: it is not in the budget. ${REWRITE}`];
    const [most, memory] = allowed;
    return [
      ...(vgprs > most + slack
        ? [`${kernel} takes ${vgprs} vector registers, and the budget allows ${most}. ${REWRITE}`]
        : []),
      ...(lds > memory
        ? [`${kernel} takes ${lds} bytes of workgroup memory, and the budget allows ${memory}. ${REWRITE}`]
        : []),
    ];
  });
  const gone = Object.keys(budget.kernels).filter(
    (kernel) => !seen.has(kernel) && !seen.has(kernel.replace(/ @\d+$/, '')),
  );
  return [
    ...over,
    ...gone.map((kernel) => `${kernel} is in the budget, and no network uses it any more. ${REWRITE}`),
  ];
}

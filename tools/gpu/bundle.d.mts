export const ROOT: string;
export function commit(): string;
export function bundleForNode(
  entries: Record<string, string>,
  outDir: string,
  external?: string[],
): Promise<void>;
export function bundleForPage(): Promise<string>;

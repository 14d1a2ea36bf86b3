export const OUTPUT: string;
export function findRadv(): string | null;
export function buildLayer(): string;
export function layerEnvironment(
  family: string,
  options?: { out?: string; folder?: string; assembly?: boolean },
): Record<string, string>;

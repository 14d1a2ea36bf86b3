export const siluOf = (x: number): number => x / (1 + Math.exp(-x));

export const ROOT: string;
export const PACK: string;
export const CACHE: string;
export const CARRY: readonly string[];
export const LIMITS: {
  readonly travels: number;
  readonly files: number;
  readonly file: number;
  readonly together: number;
  readonly name: RegExp;
  readonly command: number;
  readonly longest: number;
  readonly total: number;
};
export const AROUND: number;
export function commands(model: string): readonly {
  readonly what: string;
  readonly command: string;
  readonly carry: readonly string[];
  readonly timeout_s: number;
}[];
export function tracked(): string[];
export function onDisk(paths: readonly string[]): number;

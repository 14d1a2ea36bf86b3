/** tools/gpu/page.ts, bundled by tools/gpu/vite_plugin.ts: what gpu.html runs and reports. */
declare module 'virtual:gpu-checks' {
  export interface Report {
    readonly prove: { readonly passes: readonly { readonly facts: { engine: { name: string; isSoftware: boolean } } | null }[] }; // prettier-ignore
    readonly bench: object;
  }
  export interface Watch {
    progress(report: Report, done: number, doing: string): void;
    stopped(): boolean;
  }
  export interface Options {
    address(path: string): string;
    readonly files: readonly string[];
    readonly only: string;
  }
  export function emptyReport(host: Readonly<Record<string, string>>): Report;
  export function run(report: Report, options: Options, watch: Watch): Promise<void>;
  export function textOf(report: Report): string;
  export function countOf(report: Report): Record<'passed' | 'failed' | 'not offered' | 'not run', number>;
  export const files: readonly string[];
  /** The site has those of tests/ below it. */
  export const base: string;
}

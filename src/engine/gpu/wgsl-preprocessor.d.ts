// The package names no entry point, so the file is imported.
declare module 'wgsl-preprocessor/wgsl-preprocessor.js' {
  /** Template tag: resolves `#if ${value}`, `#elif ${value}`, `#else`, `#endif` in WGSL text. */
  export function wgsl(strings: TemplateStringsArray, ...values: unknown[]): string;
}

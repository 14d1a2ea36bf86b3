/** The package's types are those of its main file, which Node does not load: it is CommonJS in a package of modules. */
declare module 'wgsl_reflect/wgsl_reflect.module.js' {
  export * from 'wgsl_reflect';
}

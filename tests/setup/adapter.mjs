// Prints the WebGPU adapter that Dawn finds under the present environment, as JSON; null when there is none.
// A process of its own: a broken driver takes down the process that loads it.
process.env['XDG_RUNTIME_DIR'] ??= '/tmp';
let found = null;
try {
  const dawn = await import('webgpu');
  Object.assign(globalThis, dawn.globals);
  globalThis.keptInstance = dawn.create([]); // Dawn's instance must outlive its adapters
  const adapter = await globalThis.keptInstance.requestAdapter();
  // A device too: an adapter that opens none is of no use.
  if (adapter && (await adapter.requestDevice()))
    found = {
      name: [adapter.info.vendor, adapter.info.architecture, adapter.info.device, adapter.info.description]
        .filter(Boolean)
        .join(' '),
      f16: adapter.features.has('shader-f16'),
    };
} catch (error) {
  console.error(String(error));
}
console.log(JSON.stringify(found));
process.exit(0);

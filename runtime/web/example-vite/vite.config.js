import { defineConfig } from 'vite';

export default defineConfig({
  // Found from wherever the build is put.
  base: './',
  // The worker and the .wasm lie beside the package's modules: leave them there while developing.
  optimizeDeps: { exclude: ['qwenc'] },
});

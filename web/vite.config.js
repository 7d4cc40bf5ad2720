// The page is a handful of files that the server embeds: no inline script, no data URLs (the policy
// allows neither), names by content, and the same bytes from the same sources.
import { defineConfig } from 'vite';

export default defineConfig({
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    outDir: 'dist',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
    sourcemap: false,
  },
  server: { proxy: { '/v1': 'http://127.0.0.1:8000', '/weft': 'http://127.0.0.1:8000' } },
});

// Bundles src/ with Grafana's libraries into dist/, which a file server can serve.
import fs from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';

const files = { '.svg': 'dataurl', '.png': 'dataurl', '.woff': 'dataurl', '.woff2': 'dataurl', '.ttf': 'dataurl' };

const resolution = {
  name: 'resolution',
  setup(bundle) {
    // Its default export is lost on the way from CommonJS.
    bundle.onResolve({ filter: /^react-custom-scrollbars-2$/ }, () => ({ path: path.resolve('src/scrollbars.js') }));
    // Grafana's runtime has version 5 of the router, its scenes version 6: one of them for both.
    bundle.onResolve({ filter: /^react-router-dom$/ }, (asked) =>
      asked.importer.includes('@grafana/scenes')
        ? bundle.resolve('react-router-dom-v5-compat', { kind: asked.kind, resolveDir: asked.resolveDir })
        : undefined,
    );
  },
};

await build({
  entryPoints: ['src/main.jsx'],
  bundle: true,
  outdir: 'dist',
  format: 'esm',
  splitting: true,
  jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"', global: 'globalThis' },
  loader: files,
  mainFields: ['module', 'browser', 'main'],
  plugins: [resolution],
  logLevel: 'error',
});
fs.copyFileSync('index.html', 'dist/index.html');

/**
 * Bundles the commands into dist/: few files load faster than many. dist/bin/ is the whole command line, with what a command
 * alone needs in files of its own; dist/runtime.mjs is `run`, `inspect` and `doctor` in one file that can be copied anywhere, with
 * loader-worker.js and compute-worker.js beside it if threads are to prepare its batches and to compute; dist/test-gpu.mjs the tests of a GPU. The packages are
 * bundled in, their licences beside them; `webgpu`, which is machine code, stays outside.
 */
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(fileURLToPath(import.meta.url), '../..');
const dist = join(root, 'dist');

/** CommonJS packages ask for Node's own modules with `require`. */
const require =
  "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);";

/** protobufjs asks for packages by names that it computes, which no bundler can follow. */
const inquire = {
  name: 'inquire',
  setup: ({ onLoad }) =>
    onLoad({ filter: /@protobufjs[/\\]inquire[/\\]index\.js$/ }, ({ path }) => ({
      contents: `const known = { buffer: require('buffer'), fs: require('fs'), long: require('long') };
        module.exports = (name) => known[name] ?? null;`,
      resolveDir: dirname(path),
    })),
};

/** Names stay as they are, for stack traces. */
const options = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  banner: { js: require },
  external: ['webgpu'],
  plugins: [inquire],
  metafile: true,
  logLevel: 'warning',
};

rmSync(join(dist, 'bin'), { recursive: true, force: true });
const [command, runtime, tests] = await Promise.all([
  build({
    ...options,
    entryPoints: {
      spngdc: 'cli/main.ts',
      'weights-worker': 'cli/weights-worker.ts',
      'loader-worker': 'runtime/data/loader-worker.ts',
      'compute-worker': 'runtime/devices/wasm/compute-worker.ts',
    },
    outdir: 'dist/bin',
    splitting: true,
  }),
  build({ ...options, entryPoints: ['cli/runtime-main.ts'], outfile: 'dist/runtime.mjs' }),
  build({ ...options, entryPoints: ['test/gpu/main.ts'], outfile: 'dist/test-gpu.mjs' }),
  build({ ...options, entryPoints: ['runtime/data/loader-worker.ts'], outfile: 'dist/loader-worker.js' }),
  build({
    ...options,
    entryPoints: ['runtime/devices/wasm/compute-worker.ts'],
    outfile: 'dist/compute-worker.js',
  }),
]);
for (const file of ['bin/spngdc.js', 'runtime.mjs']) chmodSync(join(dist, file), 0o755);

const inputs = [...new Set([command, runtime, tests].flatMap((r) => Object.keys(r.metafile.inputs)))];
const compiler = Object.keys(runtime.metafile.inputs).filter((i) => i.startsWith('compiler/'));
if (compiler.length > 0) throw new Error(`the runtime would bring the compiler along: ${compiler.join(', ')}`);
writeFileSync(join(dist, 'LICENSES.txt'), licenses(inputs));

/** Names, versions and licences of the packages that `files` belong to. */
function licenses(files) {
  const packages = new Set(files.flatMap((f) => f.match(/^.*node_modules\/(@[^/]+\/)?[^/]+/)?.[0] ?? []));
  const texts = [...packages].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
    const file = readdirSync(join(root, folder)).find((f) => /^licen[cs]e/i.test(f));
    if (!file) throw new Error(`${name} has no licence file`);
    return `${name} ${version} (${license})\n\n${readFileSync(join(root, folder, file), 'utf8').trim()}\n`;
  });
  return `The files in this folder hold parts of the following packages.\n\n${texts.join(`\n${'-'.repeat(80)}\n\n`)}`;
}

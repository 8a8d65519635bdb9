/**
 * What a job consists of: the artifact, the bundled runtime, and what a bare Linux lacks to run it, which is Node, Dawn and
 * the Vulkan loader, with the C++ library for where it is missing or old.
 *
 *   run                    the script that starts it
 *   artifact/              as compiled
 *   bin/node               stripped
 *   lib/spngdc.mjs         `run`, `inspect` and `doctor`, with the threads that prepare batches and compute; test-gpu.mjs with the digits, if
 *                          asked for
 *   lib/node_modules/      webgpu, with Dawn for this platform alone
 *   lib/vulkan/, lib/c++/  libraries for machines that have none
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MANIFEST } from '../ir/artifact.js';
import {
  nodeNotAlone,
  noSuchLoader,
  notBundled,
  nothingForGpu,
  packElsewhere,
  withoutLoader,
} from '../ir/diagnostics/pack.js';
import { loadArtifact } from '../runtime/artifact.js';
import { findLibrary, loadedLibrary } from '../runtime/machine/libraries.js';
import { loadsScript, runScript } from './run-script.js';
import type { Tools } from './tools.js';

/** A file of the job. */
export interface Part {
  /** In the job's folder. */
  readonly path: string;
  readonly from: { readonly file: string } | { readonly text: string };
  readonly executable?: boolean;
  /** Machine code whose symbols nobody needs. */
  readonly strip?: boolean;
}

export interface JobOptions {
  /** With `./run test-gpu`. */
  readonly tests?: boolean;
  /** A libvulkan.so.1 to bring along, instead of the one that is installed. */
  readonly vulkanLoader?: string;
}

export interface Job {
  readonly parts: readonly Part[];
  readonly notices: readonly string[];
  /** Bytes of the weights among the parts. */
  readonly weights: number;
}

/** Libraries that come with glibc, and those that the job brings along. */
const provided = /^(lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so|ld-linux)/;

/**
 * @param dir an artifact; it is checked
 * @throws UserError E4xx for the artifact, E701-E707
 */
export function partsOf(dir: string, { tests = false, vulkanLoader }: JobOptions, tools: Tools): Job {
  if (process.platform !== 'linux') throw packElsewhere(process.platform);
  const { manifest, files } = loadArtifact(dir);
  const root = packageFolder();
  const bundled = (path: string, name: string): Part => ({
    path: `lib/${path}`,
    from: { file: existing(join(root, name)) },
  });
  const notices: string[] = [];
  const parts: Part[] = [
    { path: 'run', from: { text: runScript }, executable: true },
    ...[MANIFEST, ...files.keys()].map((path): Part => ({ path: `artifact/${path}`, from: { file: join(dir, path) } })),
    { path: 'bin/node', from: { file: standaloneNode(tools) }, executable: true, strip: true },
    ...['libstdc++.so.6', 'libgcc_s.so.1'].map(
      (name): Part => ({ path: `lib/c++/${name}`, from: { file: existing(loadedLibrary(name) ?? name) }, strip: true }),
    ),
    { path: 'lib/loads.cjs', from: { text: loadsScript } },
    bundled('spngdc.mjs', 'dist/runtime.mjs'),
    bundled('loader-worker.js', 'dist/loader-worker.js'),
    bundled('compute-worker.js', 'dist/compute-worker.js'),
    { path: 'lib/package.json', from: { text: '{ "type": "module" }\n' } },
    bundled('LICENSES.txt', 'dist/LICENSES.txt'),
  ];
  if (tests || manifest.programs.some((p) => p.target === 'webgpu')) {
    parts.push(...dawnParts(root));
    const loader = vulkanLoader ?? findLibrary('libvulkan.so.1');
    if (vulkanLoader !== undefined && !existsSync(vulkanLoader)) throw noSuchLoader(vulkanLoader);
    if (loader === undefined) notices.push(withoutLoader);
    else parts.push({ path: 'lib/vulkan/libvulkan.so.1', from: { file: loader }, strip: true });
  }
  if (tests)
    parts.push(
      bundled('test-gpu.mjs', 'dist/test-gpu.mjs'),
      ...['digits.onnx', 'digits.csv.gz'].map((f) => bundled(`digits/${f}`, `examples/digits/${f}`)),
    );
  const nodeLicence = join(dirname(realpathSync(process.execPath)), '..', 'LICENSE');
  if (existsSync(nodeLicence)) parts.push({ path: 'bin/LICENSE', from: { file: nodeLicence } });
  return { parts, notices, weights: manifest.files['weights.safetensors']?.bytes ?? 0 };
}

function existing(file: string): string {
  if (!existsSync(file)) throw notBundled(file);
  return realpathSync(file);
}

/** The folder of this package, whether this file is run as it is, built or bundled. */
function packageFolder(): string {
  let at = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(at, 'package.json'))) at = dirname(at);
  return at;
}

/** The Node that runs here. Some distributions' needs a dozen libraries more. */
function standaloneNode({ readelf }: Tools): string {
  const node = realpathSync(process.execPath);
  const { stdout } = spawnSync(readelf, ['-d', node], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } });
  const needed = [...stdout.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map((m) => m[1]);
  const foreign = needed.filter((l) => !provided.test(l));
  if (foreign.length > 0) throw nodeNotAlone(node, foreign);
  return node;
}

/** The package `webgpu` with nothing but what this platform loads. */
function dawnParts(root: string): Part[] {
  let folder: string;
  try {
    folder = dirname(createRequire(join(root, 'package.json')).resolve('webgpu'));
  } catch {
    throw nothingForGpu();
  }
  const code = `dist/${process.platform}-${process.arch}/dawn.node`;
  if (!existsSync(join(folder, code))) throw nothingForGpu();
  const { name, version, type, main } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const at = `lib/node_modules/${basename(folder)}`;
  return [
    { path: `${at}/package.json`, from: { text: `${JSON.stringify({ name, version, type, main })}\n` } },
    ...[main as string, 'LICENSE.md'].map((f): Part => ({ path: `${at}/${f}`, from: { file: join(folder, f) } })),
    { path: `${at}/${code}`, from: { file: join(folder, code) }, strip: true },
  ];
}

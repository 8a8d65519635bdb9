/**
 * Dawn on a software Vulkan driver: SwiftShader out of the npm package of a headless Chromium, unpacked into the temporary
 * folder. Plain JavaScript, since a worker thread loads it without a build.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';

const require = createRequire(import.meta.url);

/** The folder with the driver and a Vulkan loader. */
function unpacked() {
  const root = fileURLToPath(new URL('../../node_modules/@sparticuz/chromium', import.meta.url));
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const folder = join(tmpdir(), `spngdc-swiftshader-${version}`);
  if (existsSync(folder)) return folder;
  const temporary = mkdtempSync(`${folder}-`);
  const tar = join(temporary, 'swiftshader.tar');
  writeFileSync(tar, brotliDecompressSync(readFileSync(join(root, 'bin/swiftshader.tar.br'))));
  const fresh = join(temporary, 'new');
  mkdirSync(fresh);
  execFileSync('tar', ['-xf', tar, '-C', fresh]);
  try {
    renameSync(fresh, folder);
  } catch (e) {
    // Another test file was faster.
    if (!existsSync(folder)) throw e;
  }
  rmSync(temporary, { recursive: true, force: true });
  return folder;
}

/** Kept: a library that is collected is closed. */
export let loader;

/** Makes this process find SwiftShader when Dawn asks for a Vulkan driver. Call it before `webgpu` is imported. */
export function useSwiftShader() {
  const folder = unpacked();
  process.env.VK_DRIVER_FILES = process.env.VK_ICD_FILENAMES = join(folder, 'vk_swiftshader_icd.json');
  process.env.XDG_RUNTIME_DIR ??= tmpdir();
  // Dawn opens the loader by its name, and finds the one that is there.
  loader = require('koffi').load(join(folder, 'libvulkan.so.1'));
}

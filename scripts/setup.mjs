// Makes a fresh clone runnable: installs the locked dependencies if they are missing or stale, and builds and bundles dist/.
// Plain Node, no dependencies of its own; called by every script that a user runs.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

export function run(command, args, options = {}) {
  const r = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (r.error) throw r.error;
  return r.status ?? 1;
}

function must(command, args) {
  const status = run(command, args);
  if (status !== 0) process.exit(status);
}

export function setup({ build = true } = {}) {
  const [major] = process.versions.node.split('.').map(Number);
  if (major < 20) {
    console.error(`spngdc needs Node 20 or newer; this is ${process.version}.`);
    process.exit(1);
  }
  const lock = readFileSync(join(root, 'package-lock.json'), 'utf8');
  const stamp = join(root, 'node_modules', '.spngdc-lock');
  const installed = existsSync(stamp) && readFileSync(stamp, 'utf8') === lock;
  if (!installed) {
    console.error('Installing dependencies (npm install) ...');
    // Not `npm ci`: it refuses a lock file that lacks optional packages of other platforms. The locked versions are taken all the same.
    must('npm', ['install', '--no-save', '--ignore-scripts', '--no-fund', '--no-audit', '--loglevel=error']);
    writeFileSync(stamp, lock);
  }
  if (build) must(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json']);
  if (build) must(process.execPath, [join(root, 'scripts/bundle.mjs')]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setup();

/**
 * The benchmarks: `npm run bench` runs all and writes bench/results/DATE-cpu.md, `npm run bench -- gemm` one. Arguments: names of cases, and
 *   --only PART       parts of row names
 *   --threads N       the several threads of what runs on one and on several (default 2)
 *   --seconds S       for the rounds of one comparison (default 3)
 *   --clock NAME      processor (default) or wall, for what runs in this process
 *   --write           writes the table though not all cases ran
 *   --into FILE       one case, in this process, its rows as JSON
 * Numbers are never asserted: they are of this machine, and of who else used it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { convolutions, grouped } from './cases/convolutions.js';
import { factors } from './cases/factors.js';
import { forward } from './cases/forward.js';
import { gemm } from './cases/gemm.js';
import { resnet } from './cases/resnet20.js';
import { smallNets } from './cases/small-nets.js';
import type { Case, Context } from './harness/case.js';
import { runCase, type Section, writeTable } from './harness/table.js';

const cases: readonly Case[] = [gemm, convolutions, grouped, smallNets, forward, resnet, factors];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', multiple: true, default: [] },
    threads: { type: 'string', default: '2' },
    seconds: { type: 'string', default: '3' },
    clock: { type: 'string', default: 'processor' },
    write: { type: 'boolean', default: false },
    into: { type: 'string' },
  },
});
const unknown = positionals.filter((p) => !cases.some((c) => c.name === p));
if (unknown.length > 0) {
  console.error(`no case ${unknown.join(', ')}; there are ${cases.map((c) => c.name).join(', ')}`);
  process.exit(2);
}
const context: Context = {
  threads: Number(values.threads),
  budget: Number(values.seconds),
  clock: values.clock === 'wall' ? 'wall' : 'processor',
  only: values.only,
  note: (text) => console.error(`  ${text}`),
};
// No baseline code, ours or a peer's, in what is measured: V8 would replace it when its threads get to it.
setFlagsFromString('--no-liftoff');
if (values.into !== undefined) {
  const section = await runCase(cases.find((c) => c.name === positionals[0])!, context);
  writeFileSync(values.into, JSON.stringify(section));
  process.exit(0);
}
const folder = mkdtempSync(join(tmpdir(), 'spngdc-bench-'));
const sections: Section[] = [];
const failed: string[] = [];
for (const { name } of cases) {
  if (positionals.length > 0 && !positionals.includes(name)) continue;
  const into = join(folder, `${name}.json`);
  const options = process.argv.slice(2).filter((a) => !positionals.includes(a) && a !== '--write');
  // A process of its own: no case meets what another one left.
  spawnSync(process.execPath, [...process.execArgv, process.argv[1], name, '--into', into, ...options], {
    stdio: 'inherit',
  });
  if (existsSync(into)) sections.push(JSON.parse(readFileSync(into, 'utf8')));
  else failed.push(name);
}
rmSync(folder, { recursive: true, force: true });
if (failed.length > 0) console.error(`failed: ${failed.join(', ')}`);
if (positionals.length === 0 || values.write) console.log(`written to ${writeTable(sections, context.clock)}`);
process.exit(failed.length > 0 ? 1 : 0);

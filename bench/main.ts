/**
 * The benchmarks: `npm run bench` runs all and writes bench/results/DATE-cpu.md, `npm run bench -- gemm` one. Arguments: names of cases, and
 *   --only PART       parts of row names
 *   --threads N       the several threads of what runs on one and on several (default 2)
 *   --seconds S       for the rounds of one comparison (default 3)
 *   --clock NAME      processor (default) or wall, for what runs in this process
 *   --write           writes the table though not all cases ran
 * Numbers are never asserted: they are of this machine, and of who else used it.
 */
import { parseArgs } from 'node:util';
import { convolutions, grouped } from './cases/convolutions.js';
import { factors } from './cases/factors.js';
import { forward } from './cases/forward.js';
import { gemm } from './cases/gemm.js';
import { resnet } from './cases/resnet20.js';
import { smallNets } from './cases/small-nets.js';
import type { Case, Context } from './harness/case.js';
import { Table } from './harness/table.js';

const cases: readonly Case[] = [gemm, convolutions, grouped, smallNets, forward, resnet, factors];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', multiple: true, default: [] },
    threads: { type: 'string', default: '2' },
    seconds: { type: 'string', default: '3' },
    clock: { type: 'string', default: 'processor' },
    write: { type: 'boolean', default: false },
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
const table = new Table(context);
for (const c of cases) if (positionals.length === 0 || positionals.includes(c.name)) await table.run(c);
if (positionals.length === 0 || values.write) console.log(`written to ${table.write()}`);
process.exit(0);

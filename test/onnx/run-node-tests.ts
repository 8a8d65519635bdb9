/**
 * The ONNX project's single-node tests, each through the importer and then, a column each, by every target of node-case.ts: npx tsx test/onnx/run-node-tests.ts [PATTERN] prints what passed, failed and is unsupported per op.
 */
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import onnxProto from 'onnx-proto';
import { type NodeTest, readNodeTests } from '../frontend/onnx-node-tests.js';
import { type Column, columnNames, columns, type Outcome, runCase, type Status } from './node-case.js';

export const DATA = '../shared/data/onnx-tests';
const statuses = ['passed', 'failed', 'unsupported'] as const satisfies readonly Status[];

export interface Case extends NodeTest {
  /** `Relu`; ops outside ai.onnx with their domain. */
  readonly op: string;
  /** On an op that training uses: a line of training-relevant.txt. */
  readonly relevant: boolean;
}

export interface Result extends Outcome, Pick<Case, 'name' | 'op' | 'relevant'> {}

/** The cases of one node, by op and name; 1,304 in ONNX 1.22. */
export function singleNodeCases(): Case[] {
  const relevant = new Set(readFileSync(`${DATA}/training-relevant.txt`, 'utf8').split('\n'));
  return readNodeTests(`${DATA}/onnx-node-tests-v1.22.0.tar.xz`)
    .flatMap((t) => {
      const nodes = onnxProto.onnx.ModelProto.decode(t.model).graph?.node ?? [];
      // A node with a subgraph holds more than one.
      if (nodes.length !== 1 || nodes[0].attribute?.some((a) => a.g || a.graphs?.length)) return [];
      const { domain, opType } = nodes[0];
      const op = domain && domain !== 'ai.onnx' ? `${domain}::${opType}` : `${opType}`;
      return [{ ...t, op, relevant: relevant.has(t.name) }];
    })
    .sort((a, b) => compareText(a.op, b.op) || compareText(a.name, b.name));
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** @param known cases and columns, `test_relu webgpu`, that are known to pass and need not be run once more */
export async function runCases(cases: readonly Case[], known: ReadonlySet<string> = new Set()): Promise<Result[]> {
  const results: Result[] = [];
  for (const c of cases) {
    const outcome = await runCase(c, (column) => known.has(`${c.name} ${column}`));
    results.push({ name: c.name, op: c.op, relevant: c.relevant, ...outcome });
  }
  return results;
}

/** `test_relu evaluator wasm`: the lines of passing.txt, sorted by name. */
export function passingLines(results: readonly Result[]): string[] {
  return results
    .flatMap(({ name, status }) => {
      const passed = columns.filter((c) => status[c] === 'passed');
      return passed.length > 0 ? [`${name} ${passed.join(' ')}`] : [];
    })
    .sort(compareText);
}

const count = (results: readonly Result[], column: Column, status: Status): number =>
  results.filter((r) => r.status[column] === status).length;

/** A markdown table: a line per op, then totals. */
export function table(results: readonly Result[]): string {
  const ops = [...new Set(results.map((r) => r.op))];
  const line = (name: string, own: readonly Result[]): string =>
    `| ${[name, own.length, ...columns.flatMap((c) => statuses.map((s) => count(own, c, s)))].join(' | ')} |`;
  return [
    `| op | cases | ${columns.flatMap((c) => statuses.map((s) => `${c} ${s}`)).join(' | ')} |`,
    `|---|${'---:|'.repeat(1 + columns.length * statuses.length)}`,
    ...ops.map((op) =>
      line(
        op,
        results.filter((r) => r.op === op),
      ),
    ),
    line('**all**', results),
    line(
      '**training-relevant**',
      results.filter((r) => r.relevant),
    ),
  ].join('\n');
}

/** docs/onnx-ops.md. */
export function page(results: readonly Result[]): string {
  const relevant = results.filter((r) => r.relevant);
  const passed = columns.map((c) => `${count(relevant, c, 'passed')} on ${columnNames[c]}`);
  return `# ONNX ops

The ${results.length.toLocaleString('en')} single-node tests of ONNX 1.22, each read by the importer and then run by the float64 evaluator, as compiled
WebAssembly, and as WGSL on a software GPU. Of the ${relevant.length} on ops that training uses, ${passed.slice(0, -1).join(', ')} and ${passed.at(-1)} pass.

- *passed*: every output within 1e-6 + 1e-4 |expected| (ONNX's own runner allows 1e-7 + 1e-3 |expected|; 16-bit references
  get one unit of their precision).
- *failed*: another answer, or a fault of the compiler. There are none, or the tests fail.
- *unsupported*: refused by a numbered error (E1xx) that says what is not known.

Inputs are data where the importer takes them so; shapes, axes and the like are constants of the model. ${results.filter((r) => r.folded && r.status.wasm === 'passed').length} cases pass with
all inputs constant, by folding: shape arithmetic and integer arithmetic.

Written by \`UPDATE_DOCS=1 npx vitest run test/onnx\`; \`npx tsx test/onnx/run-node-tests.ts [PATTERN]\` prints the table, and why.

${table(results)}
`;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const pattern = new RegExp(process.argv[2] ?? '');
  const results = await runCases(singleNodeCases().filter((c) => pattern.test(c.name)));
  for (const { name, status, why } of results)
    for (const c of columns)
      if (status[c] === 'failed' || (process.argv[2] && why[c])) console.log(`${name} ${c} ${status[c]}: ${why[c]}`);
  console.log(table(results));
  if (columns.some((c) => count(results, c, 'failed') > 0)) process.exitCode = 1;
}

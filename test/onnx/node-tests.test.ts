/**
 * What the single-node tests of ONNX pass only grows: no supported case fails, every case in passing.txt still passes, and
 * docs/onnx-ops.md says what is so today. UPDATE_LIST=1 adds what passes newly, UPDATE_DOCS=1 writes the page anew.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { columns } from './node-case.js';
import { DATA, page, passingLines, runCases, singleNodeCases } from './run-node-tests.js';

const hasData = existsSync(`${DATA}/training-relevant.txt`);
if (!hasData) console.warn(`SKIPPED: the ONNX node tests need ${DATA}`);

const LIST = 'test/onnx/passing.txt';
const PAGE = 'docs/onnx-ops.md';

/** `test_relu evaluator wasm` as pairs of case and column. */
const pairs = (lines: readonly string[]): string[] =>
  lines.flatMap((line) => {
    const [name, ...passed] = line.split(' ');
    return passed.map((column) => `${name} ${column}`);
  });

const listed = existsSync(LIST) ? readFileSync(LIST, 'utf8').split('\n').filter(Boolean) : [];

/**
 * A software GPU takes a quarter of a second for a case: `npm run prove` and a new list run them all there, `npm test` every
 * tenth of those in the list, and all that are not.
 */
const all = Boolean(process.env.SPNGDC_PROVE || process.env.UPDATE_LIST === 'webgpu');
const known = new Set(all ? [] : pairs(listed).filter((p, i) => p.endsWith(' webgpu') && i % 30 >= 3));
const results = hasData ? await runCases(singleNodeCases(), known) : [];

describe.runIf(hasData)('ONNX single-node tests', () => {
  const today = passingLines(results);
  const passing = new Set(pairs(today));

  it('are 1,304, of which 731 matter for training', () => {
    expect(results.length).toBe(1304);
    expect(results.filter((r) => r.relevant).length).toBe(731);
  });

  it('fail for no form that the importer takes', () => {
    const failed = results.flatMap((r) =>
      columns.filter((c) => r.status[c] === 'failed').map((c) => `${r.name} ${c}: ${r.why[c]}`),
    );
    expect(failed).toEqual([]);
  });

  it(`pass as ${LIST} says`, () => {
    expect(pairs(listed).filter((p) => !passing.has(p))).toEqual([]);
    if (process.env.UPDATE_LIST) writeFileSync(LIST, `${today.join('\n')}\n`);
    else {
      const known = new Set(pairs(listed));
      const fresh = [...passing].filter((p) => !known.has(p));
      expect(fresh, 'these pass now: UPDATE_LIST=1 npx vitest run test/onnx adds them to the list').toEqual([]);
    }
  });

  it('pass on at least 600 of the training-relevant ones, in every column', () => {
    for (const c of columns)
      expect(results.filter((r) => r.relevant && r.status[c] === 'passed').length, c).toBeGreaterThanOrEqual(600);
  });

  it(`are counted in ${PAGE}`, () => {
    if (process.env.UPDATE_DOCS) writeFileSync(PAGE, page(results));
    expect(readFileSync(PAGE, 'utf8'), 'UPDATE_DOCS=1 npx vitest run test/onnx writes it anew').toBe(page(results));
  });
});

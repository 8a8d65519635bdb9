/**
 * That a compilation's work grows in line with the graph, without a clock: how often each piece of the compiler's code runs,
 * for a chain and for one twice as long.
 */
import { Session } from 'node:inspector/promises';
import { setFlagsFromString } from 'node:v8';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runPasses } from '../../compiler/compile.js';
import { printModule } from '../../ir/text/print-graph.js';
import { printProgram } from '../../ir/text/print-program.js';
import { chain } from '../chain.js';

/** How often each block of the compiler and of the language ran while a chain of `nodes` nodes was compiled. */
async function work(nodes: number): Promise<Map<string, number>> {
  const model = chain(nodes);
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  const { train, code } = runPasses(model, 'chain.onnx', { init: 'he-normal', batch: 4 });
  printModule(train);
  for (const { program } of code) printProgram(program);
  const { result } = await session.post('Profiler.takePreciseCoverage');
  session.disconnect();
  const counts = new Map<string, number>();
  for (const { url, functions } of result) {
    if (!/\/(?:compiler|ir)\//.test(url)) continue;
    const file = url.slice(url.search(/(?:compiler|ir)\//));
    for (const f of functions)
      for (const { startOffset, count } of f.ranges) {
        const key = `${file}: ${f.functionName} at ${startOffset}`;
        counts.set(key, Math.max(count, counts.get(key) ?? 0));
      }
  }
  return counts;
}

// Code that is optimised does not count what it inlines.
beforeAll(() => setFlagsFromString('--no-opt'));
afterAll(() => setFlagsFromString('--opt'));

describe('a compilation', () => {
  it('does twice the work for twice the nodes', async () => {
    // First of all, so that nothing is counted that happens once.
    await work(5);
    const [short, long] = [await work(240), await work(480)];
    const steep = [...long]
      .map(([place, count]) => ({ place, count, growth: count / (short.get(place) ?? 0) }))
      // n log n is 2.3 here; what is quadratic, 4. Below a visit a node, nothing can be said.
      .filter(({ count, growth }) => count > 1000 && growth > 2.5);
    expect(steep).toEqual([]);
  });
});

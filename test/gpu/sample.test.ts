/**
 * The tests of a GPU, tested: a sample of them on a software driver, wrong results that must be seen, and the program itself.
 */
import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lowerForGpu } from '../../compiler/kernels/gpu/lower.js';
import { opNames, ops } from '../../ir/ops/table.js';
import { tensor } from '../../ir/types.js';
import { requireAdapter } from '../../runtime/devices/webgpu/adapter.js';
import { useSwiftShader } from '../targets/swiftshader.mjs';
import { complaint } from './compare.js';
import { TestDevice } from './device.js';
import { builder, problem } from './problem.js';
import { problems, type Result, runTests, testsOf } from './suite.js';

useSwiftShader();

async function run(tests: Parameters<typeof runTests>[1]): Promise<Result[]> {
  const results: Result[] = [];
  await runTests(await TestDevice.open(await requireAdapter('SwiftShader')), tests, (r) => results.push(r));
  return results;
}

describe('the suite', () => {
  it('names each test once, and leaves no op out', () => {
    const all = testsOf(problems, true);
    expect(new Set(all.map((t) => t.name)).size).toBe(all.length);
    const text = all.map((t) => t.name).join('\n');
    const missing = opNames.filter((op) => {
      // Composites become others before kernels are made; a refresh is the memory of its operand.
      if (ops[op].fuse === 'composite' || op === 'refresh' || op === 'fill' || op === 'iota') return false;
      return op !== 'random_uniform' && op !== 'damped_inverse' && !new RegExp(`\\b${op}\\b`).test(text);
    });
    // Each is told together with what it is the gradient of.
    expect(missing).toEqual(['max_pool_grad', 'avg_pool_grad']);
  });

  it('passes on a software driver, every 70th test', async () => {
    const tests = testsOf(problems, false).filter((t, i) => i % 70 === 0 && t.feature === undefined);
    const results = await run(tests);
    expect(results.filter((r) => r.wrong !== undefined).map((r) => `${r.test.name}: ${r.wrong}`)).toEqual([]);
    expect(results).toHaveLength(tests.length);
  });

  it('sees a kernel that computes another thing, and one that does not compile', async () => {
    const graph = (op: 'add' | 'sub') => {
      const b = builder();
      b.output('y', b.node(op, [b.input('x', tensor('f32', [9])), b.input('z', tensor('f32', [9]))]));
      return b.finish();
    };
    const other = problem('a: subtracts', graph('add'), [
      ['wrong', (region, name) => lowerForGpu({ ...region, nodes: [{ ...region.nodes[0], op: 'sub' }] }, name)],
      ['invalid', (region, name) => ({ ...lowerForGpu(region, name), workgroup: 100_000 })],
    ]);
    const results = await run(testsOf([other], false));
    const wrong = Object.fromEntries(results.map((r) => [r.test.way.name, r.wrong]));
    expect(wrong.wrong).toMatch(/^y\[0\] is .*, not /);
    expect(wrong.invalid).toMatch(/workgroup/);
  });
});

it('compares: what is not a number is nothing else, and what is beyond f32 is infinite', () => {
  const of = (want: number, got: number): string | undefined =>
    complaint({ name: 'y', memory: 0, values: Float64Array.of(want), tolerance: { own: 1e-6 } }, [got]);
  expect(of(1, 1 + 1e-7)).toBeUndefined();
  expect(of(Number.NaN, Number.NaN)).toBeUndefined();
  expect(of(1e39, Number.POSITIVE_INFINITY)).toBeUndefined();
  expect(of(1, 1.001)).toBeDefined();
  expect(of(Number.NaN, 0)).toBeDefined();
  expect(of(0, Number.NaN)).toBeDefined();
  expect(of(Number.POSITIVE_INFINITY, 3e38)).toBeDefined();
});

describe('the bundled program', () => {
  const start = (...args: string[]) => {
    const env = { ...process.env, LD_LIBRARY_PATH: dirname(process.env.VK_DRIVER_FILES!) };
    const { stdout, stderr, status } = spawnSync(process.execPath, ['dist/test-gpu.mjs', ...args], {
      env,
      encoding: 'utf8',
    });
    return { lines: stdout.trimEnd().split('\n'), stderr, status };
  };

  it('closes with the counts alone on the last line', () => {
    const { lines, status } = start('--device', 'SwiftShader', '--only', 'joined');
    expect(lines.at(-1)).toBe('4 passed, 0 failed');
    expect(status).toBe(0);
  });

  it('takes no software adapter that was not named', () => {
    const { lines, stderr, status } = start('--only', 'joined');
    expect(stderr).toContain('error E431');
    expect(lines.at(-1)).toBe('0 passed, 1 failed');
    expect(status).toBe(1);
  });
});

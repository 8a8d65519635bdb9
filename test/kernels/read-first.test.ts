import { expect, it } from 'vitest';
import { readFirst } from '../../compiler/kernels/read-first.js';
import { add, load, loop, ref, type Stmt, store } from '../../ir/kernel.js';
import { interpret } from '../../ir/kernel-interpret.js';
import { kernelOf, param } from '../targets/run-wasm.js';

it('an output may take the place of an operand that a later output needs', () => {
  const params = [param('p0', 4), param('p1', 4), param('p2', 4, 'f32', 'write'), param('p3', 4, 'f32', 'write')];
  const at = ref('i');
  const sum = add(load('p0', at), load('p1', at));
  const stores: Stmt[] = [store('p2', at, sum), store('p3', at, add(sum, load('p1', at)))];
  const body = [loop('grid', 'i', 4, stores)];
  const over = (statements: readonly Stmt[]): number[] => {
    const [p0, p1, p3] = [Float32Array.of(1, 2, 3, 4), Float32Array.of(10, 20, 30, 40), new Float32Array(4)];
    // p2 is written where p0 is read.
    interpret(kernelOf('k', params, [...statements]), { p0, p1, p2: p0, p3 });
    return [...p0, ...p3];
  };
  const want = [11, 22, 33, 44, 21, 42, 63, 84];
  expect(over(body)).not.toEqual(want);
  expect(over(readFirst(body, params, (name) => name))).toEqual(want);
});

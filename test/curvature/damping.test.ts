/**
 * Golden numbers computed by hand from SP-NGD eq 12 and 17 (8 digits given, hence 1e-8), and the invariance that makes the
 * paper's and its code's placement of 1/(h w) the same algorithm.
 */
import { describe, expect, it } from 'vitest';
import { splitDamping } from '../../compiler/curvature/damping.js';
import { solveUnitBlocks } from '../../compiler/curvature/unit-blocks.js';
import { Builder } from '../../ir/builder.js';
import { evaluate } from '../../ir/evaluate.js';
import type { Value } from '../../ir/graph.js';
import { symmetric, tensor } from '../../ir/types.js';
import { loc, noise } from '../nets.js';

const scalar = tensor('f32', []);

/** U = (G + shiftG I)^-1 dW (A + shiftA I)^-1 for a [3, 4] gradient, with both shifts. */
function preconditioner() {
  const b = new Builder('f', loc);
  const A = b.input('A', symmetric(4));
  const G = b.input('G', symmetric(3));
  const gradient = b.input('dW', tensor('f32', [3, 4]));
  const { shiftA, shiftG } = splitDamping(b, A, G, b.input('damping', scalar));
  const inverse = (x: Value, shift: Value) =>
    b.node('unpack', [b.node('damped_inverse', [x, shift, x], { attrs: { retries: 0 } })]);
  b.output('shiftA', shiftA);
  b.output('shiftG', shiftG);
  b.output('U', b.matmul(b.matmul(inverse(G, shiftG), gradient), inverse(A, shiftA)));
  return b.finish();
}

describe('splitDamping', () => {
  it('gives the worked example', () => {
    const b = new Builder('f', loc);
    const { shiftA, shiftG } = splitDamping(
      b,
      b.input('A', symmetric(2)),
      b.input('G', symmetric(2)),
      b.input('damping', scalar),
    );
    b.output('shiftA', shiftA);
    b.output('shiftG', shiftG);
    const shifts = (A: number[], G: number[]) => {
      const { outputs } = evaluate(b.finish(), { A, G, damping: [0.04] });
      return [outputs.shiftA[0], outputs.shiftG[0]];
    };
    const [a, g] = shifts([2, 0, 6], [1, 0, 3]);
    expect(a).toBeCloseTo(0.28284271, 8);
    expect(g).toBeCloseTo(0.14142136, 8);
    // pi = 1 where a trace is zero, infinite or not a number.
    for (const odd of [0, Number.POSITIVE_INFINITY, Number.NaN]) {
      for (const s of [shifts([odd, 0, odd], [1, 0, 3]), shifts([2, 0, 6], [odd, 0, odd])]) {
        expect(s[0]).toBeCloseTo(0.2, 12);
        expect(s[1]).toBeCloseTo(0.2, 12);
      }
    }
  });

  it('makes (A, G) and (c A, G / c) precondition alike', () => {
    const spd = (n: number, key: number) => {
      const m = noise(n * n, key);
      return Array.from({ length: n }, (_, i) => i).flatMap((i) =>
        Array.from({ length: i + 1 }, (_, j) =>
          Array.from({ length: n }, (_, k) => m[i * n + k] * m[j * n + k]).reduce((s, v) => s + v, i === j ? 0.1 : 0),
        ),
      );
    };
    const [A, G, dW] = [spd(4, 1), spd(3, 2), noise(12, 3)];
    const U = (c: number) =>
      evaluate(preconditioner(), { A: A.map((v) => v * c), G: G.map((v) => v / c), dW, damping: [0.04] }).outputs.U;
    const one = U(1);
    for (const c of [10, 1e-3, 1e4])
      U(c).forEach((v, i) => {
        expect(v).toBeCloseTo(one[i], 12);
      });
  });
});

describe('solveUnitBlocks', () => {
  it('gives the worked example', () => {
    const b = new Builder('f', loc);
    const vector = tensor('f32', [2]);
    const u = solveUnitBlocks(
      b,
      b.input('F', tensor('f32', [3, 2])),
      b.input('gamma', vector),
      b.input('beta', vector),
      b.input('damping', scalar),
    );
    b.output('gamma', u.gamma);
    b.output('beta', u.beta);
    // Both channels hold the same block; the gradients pick out its inverse's columns.
    const F = [0.5, 0.5, 0.1, 0.1, 0.3, 0.3];
    const { outputs } = evaluate(b.finish(), { F, gamma: [1, 0], beta: [0, 1], damping: [0.01] });
    const expected = [2.09318028, -0.67521945, -0.67521945, 3.44361918];
    [...outputs.gamma, ...outputs.beta].forEach((v, i) => {
      expect(v).toBeCloseTo(expected[i], 8);
    });
  });
});

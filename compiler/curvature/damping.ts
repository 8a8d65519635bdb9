/**
 * Pi-corrected damping (SP-NGD eq 12): lambda is split between the two factors so that (G + sqrt(lambda)/pi I) and
 * (A + pi sqrt(lambda) I) carry shares of it in proportion to their mean eigenvalues. Scaling A by c and G by 1/c changes nothing.
 */
import type { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import { concrete, type TensorType, tensor } from '../../ir/types.js';

/** In which steps pi and the shifts are computed. */
export interface Keep {
  readonly pi: (type: TensorType, fresh: () => Value) => Value;
  /** What is added to the diagonal of this factor, before it is inverted. */
  readonly shift: (factor: 'A' | 'G', fresh: () => Value) => Value;
}

const everyStep: Keep = { pi: (_, fresh) => fresh(), shift: (_, fresh) => fresh() };

export interface Shifts {
  readonly shiftA: Value;
  readonly shiftG: Value;
}

const width = (factor: Value): number => {
  const shape = concrete(factor.type.shape);
  return shape[shape.length - 1];
};

/**
 * @param A sym[a] or sym[groups, a]
 * @param G sym[g] or sym[groups, g]
 * @param damping lambda, f32[]
 * @returns what is added to the two diagonals, f32[] or f32[groups]. pi is 1 where the ratio of the traces is not finite or
 * not positive: an all-zero or overflowed factor must not make the other one's shift zero or infinite.
 */
export function splitDamping(b: Builder, A: Value, G: Value, damping: Value, keep: Keep = everyStep): Shifts {
  const trace = (factor: Value) => b.node('trace', [factor]);
  const pi = keep.pi(tensor('f32', A.type.shape.slice(0, -2)), () => {
    return b.node('pi', [trace(A), trace(G)], { attrs: { ratio: width(G) / width(A) } });
  });
  const root = b.once(`root of ${damping.name}`, () => b.sqrt(damping));
  return { shiftA: keep.shift('A', () => b.mul(pi, root)), shiftG: keep.shift('G', () => b.div(root, pi)) };
}

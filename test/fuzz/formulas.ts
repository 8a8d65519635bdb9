/** Random formulas (ir/ops/formulas.ts), and stacks of scalars. */
import type { Value } from '../../ir/graph.js';
import { any, anyThat, dims, exact, input, ofShape, type Step, small } from './step.js';

/** Formulas of normalisation and of the update; those that jump see inputs. */
export const formula: Step = (g) => {
  const { b, r } = g;
  const x = any(g);
  const shape = dims(x);
  const like = (): Value => ofShape(g, shape);
  const vector = (axis: number): Value => ofShape(g, [shape[axis]]);
  const scalar = (): Value => ofShape(g, []);
  const bounded = (v: Value): Value => b.node('tanh', [v]);
  const positive = (v: Value): Value => b.add(b.node('abs', [v]), b.fill(0.5));
  switch (r.int(0, 12)) {
    case 0: {
      const y = exact(g);
      return b.node('relu_grad', [y, ofShape(g, dims(y))]);
    }
    case 1:
      return b.node('moving_average', [x, like()], { attrs: { momentum: r.pick([0.5, 0.9]) } });
    case 2:
      return b.node('rstd', [b.node('abs', [x])], { attrs: { epsilon: 0.5 } });
    case 3:
      return b.node('pi', [positive(x), positive(like())], { attrs: { ratio: 1.5 } });
    case 4:
      return bounded(b.node('momentum_step', [x, scalar(), like(), scalar()]));
    case 5:
      return bounded(b.node('momentum_step', [x, scalar(), like(), scalar(), scalar()]));
    case 6:
      if (r.chance(0.5)) return bounded(b.node('weight_step', [x, like(), scalar()]));
      return b.node('if_finite', [scalar(), x, like()]);
    case 12:
      return b.node('stack', [scalar(), bounded(b.sumAll(x)), scalar()].slice(0, r.int(1, 3)));
    case 7: {
      if (shape.length !== 2 || !small([shape[0], 3, shape[1]])) return undefined;
      return bounded(b.node('unit_products', [x, like()]));
    }
    case 8: {
      const gamma = anyThat(g, (s) => s.length === 1) ?? input(g, [4]);
      const own = dims(gamma);
      // Diagonals of 3 and above with at most 2 beside them: no determinant comes near zero.
      const fisher = b.add(b.node('tanh', [ofShape(g, [3, own[0]])]), b.fill(1));
      const operands = [fisher, gamma, ofShape(g, own), b.add(b.node('abs', [scalar()]), b.fill(3))];
      return b.node('unit_natural', operands, { attrs: { shift: r.chance(0.5) } });
    }
    default: {
      if (shape.length < 2) return undefined;
      return bounded(
        r.pick([
          () => b.node('channel_affine', [x, vector(1), vector(1), vector(1)]),
          () => {
            const [gamma, beta, mean] = [1, 1, 1].map(vector);
            const operands = [x, gamma, beta, mean, b.node('abs', [vector(1)])];
            return b.node('batch_norm_inference', operands, { attrs: { epsilon: 0.5 } });
          },
          () => b.node('weighted_square', [x, vector(1), vector(0)]),
          () => b.node('normalized_product', [x, like(), vector(1), vector(1)]),
          () => {
            const channels = [1, 1, 1, 1, 1].map(vector);
            return b.node('batch_norm_input_grad', [
              x,
              like(),
              ...channels,
              b.add(b.node('abs', [scalar()]), b.fill(1)),
              vector(0),
            ]);
          },
        ])(),
      );
    }
  }
};

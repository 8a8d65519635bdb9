/** The op table: every op's type rule and float64 evaluation. An op without cases fails to type-check here, and fails the test. */
import { describe, expect, it } from 'vitest';
import type { Attrs } from '../../ir/graph.js';
import { opFlops, TypeRuleError } from '../../ir/ops/declare.js';
import { type OpName, opNames, ops } from '../../ir/ops/table.js';
import { printType, storedCount } from '../../ir/types.js';
import { evaluateOp, inferTypes, type OpCases, typeOf } from './ops/case.js';
import { contractionCases } from './ops/contractions.js';
import { curvatureCases } from './ops/curvature.js';
import { elementwiseCases } from './ops/elementwise.js';
import { formulaCases } from './ops/formulas.js';
import { historyCases } from './ops/history.js';
import { normalizationCases } from './ops/normalization.js';
import { poolingCases } from './ops/pooling.js';
import { reductionCases } from './ops/reductions.js';
import { viewCases } from './ops/views.js';

const cases: Record<OpName, OpCases> = {
  ...elementwiseCases,
  ...formulaCases,
  ...viewCases,
  ...reductionCases,
  ...contractionCases,
  ...poolingCases,
  ...normalizationCases,
  ...curvatureCases,
  ...historyCases,
};

const without = (attrs: Attrs, name: string): Attrs =>
  Object.fromEntries(Object.entries(attrs).filter(([key]) => key !== name));

it('has cases for every op', () => {
  expect(Object.keys(cases).sort()).toEqual([...opNames].sort());
  for (const op of opNames) {
    expect(cases[op].types.length, `${op} accepts`).toBeGreaterThan(0);
    expect(cases[op].rejects.length, `${op} rejects`).toBeGreaterThan(0);
    expect(cases[op].values.length, `${op} evaluates`).toBeGreaterThan(0);
  }
});

describe.each(opNames)('%s', (op) => {
  const { types, rejects, values } = cases[op];

  it('infers types', () => {
    for (const [operands, attrs, results] of types)
      expect(inferTypes(op, operands, attrs).map(printType), operands.join()).toEqual(results);
  });

  it('rejects what does not fit', () => {
    for (const [operands, attrs, message] of rejects) {
      expect(() => inferTypes(op, operands, attrs), `${operands} ${JSON.stringify(attrs)}`).toThrow(message);
      // Importers turn exactly this class into errors that name the node.
      expect(() => inferTypes(op, operands, attrs)).toThrow(TypeRuleError);
    }
  });

  it('wants all its attributes and no others', () => {
    const [operands, attrs] = types[0];
    expect(() => inferTypes(op, operands, { ...attrs, surplus: 1 })).toThrow('has no attribute surplus');
    for (const [name, kind] of Object.entries(ops[op].attrs ?? {}))
      if (!kind.endsWith('?'))
        expect(() => inferTypes(op, operands, without(attrs, name))).toThrow(`attribute ${name} is missing`);
  });

  it('evaluates', () => {
    for (const { operands, attrs = {}, results, tolerance = 0 } of values) {
      const got = evaluateOp(op, operands, attrs);
      const wanted = inferTypes(
        op,
        operands.map(([type]) => type),
        attrs,
      );
      expect(got.length).toBe(results.length);
      got.forEach((data, r) => {
        expect(data.length, `size of result ${r}`).toBe(storedCount(wanted[r]));
        expect(results[r].length, `size of expected result ${r}`).toBe(data.length);
        data.forEach((v, i) => {
          const w = results[r][i];
          if (Object.is(v, w) || v === w) return;
          expect(Math.abs(v - w) / Math.max(1, Math.abs(w)), `result ${r}[${i}]: ${v}, not ${w}`).toBeLessThanOrEqual(
            tolerance,
          );
        });
      });
      const flops = opFlops(
        ops[op],
        operands.map(([type]) => typeOf(type)),
        attrs,
        wanted,
      );
      expect(flops).toBeGreaterThanOrEqual(0);
      expect(Number.isFinite(flops)).toBe(true);
    }
  });
});

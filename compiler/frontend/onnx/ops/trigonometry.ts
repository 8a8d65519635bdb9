/**
 * Circular and hyperbolic functions, written out: sines as a polynomial after reduction to [-pi/2, pi/2], whose derivative is
 * the cosine's; hyperbolic ones by exponentials and logarithms.
 */
import type { Value } from '../../../../ir/graph.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';

/** pi as a sum of one that products with small integers leave exact in f32, and the rest (Cody and Waite 1980). */
const PI_HIGH = 3.140625;
const PI_LOW = Math.PI - PI_HIGH;
/** Of the series of sin r / r in r^2: the first term left out is 7e-10 of r at pi/2. */
const SERIES = [1, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800, 1 / 6227020800];

function sine(n: NodeImport, x: Value): Value {
  const times = (v: Value, c: number): Value => n.op('mul', [v, n.scalar(c)]);
  const turns = n.op('floor', [n.op('add', [times(x, 1 / Math.PI), n.scalar(0.5)])]);
  const r = n.op('sub', [n.op('sub', [x, times(turns, PI_HIGH)]), times(turns, PI_LOW)]);
  const odd = n.op('sub', [turns, times(n.op('floor', [times(turns, 0.5)]), 2)]);
  const sign = n.op('sub', [n.scalar(1), times(odd, 2)]);
  const square = n.op('mul', [r, r]);
  const series = SERIES.slice(0, -1).reduceRight<Value>(
    (acc, c) => n.op('add', [n.op('mul', [acc, square]), n.scalar(c)]),
    n.scalar(SERIES[SERIES.length - 1]),
  );
  return n.op('mul', [n.op('mul', [sign, r]), series]);
}

const cosine = (n: NodeImport, x: Value): Value => sine(n, n.op('add', [x, n.scalar(Math.PI / 2)]));

/** (e^x + sign e^-x) / 2 */
const exponentials = (n: NodeImport, x: Value, op: 'add' | 'sub'): Value =>
  n.op('mul', [n.op(op, [n.op('exp', [x]), n.op('exp', [n.op('neg', [x])])]), n.scalar(0.5)]);

/** log(x + sqrt(x^2 + shift)) */
const areaLog = (n: NodeImport, x: Value, shift: number): Value =>
  n.op('log', [n.op('add', [x, n.op('sqrt', [n.op('add', [n.op('mul', [x, x]), n.scalar(shift)])])])]);

const float = (since: number, f: (n: NodeImport, x: Value) => Value): Handler =>
  handler(since, (n) => f(n, n.float(0)));

export const trigonometry: Readonly<Record<string, Handler>> = {
  Sin: float(7, sine),
  Cos: float(7, cosine),
  Tan: float(7, (n, x) => n.result('div', [sine(n, x), cosine(n, x)])),
  Sinh: float(9, (n, x) => exponentials(n, x, 'sub')),
  Cosh: float(9, (n, x) => exponentials(n, x, 'add')),
  // Of |x|, so that nothing cancels, with the sign of x.
  Asinh: float(9, (n, x) => n.result('mul', [n.op('sign', [x]), areaLog(n, n.op('abs', [x]), 1)])),
  Acosh: float(9, (n, x) => areaLog(n, x, -1)),
  Atanh: float(9, (n, x) => {
    const one = n.scalar(1);
    const quotient = n.op('div', [n.op('add', [one, x]), n.op('sub', [one, x])]);
    return n.result('mul', [n.op('log', [quotient]), n.scalar(0.5)]);
  }),
};

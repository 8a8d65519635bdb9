/**
 * Elementwise ops. Those that the core has not are written out by ones that it has, in forms whose gradients stay finite:
 * exp only of what is <= 0, log only of what is >= 1.
 */
import type { Value } from '../../../../ir/graph.js';
import type { OpName } from '../../../../ir/ops/table.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';
import { castTarget } from '../types.js';

const float = (op: OpName, since = 6): Handler => handler(since, (n) => n.result(op, [n.float(0)]));

function sameType(n: NodeImport, a: Value, b: Value): void {
  if (a.type.dtype !== b.type.dtype) n.misfit(`operands of type ${a.type.dtype} and ${b.type.dtype}`);
}

/** Arithmetic on two operands of one type. Before opset 7 broadcasting was by attributes: not known. */
const binary = (op: OpName): Handler =>
  handler(7, (n) => {
    const [a, b] = [n.value(0), n.value(1)];
    sameType(n, a, b);
    return n.result(op, [a, b]);
  });

/** Any number of operands. */
const variadic = (op: OpName): Handler => handler(6, (n) => chain(n, op, n.values()));

function chain(n: NodeImport, op: OpName, [first, ...rest]: readonly Value[]): Value {
  if (!first) return n.misfit('it has no operands');
  for (const v of rest) sameType(n, first, v);
  return rest.reduce((acc, v, i) => (i === rest.length - 1 ? n.result(op, [acc, v]) : n.op(op, [acc, v])), first);
}

const zero = (n: NodeImport): Value => n.scalar(0);
const below = (n: NodeImport, x: Value): Value => n.op('min', [x, zero(n)]);

/** relu(x) + scale * (exp(min(x, 0) / width) - 1) */
function exponentialUnit(n: NodeImport, x: Value, scale: number, width: number): Value {
  const low = below(n, x);
  const e = n.op('exp', [width === 1 ? low : n.op('mul', [low, n.scalar(1 / width)])]);
  const tail = n.op('sub', [e, n.scalar(1)]);
  return n.op('add', [n.op('relu', [x]), scale === 1 ? tail : n.op('mul', [tail, n.scalar(scale)])]);
}

/** log(1 + exp x) = max(x, 0) + log(1 + exp(-|x|)) */
function softplus(n: NodeImport, x: Value): Value {
  const e = n.op('exp', [n.op('neg', [n.op('abs', [x])])]);
  return n.op('add', [n.op('relu', [x]), n.op('log', [n.op('add', [e, n.scalar(1)])])]);
}

/** x clipped to [low, high]. */
function clip(n: NodeImport, x: Value, low: number | undefined, high: number | undefined): Value {
  // What no f32 passes is no bound.
  const lowest = low === undefined || low <= -3.4e38 ? undefined : low;
  const highest = high === undefined || high >= 3.4e38 ? undefined : high;
  if (lowest === undefined && highest === undefined) return x;
  const above = lowest === undefined ? x : lowest === 0 ? n.op('relu', [x]) : n.op('max', [x, n.scalar(lowest)]);
  return highest === undefined ? above : n.result('min', [above, n.scalar(highest)]);
}

const hardSigmoid = (n: NodeImport, x: Value, alpha: number, beta: number): Value =>
  clip(n, n.op('add', [n.op('mul', [x, n.scalar(alpha)]), n.scalar(beta)]), 0, 1);

/** Small whole exponents are products: their gradients hold for negative x, too. */
function power(n: NodeImport, x: Value): Value {
  const item = n.item(1);
  const exponent =
    'data' in item && item.data.length === 1 && item.shape.every((d) => d === 1) ? item.data[0] : undefined;
  switch (exponent) {
    case 1:
      return x;
    case 2:
      return n.result('mul', [x, x]);
    case 3:
      return n.result('mul', [n.op('mul', [x, x]), x]);
    case 0.5:
      return n.result('sqrt', [x]);
    case -1:
      return n.result('reciprocal', [x]);
    default:
      return n.result('pow', [x, n.b.cast(n.value(1), 'f32')]);
  }
}

/** The comparison `a < b` with operands and outcome turned as told. */
const comparison = (swap: boolean, negate: boolean, since: number): Handler =>
  handler(since, (n) => {
    const [a, b] = swap ? [n.value(1), n.value(0)] : [n.value(0), n.value(1)];
    sameType(n, a, b);
    return negate ? n.result('not', [n.op('less', [a, b])]) : n.result('less', [a, b]);
  });

const gelu = (n: NodeImport): Value => {
  const x = n.float(0);
  const half = n.op('mul', [x, n.scalar(0.5)]);
  const form = n.text('approximate', 'none');
  if (form === 'none') {
    const e = n.op('erf', [n.op('mul', [x, n.scalar(Math.SQRT1_2)])]);
    return n.result('mul', [half, n.op('add', [e, n.scalar(1)])]);
  }
  if (form !== 'tanh') n.unsupported(`approximate = "${form}"`);
  const cube = n.op('mul', [n.op('mul', [n.op('mul', [x, x]), x]), n.scalar(0.044715)]);
  const t = n.op('tanh', [n.op('mul', [n.op('add', [x, cube]), n.scalar(Math.sqrt(2 / Math.PI))])]);
  return n.result('mul', [half, n.op('add', [t, n.scalar(1)])]);
};

export const elementwise: Readonly<Record<string, Handler>> = {
  Abs: float('abs'),
  Neg: handler(6, (n) => n.result('neg', [n.value(0)])),
  Exp: float('exp'),
  Log: float('log'),
  Sqrt: float('sqrt'),
  Reciprocal: float('reciprocal'),
  Tanh: float('tanh'),
  Erf: float('erf', 9),
  Sigmoid: float('sigmoid'),
  Relu: float('relu'),
  Sign: float('sign', 9),
  Floor: float('floor'),
  Ceil: handler(6, (n) => n.result('neg', [n.op('floor', [n.op('neg', [n.float(0)])])])),
  Xor: handler(7, (n) => n.result('not', [n.op('equal', [n.value(0), n.value(1)])])),
  IsNaN: handler(9, (n) => {
    const x = n.float(0);
    return n.result('not', [n.op('equal', [x, x])]);
  }),
  IsInf: handler(10, (n) => {
    const x = n.float(0);
    const [negative, positive] = [n.flag('detect_negative', true), n.flag('detect_positive', true)];
    const largest = n.scalar(3.4028234663852886e38);
    const above = (v: Value, on: boolean): Value =>
      on ? n.op('less', [largest, v]) : n.b.fill(0, x.type.shape, 'bool', `${n.name}.no`);
    return n.result('or', [above(x, positive), above(n.op('neg', [x]), negative)]);
  }),
  // Halves go to the even neighbour.
  Round: handler(11, (n) => {
    const x = n.float(0);
    const up = n.op('floor', [n.op('add', [x, n.scalar(0.5)])]);
    const half = n.op('floor', [n.op('mul', [up, n.scalar(0.5)])]);
    const odd = n.op('sub', [up, n.op('mul', [half, n.scalar(2)])]);
    const tie = n.op('equal', [n.op('sub', [up, x]), n.scalar(0.5)]);
    return n.result('select', [tie, n.op('sub', [up, odd]), up]);
  }),
  Shrink: handler(9, (n) => {
    const x = n.float(0);
    const [lambda, bias] = [n.number('lambd', 0.5), n.number('bias', 0)];
    const low = n.op('select', [n.op('less', [x, n.scalar(-lambda)]), n.op('add', [x, n.scalar(bias)]), zero(n)]);
    return n.result('select', [n.op('less', [n.scalar(lambda), x]), n.op('sub', [x, n.scalar(bias)]), low]);
  }),
  Not: handler(1, (n) => n.result('not', [n.value(0)])),

  Add: binary('add'),
  Sub: binary('sub'),
  Mul: binary('mul'),
  Div: handler(7, (n) => {
    // The core divides as numbers; ONNX truncates integers.
    return n.result('div', [n.float(0), n.float(1)]);
  }),
  Pow: handler(7, (n) => power(n, n.float(0))),
  Sum: variadic('add'),
  Max: variadic('max'),
  Min: variadic('min'),
  Mean: handler(6, (n) => {
    const all = n.values();
    return n.op('mul', [chain(n, 'add', all), n.scalar(1 / all.length)]);
  }),
  Mod: handler(10, (n) => {
    // x - floor(x / y) * y has the divisor's sign; fmod has the dividend's.
    const [a, b] = [n.float(0), n.float(1)];
    if (n.flag('fmod', false)) {
      const [p, q] = [n.op('abs', [a]), n.op('abs', [b])];
      const rest = n.op('sub', [p, n.op('mul', [n.op('floor', [n.op('div', [p, q])]), q])]);
      return n.result('mul', [n.op('sign', [a]), rest]);
    }
    return n.result('sub', [a, n.op('mul', [n.op('floor', [n.op('div', [a, b])]), b])]);
  }),

  Equal: handler(7, (n) => {
    const [a, b] = [n.value(0), n.value(1)];
    sameType(n, a, b);
    return n.result('equal', [a, b]);
  }),
  Less: comparison(false, false, 7),
  Greater: comparison(true, false, 7),
  LessOrEqual: comparison(true, true, 12),
  GreaterOrEqual: comparison(false, true, 12),
  And: handler(7, (n) => n.result('and', [n.value(0), n.value(1)])),
  Or: handler(7, (n) => n.result('or', [n.value(0), n.value(1)])),
  Where: handler(9, (n) => {
    const [c, a, b] = [n.value(0), n.value(1), n.value(2)];
    sameType(n, a, b);
    return n.result('select', [c, a, b]);
  }),

  Cast: handler(6, (n) => {
    const x = n.value(0);
    const to = castTarget(n);
    const dtype = to === 'i64' ? 'i32' : to;
    // Narrow integers wrap around in ways that the core does not model.
    if (dtype === 'u8' && x.type.dtype !== 'u8') n.unsupported('a cast to uint8');
    return n.b.cast(x, dtype, n.name);
  }),

  CastLike: handler(15, (n) => {
    const x = n.value(0);
    const dtype = n.dtype(1);
    n.ignoreAttributes('saturate', 'round_mode');
    // Of integers only the type of the tensor itself is known here.
    if (dtype !== 'f32' && dtype !== 'bool' && dtype !== x.type.dtype) n.unsupported(`a cast to ${dtype}`);
    return n.b.cast(x, dtype, n.name);
  }),

  Elu: handler(6, (n) => exponentialUnit(n, n.float(0), n.number('alpha', 1), 1)),
  Celu: handler(12, (n) => exponentialUnit(n, n.float(0), n.number('alpha', 1), n.number('alpha', 1))),
  Selu: handler(6, (n) => {
    const alpha = n.number('alpha', 1.6732631921768188);
    const gamma = n.number('gamma', 1.0507010221481323);
    return n.result('mul', [exponentialUnit(n, n.float(0), alpha, 1), n.scalar(gamma)]);
  }),
  LeakyRelu: handler(6, (n) => {
    const x = n.float(0);
    const slope = n.op('mul', [x, n.scalar(n.number('alpha', 0.01))]);
    return n.result('select', [n.op('less', [x, zero(n)]), slope, x]);
  }),
  PRelu: handler(7, (n) => {
    const x = n.float(0);
    return n.result('add', [n.op('relu', [x]), n.op('mul', [n.float(1), below(n, x)])]);
  }),
  ThresholdedRelu: handler(10, (n) => {
    const x = n.float(0);
    return n.result('select', [n.op('less', [n.scalar(n.number('alpha', 1)), x]), x, zero(n)]);
  }),
  Softplus: handler(1, (n) => softplus(n, n.float(0))),
  Softsign: handler(1, (n) => {
    const x = n.float(0);
    return n.result('div', [x, n.op('add', [n.op('abs', [x]), n.scalar(1)])]);
  }),
  HardSigmoid: handler(6, (n) => hardSigmoid(n, n.float(0), n.number('alpha', 0.2), n.number('beta', 0.5))),
  HardSwish: handler(14, (n) => {
    const x = n.float(0);
    return n.op('mul', [x, hardSigmoid(n, x, 1 / 6, 0.5)]);
  }),
  Mish: handler(18, (n) => {
    const x = n.float(0);
    return n.result('mul', [x, n.op('tanh', [softplus(n, x)])]);
  }),
  Swish: handler(24, (n) => {
    const x = n.float(0);
    const alpha = n.number('alpha', 1);
    const inner = alpha === 1 ? x : n.op('mul', [x, n.scalar(alpha)]);
    return n.result('mul', [x, n.op('sigmoid', [inner])]);
  }),
  Gelu: handler(20, gelu),
  Clip: handler(6, (n) => {
    // Opset 11 made the bounds inputs.
    const bound = (name: string, i: number): number | undefined =>
      n.opset < 11 ? n.number(name) : n.has(i) ? n.knownScalar(i, name) : undefined;
    const x = n.value(0);
    if (x.type.dtype === 'f32') return clip(n, x, bound('min', 1), bound('max', 2));
    const [low, high] = [bound('min', 1), bound('max', 2)];
    const above = low === undefined ? x : n.op('max', [x, n.scalar(low, x.type.dtype)]);
    return high === undefined ? above : n.op('min', [above, n.scalar(high, x.type.dtype)]);
  }),
};

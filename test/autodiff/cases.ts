/**
 * One or more cases for every op that has a gradient: shapes, attributes, and values away from where the op has a kink.
 */
import type { Attrs } from '../../ir/graph.js';
import type { OpName } from '../../ir/ops/table.js';
import type { DType } from '../../ir/types.js';

export interface Operand {
  readonly shape: readonly number[];
  /** Where the values lie: uniform in [from, to]; default [-1, 1]. */
  readonly range?: readonly [number, number];
  /** Given values: of an operand that is not differentiated. */
  readonly values?: readonly number[];
  readonly dtype?: DType;
  /** Distinct values a fair step apart, in random order: for maxima. */
  readonly distinct?: boolean;
}

export interface Case {
  readonly op: OpName;
  readonly what: string;
  readonly operands: readonly Operand[];
  readonly attrs?: Attrs;
}

const x = (...shape: number[]): Operand => ({ shape });
const positive = (...shape: number[]): Operand => ({ shape, range: [0.3, 2] });
const distinct = (...shape: number[]): Operand => ({ shape, distinct: true });
const indices = (values: number[], ...shape: number[]): Operand => ({ shape, values, dtype: 'i32' });
const flags = (values: number[], ...shape: number[]): Operand => ({ shape, values, dtype: 'bool' });
const weights = (values: number[]): Operand => ({ shape: [values.length], values });

const window = (strides: number[], pads: number[], dilations: number[], groups: number): Attrs => ({
  strides,
  pads,
  dilations,
  groups,
});

const unary: Case[] = (['neg', 'abs', 'exp', 'tanh', 'erf', 'sigmoid', 'relu'] as const).map((op) => ({
  op,
  what: 'odd shape',
  operands: [distinct(3, 5, 1)],
}));
const unaryPositive: Case[] = (['log', 'sqrt', 'reciprocal'] as const).map((op) => ({
  op,
  what: 'positive operand',
  operands: [positive(7)],
}));

function binary(op: OpName, one: typeof x): Case[] {
  return [
    { op, what: 'equal shapes', operands: [one(3, 5), one(3, 5)] },
    { op, what: 'right operand broadcast', operands: [one(2, 3, 4), one(3, 1)] },
    { op, what: 'left operand broadcast, scalar axes', operands: [one(1, 5), one(2, 4, 5)] },
    { op, what: 'both broadcast', operands: [one(4, 1), one(1, 3)] },
    { op, what: 'scalar', operands: [one(3, 2), one()] },
  ];
}

const pool = (kernel: number[], strides: number[], pads: number[], height: number, width: number): Attrs => ({
  kernel,
  strides,
  pads,
  height,
  width,
});

const convWindows: [string, Attrs, number[], number[], number[]][] = [
  ['3x3, padded', window([1, 1], [1, 1, 1, 1], [1, 1], 1), [2, 3, 5, 4], [2, 3, 3, 3], [5, 4]],
  ['stride 2, odd image', window([2, 2], [1, 1, 1, 1], [1, 1], 1), [1, 2, 7, 5], [3, 2, 3, 3], [4, 3]],
  ['stride leaves a border', window([2, 3], [0, 0, 0, 0], [1, 1], 1), [2, 1, 6, 8], [2, 1, 3, 2], [2, 3]],
  ['dilated, uneven pads', window([1, 2], [2, 0, 1, 3], [2, 1], 1), [1, 2, 6, 5], [2, 2, 3, 2], [5, 4]],
  ['grouped', window([1, 1], [1, 0, 1, 0], [1, 1], 2), [2, 4, 4, 3], [6, 2, 3, 1], [4, 3]],
  ['depthwise, stride 2', window([2, 2], [1, 1, 1, 1], [1, 1], 3), [1, 3, 5, 5], [3, 1, 3, 3], [3, 3]],
  ['1x1', window([1, 1], [0, 0, 0, 0], [1, 1], 1), [2, 3, 2, 2], [4, 3, 1, 1], [2, 2]],
];
const convolutions: Case[] = convWindows.flatMap(([what, attrs, image, kernel, [oh, ow]]): Case[] => {
  const [n, , height, width] = image;
  const y = x(n, kernel[0], oh, ow);
  return [
    { op: 'conv', what, operands: [x(...image), x(...kernel)], attrs },
    { op: 'conv_input_grad', what, operands: [y, x(...kernel)], attrs: { ...attrs, height, width } },
    { op: 'conv_weight_grad', what, operands: [x(...image), y], attrs: { ...attrs, kernel: kernel.slice(2) } },
  ];
});

const matmuls: Case[] = [false, true].flatMap((ta) =>
  [false, true].flatMap((tb): Case[] => {
    const a = ta ? [4, 3] : [3, 4];
    const b = tb ? [5, 4] : [4, 5];
    const attrs = { ta, tb };
    const how = `ta=${ta}, tb=${tb}`;
    return [
      { op: 'matmul', what: `matrices, ${how}`, operands: [x(...a), x(...b)], attrs },
      { op: 'matmul', what: `batched, ${how}`, operands: [x(2, ...a), x(2, ...b)], attrs },
      { op: 'matmul', what: `shared weight, ${how}`, operands: [x(2, 3, ...a), x(...b)], attrs },
      { op: 'matmul', what: `shared left, ${how}`, operands: [x(...a), x(2, ...b)], attrs },
      { op: 'matmul', what: `leading axes broadcast, ${how}`, operands: [x(2, 1, ...a), x(1, 3, ...b)], attrs },
    ];
  }),
);

export const cases: readonly Case[] = [
  ...unary,
  ...unaryPositive,
  { op: 'cast', what: 'float to float', operands: [x(3)], attrs: { dtype: 'f32' } },
  ...binary('add', x),
  ...binary('sub', x),
  ...binary('mul', x),
  ...binary('div', positive),
  ...binary('pow', positive),
  ...binary('max', distinct),
  ...binary('min', distinct),
  { op: 'select', what: 'equal shapes', operands: [flags([1, 0, 1, 1, 0, 0], 2, 3), x(2, 3), x(2, 3)] },
  { op: 'select', what: 'all broadcast', operands: [flags([1, 0], 2, 1), x(3), x(2, 1)] },
  { op: 'reshape', what: 'to another rank', operands: [x(2, 6)], attrs: { shape: [3, 1, 4] } },
  { op: 'transpose', what: 'a cycle of three axes', operands: [x(2, 3, 4)], attrs: { perm: [1, 2, 0] } },
  { op: 'broadcast', what: 'a new axis and a size of one', operands: [x(3, 1)], attrs: { shape: [2, 3, 4] } },
  { op: 'slice', what: 'part', operands: [x(4, 5)], attrs: { starts: [1, 0], ends: [3, 4], steps: [1, 1] } },
  { op: 'slice', what: 'steps', operands: [x(7, 8)], attrs: { starts: [1, 0], ends: [7, 8], steps: [3, 2] } },
  {
    op: 'slice',
    what: 'a step beyond the end',
    operands: [x(5, 2)],
    attrs: { starts: [0, 0], ends: [5, 2], steps: [2, 1] },
  },
  { op: 'concat', what: 'three', operands: [x(2, 3), x(2, 1), x(2, 2)], attrs: { axis: 1 } },
  { op: 'pad', what: 'uneven', operands: [x(2, 3)], attrs: { low: [1, 0], high: [0, 2], value: 0.5 } },
  { op: 'reduce_sum', what: 'kept', operands: [x(2, 3, 4)], attrs: { axes: [0, 2], keep: true } },
  { op: 'reduce_sum', what: 'removed', operands: [x(2, 3, 4)], attrs: { axes: [1], keep: false } },
  { op: 'reduce_max', what: 'kept', operands: [distinct(3, 5)], attrs: { axes: [0], keep: true } },
  { op: 'reduce_max', what: 'two axes', operands: [distinct(2, 3, 4)], attrs: { axes: [0, 2], keep: false } },
  { op: 'gather', what: 'repeated indices', operands: [x(3, 4, 2), indices([3, 0, 3, 1], 2, 2)], attrs: { axis: 1 } },
  { op: 'gather', what: 'index out of range is clamped', operands: [x(3, 2), indices([-1, 7], 2)], attrs: { axis: 0 } },
  {
    op: 'scatter_add',
    what: 'repeated indices',
    operands: [indices([2, 0, 2], 3), x(2, 3, 2)],
    attrs: { axis: 1, size: 4 },
  },
  ...matmuls,
  ...convolutions,
  {
    op: 'max_pool',
    what: '2x2',
    operands: [distinct(2, 2, 4, 6)],
    attrs: { ...pool([2, 2], [2, 2], [0, 0, 0, 0], 2, 3), dilations: [1, 1] },
  },
  {
    op: 'max_pool',
    what: 'overlapping, padded, dilated',
    operands: [distinct(1, 2, 7, 5)],
    attrs: { ...pool([3, 2], [2, 1], [1, 0, 1, 1], 3, 4), dilations: [1, 2] },
  },
  {
    op: 'avg_pool',
    what: 'padded, pads not counted',
    operands: [x(2, 1, 5, 4)],
    attrs: { ...pool([3, 3], [2, 2], [1, 1, 1, 1], 3, 2), count_include_pad: false },
  },
  {
    op: 'avg_pool',
    what: 'padded, pads counted',
    operands: [x(1, 2, 5, 4)],
    attrs: { ...pool([3, 2], [1, 2], [1, 0, 1, 0], 5, 2), count_include_pad: true },
  },
  {
    op: 'avg_pool',
    what: 'ceil mode',
    operands: [x(1, 1, 5, 5)],
    attrs: { ...pool([2, 2], [2, 2], [0, 0, 0, 0], 3, 3), count_include_pad: false },
  },
  {
    op: 'avg_pool_grad',
    what: 'padded',
    operands: [x(2, 1, 3, 2)],
    attrs: { ...pool([3, 3], [2, 2], [1, 1, 1, 1], 3, 2), count_include_pad: false, input_height: 5, input_width: 4 },
  },
  { op: 'softmax', what: 'last axis', operands: [x(3, 5)], attrs: { axis: 1 } },
  { op: 'softmax', what: 'middle axis', operands: [x(2, 3, 4)], attrs: { axis: 1 } },
  { op: 'log_softmax', what: 'last axis', operands: [x(3, 5)], attrs: { axis: 1 } },
  { op: 'log_softmax', what: 'first axis', operands: [x(3, 2)], attrs: { axis: 0 } },
  {
    op: 'batch_norm',
    what: 'image',
    operands: [x(3, 2, 3, 2), x(2), x(2), weights([1, 1, 1])],
    attrs: { epsilon: 1e-3 },
  },
  {
    op: 'batch_norm',
    what: 'rows, one padded',
    operands: [x(4, 3), x(3), x(3), weights([1, 1, 0, 1])],
    attrs: { epsilon: 1e-5 },
  },
  {
    op: 'batch_norm_inference',
    what: 'image',
    operands: [x(2, 3, 2, 2), x(3), x(3), x(3), positive(3)],
    attrs: { epsilon: 1e-3 },
  },
];

import type { normalizationOps } from '../../../ir/ops/normalization.js';
import { type OpCases, type ValueCase, wave } from './case.js';

const epsilon = 1e-3;
const [N, C, P] = [4, 3, 5];
/** The third example is padding: it counts in no statistic. */
const valid = [1, 1, 0, 1];
const x = wave(N * C * P, 1);
const gamma = [0.5, -1.2, 2];
const beta = [0.1, 0, -3];
const index = (n: number, c: number, p: number): number => (n * C + c) * P + p;
const positions = Array.from({ length: P }, (_, p) => p);
const examples = Array.from({ length: N }, (_, n) => n);
const channels = Array.from({ length: C }, (_, c) => c);
const real = examples.filter((n) => valid[n] === 1);

/** Direct formulas, channel by channel, from the list of the valid elements. */
function statistics(data: readonly number[]): { mean: number[]; variance: number[] } {
  const lists = channels.map((c) => real.flatMap((n) => positions.map((p) => data[index(n, c, p)])));
  const mean = lists.map((l) => l.reduce((a, b) => a + b) / l.length);
  const variance = lists.map((l, c) => l.map((v) => (v - mean[c]) ** 2).reduce((a, b) => a + b) / l.length);
  return { mean, variance };
}

function normalized(
  data: readonly number[],
  mean: readonly number[],
  variance: readonly number[],
  e = epsilon,
): number[] {
  return data.map((v, i) => {
    const c = Math.floor(i / P) % C;
    return (gamma[c] * (v - mean[c])) / Math.sqrt(variance[c] + e) + beta[c];
  });
}

const forward = (data: readonly number[]): number[] => {
  const { mean, variance } = statistics(data);
  return normalized(data, mean, variance);
};

const { mean, variance } = statistics(x);
/** The loss ignores padding rows, so their gradient is zero. */
const dy = wave(N * C * P, 2).map((v, i) => v * valid[Math.floor(i / (C * P))]);

/** Central differences of <dy, y(x)>: error O(h^2), about 1e-9 here. */
const dx = x.map((v, i) => {
  const h = 1e-5;
  const loss = (to: number): number =>
    forward(x.map((w, k) => (k === i ? to : w))).reduce((s, y, k) => s + y * dy[k], 0);
  // An invalid row is not normalised with itself: nothing flows back into it but its own, zero, dy.
  return (loss(v + h) - loss(v - h)) / (2 * h);
});

const perRow = (f: (n: number, c: number, p: number) => number): number[] =>
  examples.flatMap((n) => channels.map((c) => positions.map((p) => f(n, c, p)).reduce((a, b) => a + b)));
const betaRows = perRow((n, c, p) => dy[index(n, c, p)]);
const gammaRows = perRow(
  (n, c, p) => (dy[index(n, c, p)] * (x[index(n, c, p)] - mean[c])) / Math.sqrt(variance[c] + epsilon),
);

const type = `f32[${N},${C},${P}]`;
const vector = `f32[${C}]`;
const perChannel: ValueCase['operands'] = [
  [vector, gamma],
  [vector, beta],
];

const softmaxRows = (data: readonly number[], size: number): number[] => {
  const out: number[] = [];
  for (let i = 0; i < data.length; i += size) {
    const e = data.slice(i, i + size).map(Math.exp);
    const sum = e.reduce((a, b) => a + b);
    out.push(...e.map((v) => v / sum));
  }
  return out;
};
const logits = wave(12, 4);
const probabilities = softmaxRows(logits, 4);
/** [3,4] laid out as [4,3], for the other axis. */
const turned = (data: readonly number[]): number[] => data.map((_, i) => data[(i % 3) * 4 + Math.floor(i / 3)]);

const softmaxLike = (of: (p: number) => number, far: readonly number[]): OpCases => ({
  types: [
    [['f32[N,10]'], { axis: 1 }, ['f32[N,10]']],
    [['f32[N,3,4]'], { axis: 2 }, ['f32[N,3,4]']],
  ],
  rejects: [
    [['f32[N,10]'], { axis: 2 }, /not an axis/],
    [['i32[N,10]'], { axis: 1 }, /floating point/],
  ],
  values: [
    { operands: [['f32[3,4]', logits]], attrs: { axis: 1 }, results: [probabilities.map(of)], tolerance: 1e-14 },
    {
      operands: [['f32[4,3]', turned(logits)]],
      attrs: { axis: 0 },
      results: [turned(probabilities).map(of)],
      tolerance: 1e-14,
    },
    // No overflow, whatever the logits.
    { operands: [['f32[1,3]', [1e5, 1e5 - 1, -1e5]]], attrs: { axis: 1 }, results: [far], tolerance: 1e-11 },
  ],
});

const s = 1 / (1 + Math.exp(-1));

export const normalizationCases: Record<keyof typeof normalizationOps, OpCases> = {
  softmax: softmaxLike((p) => p, [s, 1 - s, 0]),
  log_softmax: softmaxLike(Math.log, [Math.log(s), Math.log(s) - 1, Math.log(s) - 2e5]),
  batch_norm: {
    types: [
      [['f32[N,3,8,8]', vector, vector, 'f32[N]'], { epsilon }, ['f32[N,3,8,8]', vector, vector]],
      [['f32[N,3]', vector, vector, 'f32[N]'], { epsilon }, ['f32[N,3]', vector, vector]],
    ],
    rejects: [
      [['f32[N,4,8]', vector, vector, 'f32[N]'], { epsilon }, /per-channel operand must have shape \[4\]/],
      [['f32[N,3,8]', vector, vector, 'f32[M]'], { epsilon }, /valid must have shape \[N\]/],
      [['f32[3]', vector, vector, 'f32[3]'], { epsilon }, /needs \[N, C/],
    ],
    values: [
      {
        operands: [[type, x], ...perChannel, [`f32[${N}]`, valid]],
        attrs: { epsilon },
        results: [forward(x), mean, variance],
        tolerance: 1e-13,
      },
    ],
  },
  batch_norm_grad: {
    types: [
      [
        ['f32[N,3,8,8]', 'f32[N,3,8,8]', vector, vector, vector, 'f32[N]'],
        { epsilon },
        ['f32[N,3,8,8]', 'f32[N,3]', 'f32[N,3]'],
      ],
    ],
    rejects: [
      [['f32[N,3,8]', 'f32[N,3,9]', vector, vector, vector, 'f32[N]'], { epsilon }, /dy must have shape/],
      [['f32[N,3,8]', 'f32[N,3,8]', vector, 'f32[4]', vector, 'f32[N]'], { epsilon }, /per-channel/],
    ],
    values: [
      {
        operands: [
          [type, x],
          [type, dy],
          [vector, gamma],
          [vector, mean],
          [vector, variance],
          [`f32[${N}]`, valid],
        ],
        attrs: { epsilon },
        results: [dx, gammaRows, betaRows],
        tolerance: 1e-8,
      },
    ],
  },
};

/**
 * What a training step needs beyond a network's own ops: second moments (Kronecker factors), damped inverses, `accumulate`, where
 * the examples of a step come together, and `refresh`, the one place where a value that is not due falls back to what is stored. Symmetric values are packed.
 */
import {
  concrete,
  elementCount,
  printType,
  product,
  storedCount,
  symmetric,
  type TensorType,
  tensor,
  typeEquals,
} from '../types.js';
import { forEachTap, imageSizes, windowOf, windowOutput } from './contractions.js';
import { axisOf, fail, flagOf, numberOf, type OpDef, real, shaped, type Tensor64 } from './declare.js';

/** Offset of (i, j), j <= i, in a packed lower triangle. */
export function packedIndex(i: number, j: number): number {
  return (i * (i + 1)) / 2 + j;
}

function addOuter(out: Float64Array, at: number, v: Float64Array, scale: number): void {
  let k = at;
  for (let i = 0; i < v.length; i++) {
    const s = scale * v[i];
    for (let j = 0; j <= i; j++) out[k++] += s * v[j];
  }
}

const weightOf = (weight: Tensor64 | undefined, n: number): number => (weight ? weight.data[n] : 1);

/** Checks what both second moments take besides x: a scalar scale, and one weight for each example. */
function scaled(x: TensorType, scale: TensorType, weight: TensorType | undefined): void {
  real(x, 'x');
  shaped(real(scale, 'scale'), [], 'scale');
  if (weight) shaped(real(weight, 'weight'), x.shape.slice(0, 1), 'weight');
}

function symmetricBatch(t: TensorType): { n: number; batch: readonly number[]; count: number } {
  if (t.layout !== 'packed-lower') fail('operand must be symmetric');
  const shape = concrete(t.shape);
  const batch = shape.slice(0, -2);
  return { n: shape[shape.length - 1], batch, count: product(batch) };
}

/** Lower Cholesky factor of a dense n x n matrix in place; false on a pivot that is not positive and finite. */
function cholesky(a: Float64Array, n: number): boolean {
  for (let j = 0; j < n; j++) {
    let d = a[j * n + j];
    for (let k = 0; k < j; k++) d -= a[j * n + k] ** 2;
    if (!(d > 0) || !Number.isFinite(d)) return false;
    const root = Math.sqrt(d);
    a[j * n + j] = root;
    for (let i = j + 1; i < n; i++) {
      let s = a[i * n + j];
      for (let k = 0; k < j; k++) s -= a[i * n + k] * a[j * n + k];
      a[i * n + j] = s / root;
    }
  }
  return true;
}

/** Packed inverse of the matrix whose lower Cholesky factor is `l`: L^-1 first, then L^-T L^-1. */
function inverseFromCholesky(l: Float64Array, n: number, out: Float64Array, at: number): void {
  const inv = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    inv[j * n + j] = 1 / l[j * n + j];
    for (let i = j + 1; i < n; i++) {
      let s = 0;
      for (let k = j; k < i; k++) s -= l[i * n + k] * inv[k * n + j];
      inv[i * n + j] = s / l[i * n + i];
    }
  }
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      let s = 0;
      for (let k = i; k < n; k++) s += inv[k * n + i] * inv[k * n + j];
      out[at + packedIndex(i, j)] = s;
    }
}

export const curvatureOps = {
  /** (x, scale[], weight[N]?) -> scale * sum over all axes but `axis` of weight[n] v v^T, v along `axis`, a 1 appended if `ones`. SP-NGD eq 9, 11. */
  second_moment: {
    arity: [2, 3],
    fuse: 'contraction',
    attrs: { axis: 'int', ones: 'flag' },
    infer: ([x, scale, weight], attrs) => {
      scaled(x, scale, weight);
      const axis = axisOf(attrs, x.shape.length);
      const d = x.shape[axis];
      if (typeof d !== 'number') return fail('the feature axis must have a known size');
      // With axis 0 as the features there is no example axis.
      if (axis === 0 && weight) return fail('weights need an example axis before the features');
      return [symmetric(d + (flagOf(attrs, 'ones') ? 1 : 0))];
    },
    evaluate: ([x, scale, weight], attrs, [r]) => {
      const shape = concrete(x.type.shape);
      const axis = axisOf(attrs, shape.length);
      const inner = product(shape.slice(axis + 1));
      const ones = flagOf(attrs, 'ones');
      const v = new Float64Array(shape[axis] + (ones ? 1 : 0)).fill(1);
      const out = new Float64Array(storedCount(r));
      const rows = x.data.length / shape[axis];
      for (let o = 0; o < rows; o++) {
        const base = Math.floor(o / inner) * shape[axis] * inner + (o % inner);
        for (let k = 0; k < shape[axis]; k++) v[k] = x.data[base + k * inner];
        const n = Math.floor(base / product(shape.slice(1)));
        addOuter(out, 0, v, scale.data[0] * weightOf(weight, n));
      }
      return [out];
    },
    flops: ([x], _a, [r]) => {
      const d = concrete(r.shape)[0];
      return (elementCount(x) / d) * d * (d + 1);
    },
  },
  /** (x[N,C,H,W], scale[], weight[N]?) -> the same over im2col patches, features (channel, ky, kx) and a 1 if `ones`; one matrix per group. */
  patch_second_moment: {
    arity: [2, 3],
    fuse: 'contraction',
    attrs: { kernel: 'ints', strides: 'ints', pads: 'ints', dilations: 'ints', groups: 'int', ones: 'flag' },
    infer: ([x, scale, weight], attrs) => {
      scaled(x, scale, weight);
      const [, c, h, w] = imageSizes(x, 'x');
      const window = windowOf(attrs);
      windowOutput(window, h, w);
      const groups = numberOf(attrs, 'groups');
      if (groups < 1 || c % groups !== 0) fail(`${c} channels do not make ${groups} groups`);
      const d = (c / groups) * window.kernel[0] * window.kernel[1] + (flagOf(attrs, 'ones') ? 1 : 0);
      return [symmetric(d, groups > 1 ? [groups] : [])];
    },
    evaluate: ([x, scale, weight], attrs, [r]) => {
      const [n, c, h, w] = concrete(x.type.shape);
      const window = windowOf(attrs);
      const output = windowOutput(window, h, w);
      const groups = numberOf(attrs, 'groups');
      const taps = window.kernel[0] * window.kernel[1];
      const cg = c / groups;
      const d = cg * taps + (flagOf(attrs, 'ones') ? 1 : 0);
      const out = new Float64Array(storedCount(r));
      for (let b = 0; b < n; b++)
        for (let g = 0; g < groups; g++) {
          const patches = Array.from({ length: output[0] * output[1] }, () => {
            const v = new Float64Array(d);
            if (d > cg * taps) v[d - 1] = 1;
            return v;
          });
          for (let k = 0; k < cg; k++)
            forEachTap(window, [h, w], output, (oy, ox, ky, kx, iy, ix) => {
              patches[oy * output[1] + ox][k * taps + ky * window.kernel[1] + kx] =
                x.data[((b * c + g * cg + k) * h + iy) * w + ix];
            });
          for (const v of patches) addOuter(out, (g * d * (d + 1)) / 2, v, scale.data[0] * weightOf(weight, b));
        }
      return [out];
    },
    flops: ([x], attrs, [r]) => {
      const [n, , h, w] = concrete(x.shape);
      const [oh, ow] = windowOutput(windowOf(attrs), h, w);
      const { n: d, count } = symmetricBatch(r);
      return n * oh * ow * count * d * (d + 1);
    },
  },
  /** Sum of the diagonal of each matrix. */
  trace: {
    arity: [1, 1],
    fuse: 'reduction',
    infer: ([x]) => [tensor('f32', symmetricBatch(x).batch)],
    evaluate: ([x]) => {
      const { n, count } = symmetricBatch(x.type);
      return [
        Float64Array.from({ length: count }, (_, b) => {
          let s = 0;
          for (let i = 0; i < n; i++) s += x.data[(b * n * (n + 1)) / 2 + packedIndex(i, i)];
          return s;
        }),
      ];
    },
    flops: ([x]) => symmetricBatch(x).n * symmetricBatch(x).count,
  },
  /**
   * (X, shift, previous) -> (X + shift I)^-1 by Cholesky, and the number of failed attempts. A bad pivot or a value that is
   * not finite is retried with ten times the shift, at most `retries` times; then `previous` is kept (SP-NGD eq 12).
   */
  damped_inverse: {
    arity: [3, 3],
    fuse: 'opaque',
    attrs: { retries: 'int' },
    infer: ([x, shift, previous]) => {
      const { batch } = symmetricBatch(x);
      if (!typeEquals(x, previous)) fail('previous must have the type of the matrix');
      shaped(real(shift, 'shift'), batch, 'shift');
      return [x, tensor('f32', batch)];
    },
    evaluate: ([x, shift, previous], attrs) => {
      const { n, count } = symmetricBatch(x.type);
      const retries = numberOf(attrs, 'retries');
      const out = Float64Array.from(previous.data);
      const failures = new Float64Array(count);
      const size = (n * (n + 1)) / 2;
      for (let b = 0; b < count; b++) {
        for (let attempt = 0, s = shift.data[b]; attempt <= retries; attempt++, s *= 10) {
          const a = new Float64Array(n * n);
          for (let i = 0; i < n; i++)
            for (let j = 0; j <= i; j++) a[i * n + j] = x.data[b * size + packedIndex(i, j)] + (i === j ? s : 0);
          const inverse = new Float64Array(size);
          if (cholesky(a, n)) {
            inverseFromCholesky(a, n, inverse, 0);
            if (inverse.every(Number.isFinite)) {
              out.set(inverse, b * size);
              break;
            }
          }
          failures[b]++;
        }
      }
      return [out, failures];
    },
    flops: ([x]) => {
      const { n, count } = symmetricBatch(x);
      return count * n ** 3;
    },
  },
  /** Both triangles of each matrix. */
  unpack: {
    arity: [1, 1],
    fuse: 'view',
    infer: ([x]) => {
      symmetricBatch(x);
      return [{ ...x, layout: 'dense' }];
    },
    evaluate: ([x]) => {
      const { n, count } = symmetricBatch(x.type);
      const out = new Float64Array(count * n * n);
      for (let b = 0; b < count; b++)
        for (let i = 0; i < n; i++)
          for (let j = 0; j <= i; j++) {
            const v = x.data[(b * n * (n + 1)) / 2 + packedIndex(i, j)];
            out[(b * n + i) * n + j] = v;
            out[(b * n + j) * n + i] = v;
          }
      return [out];
    },
  },
  /**
   * (x): the sum of x over all micro-batches of a step. (x, weight): their mean, each weighted by `weight`, f32[], its number of
   * examples. It is where a step's examples come together: of a single micro-batch, x itself.
   */
  accumulate: {
    arity: [1, 2],
    fuse: 'composite',
    infer: ([x, weight]) => {
      if (x.dtype !== 'f32') fail(`x must be f32, not ${printType(x)}`);
      if (weight && (weight.dtype !== 'f32' || weight.shape.length > 0)) fail('the weight must be f32[]');
      return [x];
    },
    evaluate: ([x]) => [x.data],
    flops: () => 0,
  },
  /** (fresh, stored): fresh where the node's guard is on, else stored; shares the stored state's buffer. */
  refresh: {
    arity: [2, 2],
    fuse: 'opaque',
    infer: ([fresh, stored]) => (typeEquals(fresh, stored) ? [stored] : fail('fresh and stored must have one type')),
    evaluate: ([fresh]) => [fresh.data],
    flops: () => 0,
  },
} satisfies Record<string, OpDef>;

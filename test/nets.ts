/**
 * Small nets built by hand, and their way through the training passes: what the tests of loss, curvature and update share.
 */
import { differentiate } from '../compiler/autodiff/differentiate.js';
import { type CurvatureOptions, insertCurvature } from '../compiler/curvature/insert-curvature.js';
import { attachLoss, type LossOptions } from '../compiler/passes/attach-loss.js';
import { bindBatch } from '../compiler/passes/bind-batch.js';
import { Builder } from '../ir/builder.js';
import type { Func, Module, Value } from '../ir/graph.js';
import { mix32 } from '../ir/random.js';
import { concrete, product, type Shape, tensor } from '../ir/types.js';
import { verifyModule } from '../ir/verify.js';

export const loc = { kind: 'file', file: 'net', line: 1, column: 1 } as const;
export const N = { symbol: 'N', factor: 1 };

/** Reproducible noise, uniform in [-1, 1). */
export function noise(n: number, key: number): Float64Array {
  return Float64Array.from({ length: n }, (_, i) => (mix32(mix32(key) ^ i) / 2 ** 32) * 2 - 1);
}

export interface Net {
  /** Builds the forward pass; `parameter` reads a trainable tensor. */
  readonly forward: (b: Builder, parameter: (name: string, shape: number[]) => Value, training: boolean) => Value;
  readonly output?: string;
  readonly frozen?: readonly string[];
}

export function modelOf(net: Net): Module {
  const shapes = new Map<string, readonly number[]>();
  const build = (name: string): Func => {
    const b = new Builder(name, loc);
    const parameter = (p: string, shape: number[]): Value => {
      shapes.set(p, shape);
      return b.read(p, tensor('f32', shape));
    };
    b.output(net.output ?? 'y', net.forward(b, parameter, name === 'train'));
    return b.finish();
  };
  const functions = [build('train'), build('predict')];
  return {
    name: 'net',
    level: 'model',
    functions,
    weights: new Map(),
    state: [...shapes].map(([name, shape]) => ({
      name,
      type: tensor('f32', shape),
      role: 'parameter',
      owner: 'all',
      lifetime: 'training',
      checkpoint: true,
      init: { kind: 'weights' },
      loc,
    })),
    parameters: [...shapes.keys()].map((name) => ({ name, trainable: !net.frozen?.includes(name), rule: '', why: '' })),
  };
}

/** Values for all state: parameters at random, the rest as its fill says. */
export function initialState(module: Module, scale = 0.7): Record<string, Float64Array> {
  return Object.fromEntries(
    module.state.map((s, i) => {
      const shape = concrete(s.type.shape);
      const packed = s.type.layout === 'packed-lower';
      const n = shape[shape.length - 1];
      const size = packed ? (product(shape) / n / n) * ((n * (n + 1)) / 2) : product(shape);
      const data =
        s.init.kind === 'fill' ? new Float64Array(size).fill(s.init.value) : noise(size, i + 1).map((v) => v * scale);
      return [s.name, data];
    }),
  );
}

export interface Compiled {
  readonly module: Module;
  readonly train: Func;
}

export function differentiated(net: Net, batch: number, loss: LossOptions = {}): Compiled {
  const module = differentiate(bindBatch(attachLoss(modelOf(net), loss).module, { train: batch, eval: batch }));
  verifyModule(module);
  return { module, train: module.functions.find((f) => f.name === 'train')! };
}

export function withCurvature(
  net: Net,
  batch: number,
  loss: LossOptions = {},
  options: CurvatureOptions = {},
): Compiled {
  const module = insertCurvature(differentiated(net, batch, loss).module, options);
  verifyModule(module);
  return { module, train: module.functions.find((f) => f.name === 'train')! };
}

/** x[N,5] -> 4 -> 3, one weight as [in, out], the other as [out, in]. */
export const mlp: Net = {
  forward: (b, parameter) => {
    const x = b.input('x', tensor('f32', [N, 5]));
    const s = b.add(b.matmul(x, parameter('w1', [5, 4])), parameter('b1', [4]), 's1');
    const h = b.node('tanh', [s], { name: 'h1' });
    return b.add(b.matmul(h, parameter('w2', [3, 4]), false, true), parameter('b2', [1, 3]), 's2');
  },
};

/** What a convolution's attributes are by default. */
export const window = (pads: number, stride = 1, groups = 1) => ({
  strides: [stride, stride],
  pads: [pads, pads, pads, pads],
  dilations: [1, 1],
  groups,
});

/** x[N,2,6,5]: conv + bias, batch norm, relu, grouped strided conv without bias, flatten, dense. */
export const convnet: Net = {
  forward: (b, parameter, training) => {
    const x = b.input('x', tensor('f32', [N, 2, 6, 5]));
    const c1 = b.node('conv', [x, parameter('c1', [4, 2, 3, 3])], { attrs: window(1) });
    const s1 = b.add(c1, b.reshape(parameter('c1.bias', [4]), [1, 4, 1, 1]), 's1');
    const [gamma, beta] = [parameter('bn.gamma', [4]), parameter('bn.beta', [4])];
    const [mean, variance] = [b.fill(0, [4]), b.fill(1, [4])];
    const y = training
      ? b.node('batch_norm', [s1, gamma, beta, b.input('valid', tensor('f32', [N]))], {
          attrs: { epsilon: 1e-3 },
          name: 'bn',
        })
      : b.node('batch_norm_inference', [s1, gamma, beta, mean, variance], { attrs: { epsilon: 1e-3 } });
    const h1 = b.node('relu', [y], { name: 'h1' });
    const c2 = b.node('conv', [h1, parameter('c2', [6, 2, 3, 2])], { attrs: window(1, 2, 2), name: 's2' });
    const flat = b.reshape(b.node('tanh', [c2]), [N, 6 * 3 * 3] as Shape, 'h2');
    return b.add(b.matmul(flat, parameter('fc', [54, 3])), parameter('fc.bias', [3]), 's3');
  },
};

/** A token net: the same dense layer at each of 4 positions, then their sum: x[N,4,3] -> [N,4,5] -> [N,5] -> 2. */
export const shared: Net = {
  forward: (b, parameter) => {
    const x = b.input('x', tensor('f32', [N, 4, 3]));
    const s = b.add(b.matmul(x, parameter('w', [3, 5])), parameter('bias', [5]), 's1');
    const pooled = b.sum(b.node('tanh', [s]), [1]);
    return b.matmul(pooled, parameter('out', [5, 2]), false, false, 'y');
  },
};

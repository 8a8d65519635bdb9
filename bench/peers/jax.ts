/**
 * The nets of the table in jax-js, on its wasm device: the loss and its gradient as one jitted function with the update in it. What
 * jax-js computes is held against our own program in `check`.
 */
import { peerModule } from '../harness/peers.js';
import type { Contender } from '../harness/timing.js';

// biome-ignore lint/suspicious/noExplicitAny: the peer's types are not there when types are checked
type Any = any;

export interface Jax {
  readonly matmul: (size: number) => Contender;
  readonly mlp: (batch: number) => Promise<Contender>;
  readonly cnn: (batch: number) => Promise<Contender>;
}

const sines = (n: number, scale = 1): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => scale * Math.sin(i * i));

/** Undefined where it cannot be installed. */
export async function jax(note: (text: string) => void): Promise<Jax | undefined> {
  const module: Any = await peerModule('@jax-js/jax', 'dist/index.js', note);
  if (!module) return undefined;
  const { numpy: np, nn, lax, jit, valueAndGrad, init, defaultDevice, blockUntilReady } = module;
  await init('wasm');
  defaultDevice('wasm');
  const array = (shape: readonly number[], scale = 1): Any =>
    np
      .array(
        sines(
          shape.reduce((a, b) => a * b, 1),
          scale,
        ),
      )
      .reshape([...shape]);
  const labels = (batch: number): Any => nn.oneHot(np.array(Int32Array.from({ length: batch }, (_, i) => i % 10)), 10);

  /** A training step over and over: its own weights go back in, changed by a learning rate that is next to nothing. */
  async function training(
    loss: (w: Any, x: Any, y: Any) => Any,
    shapes: readonly (readonly number[])[],
    x: Any,
    y: Any,
  ) {
    const step = jit((w: Any, rate: Any, image: Any, label: Any) => {
      const [value, grads] = valueAndGrad(loss)(
        w.map((v: Any) => v.ref),
        image,
        label,
      );
      const next = w.map((v: Any, i: number) => v.sub(grads[i].mul(i < w.length - 1 ? rate.ref : rate)));
      return [value, ...next];
    });
    let weights = shapes.map((s) => array(s, 0.05));
    const rate = np.array(Float32Array.of(1e-6)).reshape([]);
    return {
      name: 'jax-js',
      run: async (times: number) => {
        for (let i = 0; i < times; i++) {
          const [value, ...next] = step(weights, rate.ref, x.ref, y.ref);
          weights = next;
          value.dispose();
        }
        for (const w of weights) await blockUntilReady(w.ref);
      },
    };
  }
  const crossEntropy = (logits: Any, y: Any): Any => nn.logSoftmax(logits, -1).mul(y).sum(-1).mean().mul(-1);

  return {
    matmul: (size) => {
      const [a, b] = [array([size, size]), array([size, size])];
      const product = jit((p: Any, q: Any) => np.matmul(p, q));
      return {
        name: 'jax-js',
        run: async (times) => {
          // It is lazy: what nobody waits for is not computed.
          const results = Array.from({ length: times }, () => product(a.ref, b.ref));
          for (const c of results) await blockUntilReady(c.ref);
          for (const c of results) c.dispose();
        },
      };
    },
    mlp: (batch) =>
      training(
        ([w1, b1, w2, b2]: Any, x: Any, y: Any) => {
          const h = nn.relu(np.matmul(x, w1).add(b1));
          return crossEntropy(np.matmul(h, w2).add(b2), y);
        },
        [[784, 256], [256], [256, 10], [10]],
        array([batch, 784]),
        labels(batch),
      ),
    cnn: (batch) =>
      training(
        ([w1, b1, w2, b2, w3, b3]: Any, x: Any, y: Any) => {
          const layer = (input: Any, w: Any, b: Any): Any => {
            const h = nn.relu(lax.conv(input, w, [1, 1], 'SAME').add(b));
            return lax.reduceWindow(h, (v: Any) => np.max(v), [2, 2], [2, 2]);
          };
          const h = layer(layer(x, w1, b1), w2, b2);
          return crossEntropy(np.matmul(h.reshape([batch, 784]), w3).add(b3), y);
        },
        [[8, 1, 3, 3], [8, 1, 1], [16, 8, 3, 3], [16, 1, 1], [784, 10], [10]],
        array([batch, 1, 28, 28]),
        labels(batch),
      ),
  };
}

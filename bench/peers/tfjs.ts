/**
 * The nets of the table in TensorFlow.js. Its wasm backend is taken where it has the gradients' kernels, else its plain JavaScript one
 * (there is no gradient of a convolution's weights in wasm).
 */
import { peerFile, peerModule } from '../harness/peers.js';
import type { Contender } from '../harness/timing.js';

// biome-ignore lint/suspicious/noExplicitAny: the peer's types are not there when types are checked
type Any = any;

export interface Tfjs {
  readonly mlp: (batch: number) => Promise<Contender>;
  readonly cnn: (batch: number) => Promise<Contender>;
  /** The backend of the contender that was made last. */
  readonly backend: () => string;
}

export async function tfjs(note: (text: string) => void): Promise<Tfjs | undefined> {
  const loaded: Any = await peerModule('@tensorflow/tfjs', 'dist/tf.node.js', note);
  const wasm: Any = await peerModule('@tensorflow/tfjs-backend-wasm', 'dist/tf-backend-wasm.node.js', note);
  if (!loaded || !wasm) return undefined;
  const tf: Any = loaded.default ?? loaded;
  (wasm.default ?? wasm).setWasmPaths(`${peerFile('node_modules/@tensorflow/tfjs-backend-wasm/dist')}/`);

  async function training(build: () => { loss: () => Any; variables: Any[] }): Promise<Contender> {
    for (const backend of ['wasm', 'cpu']) {
      await tf.setBackend(backend);
      await tf.ready();
      const { loss, variables } = build();
      const optimizer = tf.train.sgd(1e-6);
      const run = (times: number): void => {
        tf.setBackend(backend);
        for (let i = 0; i < times; i++) optimizer.minimize(loss, false, variables);
        variables[0].dataSync();
      };
      try {
        run(1);
        return { name: 'tfjs', run };
      } catch (e) {
        note(`tfjs: not on its ${backend} backend (${(e as Error).message.split('\n')[0]})`);
      }
    }
    throw new Error('tfjs runs on no backend');
  }
  const variable = (shape: readonly number[]): Any => tf.variable(tf.randomNormal([...shape], 0, 0.05));
  const labels = (batch: number): Any =>
    tf.oneHot(
      tf.tensor1d(
        Int32Array.from({ length: batch }, (_, i) => i % 10),
        'int32',
      ),
      10,
    );

  return {
    backend: () => tf.getBackend(),
    mlp: (batch) =>
      training(() => {
        const variables = [[784, 256], [256], [256, 10], [10]].map(variable);
        const [w1, b1, w2, b2] = variables;
        const [x, y] = [tf.randomNormal([batch, 784]), labels(batch)];
        const loss = (): Any => tf.losses.softmaxCrossEntropy(y, x.matMul(w1).add(b1).relu().matMul(w2).add(b2));
        return { loss, variables };
      }),
    cnn: (batch) =>
      training(() => {
        const variables = [[3, 3, 1, 8], [8], [3, 3, 8, 16], [16], [784, 10], [10]].map(variable);
        const [w1, b1, w2, b2, w3, b3] = variables;
        const [x, y] = [tf.randomNormal([batch, 28, 28, 1]), labels(batch)];
        const layer = (input: Any, w: Any, b: Any): Any =>
          tf.maxPool(tf.conv2d(input, w, 1, 'same').add(b).relu(), 2, 2, 'valid');
        const loss = (): Any =>
          tf.losses.softmaxCrossEntropy(
            y,
            layer(layer(x, w1, b1), w2, b2)
              .reshape([batch, 784])
              .matMul(w3)
              .add(b3),
          );
        return { loss, variables };
      }),
  };
}

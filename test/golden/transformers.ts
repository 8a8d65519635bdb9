/**
 * The two transformers that have golden numbers, as PyTorch exported them: an image classifier, and a language model whose loss
 * is the mean over all tokens, for which ONNX has an op that is put behind its logits here.
 */
import { readFileSync } from 'node:fs';
import onnxProto from 'onnx-proto';
import { float64, readNpy } from '../npy.js';
import { DATA } from './compare.js';

export interface GoldenModel {
  readonly name: string;
  readonly batch: number;
  /** Output that the loss reads, or that is the loss. */
  readonly output: string;
  readonly bytes: () => Uint8Array;
  /** Values for the inputs of `train` that come from the data. */
  readonly data: () => Record<string, Float64Array>;
  /** Named plain: nothing is known of their curvature. */
  readonly plain: readonly string[];
  /** What the importer takes for constants unless told otherwise. */
  readonly train: readonly string[];
}

const file = (name: string): Uint8Array => readFileSync(`${DATA}/models/torch-small/${name}_op15.onnx`);
const array = (model: string, name: string): Float64Array => float64(readNpy(`${DATA}/golden/${model}/${name}.npy`));

/** The model with an input `labels` [N, positions], a loss behind its logits [N, positions, classes], and no other output. */
function withTokenLoss(bytes: Uint8Array): Uint8Array {
  const { ModelProto } = onnxProto.onnx;
  const model = ModelProto.toObject(ModelProto.decode(bytes));
  const { graph } = model;
  const [logits] = graph.output;
  const perm = { name: 'perm', type: 7, ints: [0, 2, 1] };
  graph.node.push(
    { opType: 'Transpose', name: 'classes_first', input: [logits.name], output: ['scores'], attribute: [perm] },
    { opType: 'SoftmaxCrossEntropyLoss', name: 'loss', input: ['scores', 'labels'], output: ['loss'] },
  );
  const [tokens] = graph.input;
  graph.input.push({ ...tokens, name: 'labels' });
  graph.output = [{ name: 'loss', type: { tensorType: { elemType: 1, shape: {} } } }];
  return ModelProto.encode(ModelProto.fromObject(model)).finish();
}

export const vit: GoldenModel = {
  name: 'vit_micro_c10',
  batch: 8,
  output: 'logits',
  bytes: () => file('vit_micro_c10'),
  data: () => ({ x: array('vit_micro_c10', 'x'), target: array('vit_micro_c10', 'y') }),
  plain: ['class_token', 'encoder.pos_embedding'],
  train: ['class_token'],
};

export const encoder: GoldenModel = {
  name: 'torch_transformer_encoder',
  batch: 4,
  output: 'loss',
  bytes: () => withTokenLoss(file('torch_transformer_encoder')),
  data: () => ({
    x: array('torch_transformer_encoder', 'x'),
    labels: array('torch_transformer_encoder', 'y'),
  }),
  plain: ['e.weight'],
  train: [],
};

/**
 * The two transformers that have golden numbers, as PyTorch exported them: an image classifier with a class token, and a
 * language model that classifies every position.
 */
import { readFileSync } from 'node:fs';
import { float64, readNpy } from '../npy.js';
import { DATA } from './compare.js';

export interface GoldenModel {
  readonly name: string;
  readonly batch: number;
  /** Parameters of which nothing is known but the gradient. */
  readonly plain: readonly string[];
}

export const transformers: readonly GoldenModel[] = [
  { name: 'vit_micro_c10', batch: 8, plain: ['class_token', 'encoder.pos_embedding'] },
  { name: 'torch_transformer_encoder', batch: 4, plain: ['e.weight'] },
];

export const modelBytes = ({ name }: GoldenModel): Uint8Array =>
  readFileSync(`${DATA}/models/torch-small/${name}_op15.onnx`);

/** What the inputs `x` and `target` hold. */
export function goldenBatch({ name }: GoldenModel): { readonly x: Float64Array; readonly target: Float64Array } {
  const array = (what: string): Float64Array => float64(readNpy(`${DATA}/golden/${name}/${what}.npy`));
  return { x: array('x'), target: array('y') };
}

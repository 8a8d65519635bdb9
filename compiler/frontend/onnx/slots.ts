/**
 * Parameter slots: at which inputs of which ops a tensor of the model is a weight of a layer, and what it is there. Only what
 * sits in a slot is trained; everything else that a model holds is constant.
 */

/** What a tensor is to its layer; says how it is drawn by `--init`. */
export type Slot = 'weight' | 'bias' | 'scale' | 'slope' | 'table' | 'token' | 'running mean' | 'running variance';

/** Slots that make a layer: what comes out of such a node is computed from a parameter. */
export const layerSlots: Readonly<Record<string, Readonly<Record<number, Slot>>>> = {
  Conv: { 1: 'weight', 2: 'bias' },
  ConvTranspose: { 1: 'weight', 2: 'bias' },
  Gemm: { 1: 'weight', 0: 'weight', 2: 'bias' },
  MatMul: { 1: 'weight', 0: 'weight' },
  Einsum: { 1: 'weight', 0: 'weight' },
  BatchNormalization: { 1: 'scale', 2: 'bias', 3: 'running mean', 4: 'running variance' },
  InstanceNormalization: { 1: 'scale', 2: 'bias' },
  LayerNormalization: { 1: 'scale', 2: 'bias' },
  RMSNormalization: { 1: 'scale' },
  GroupNormalization: { 1: 'scale', 2: 'bias' },
  PRelu: { 1: 'slope' },
  Gather: { 0: 'table' },
};

/** Ops of which one operand alone can be a weight: where input 1 is one, input 0 is what it is applied to. */
export const products: ReadonlySet<string> = new Set(['Gemm', 'MatMul', 'Einsum']);

/** Ops through which a weight is still seen as that weight. */
export const views: ReadonlySet<string> = new Set([
  'Reshape',
  'Transpose',
  'Identity',
  'Squeeze',
  'Unsqueeze',
  'Flatten',
]);

/** Ops that repeat a token for every example. */
export const repeats: ReadonlySet<string> = new Set(['Expand', 'Tile']);

/**
 * The op table. A new op is added to one family here; tables elsewhere are `Record<OpName, ...>`, so they fail to
 * type-check until they have its row.
 */
import { contractionOps } from './contractions.js';
import { curvatureOps } from './curvature.js';
import type { OpDef } from './declare.js';
import { elementwiseOps } from './elementwise.js';
import { formulaOps, unitBlockOps } from './formulas.js';
import { historyOps } from './history.js';
import { normalizationOps } from './normalization.js';
import { poolingOps } from './pooling.js';
import { reductionOps } from './reductions.js';
import { viewOps } from './views.js';

const table = {
  ...elementwiseOps,
  ...formulaOps,
  ...unitBlockOps,
  ...viewOps,
  ...reductionOps,
  ...contractionOps,
  ...poolingOps,
  ...normalizationOps,
  ...curvatureOps,
  ...historyOps,
};

export type OpName = keyof typeof table;
export const ops: Readonly<Record<OpName, OpDef>> = table;
export const opNames = Object.keys(table) as readonly OpName[];

export function isOpName(name: string): name is OpName {
  return Object.hasOwn(table, name);
}

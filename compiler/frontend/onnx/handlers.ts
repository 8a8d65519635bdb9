/**
 * The op table of the importer: one row for each ONNX op, from one file for each family.
 */
import type { Handler } from './node-import.js';
import { attentions } from './ops/attention.js';
import { convolution } from './ops/convolution.js';
import { dense } from './ops/dense.js';
import { einsums } from './ops/einsum.js';
import { elementwise } from './ops/elementwise.js';
import { heads } from './ops/heads.js';
import { indexing } from './ops/indexing.js';
import { interpolation } from './ops/interpolation.js';
import { losses } from './ops/losses.js';
import { normalization } from './ops/normalization.js';
import { padding } from './ops/padding.js';
import { pooling } from './ops/pooling.js';
import { reductions } from './ops/reductions.js';
import { rotary } from './ops/rotary.js';
import { scans } from './ops/scans.js';
import { transposedConvolution } from './ops/transposed-convolution.js';
import { trigonometry } from './ops/trigonometry.js';
import { views } from './ops/views.js';

export const handlers: ReadonlyMap<string, Handler> = new Map(
  Object.entries({
    ...elementwise,
    ...convolution,
    ...transposedConvolution,
    ...dense,
    ...einsums,
    ...pooling,
    ...normalization,
    ...views,
    ...padding,
    ...indexing,
    ...interpolation,
    ...reductions,
    ...scans,
    ...trigonometry,
    ...heads,
    ...attentions,
    ...rotary,
    ...losses,
  }),
);

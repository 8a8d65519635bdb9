/**
 * Element types by ONNX's numbers, as ops name them in attributes.
 */
import type { DType } from '../../../ir/types.js';
import type { NodeImport } from './node-import.js';

/** TensorProto.DataType of Cast's `to`. Floating-point types of any width are f32, signed integers i64 (i32 at run time). */
export function castTarget(n: NodeImport): DType {
  // Saturation concerns only 8-bit floats, rounding only float8e8m0: neither is a target here.
  n.ignoreAttributes('saturate', 'round_mode');
  const to = n.number('to') ?? n.misfit('attribute "to" is missing');
  switch (to) {
    case 1:
    case 10:
    case 11:
    case 16:
      return 'f32';
    case 2:
      return 'u8';
    case 6:
      return 'i32';
    case 3:
    case 4:
    case 5:
      // Narrow integers are i32, as their tensors are; what does not fit wraps around in a way that is not modelled.
      return n.unsupported(`a cast to element type number ${to}`);
    case 7:
    case 12:
    case 13:
      return 'i64';
    case 9:
      return 'bool';
    default:
      return n.unsupported(`a cast to element type number ${to}`);
  }
}

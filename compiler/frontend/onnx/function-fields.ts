/**
 * What the protobuf reader of `onnx-proto` leaves out of a FunctionProto: default values of its attributes (field 11, since
 * IR version 9) and its overload (field 13, since 10).
 */
import onnxProto from 'onnx-proto';
import protobuf from 'protobufjs/minimal.js';
import { notOnnx } from '../../../ir/diagnostics/onnx.js';

export interface FunctionFields {
  readonly defaults: readonly onnxProto.onnx.AttributeProto[];
  readonly overload: string;
}

/** ModelProto.functions */
const FUNCTIONS = 25;
const DEFAULTS = 11;
const OVERLOAD = 13;
/** The wire type of what has a length. */
const BYTES = 2;

/** Calls `visit` for each field of a message that has a length. */
function forEachField(bytes: Uint8Array, visit: (field: number, content: Uint8Array) => void): void {
  const reader = protobuf.Reader.create(bytes);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if ((tag & 7) === BYTES) visit(tag >>> 3, reader.bytes());
    else reader.skipType(tag & 7);
  }
}

/** In the order of the model's functions. @throws UserError E101 where these fields are broken */
export function functionFields(model: Uint8Array, file: string): FunctionFields[] {
  try {
    return read(model);
  } catch (e) {
    throw notOnnx(file, `the protobuf is broken (${(e as Error).message})`);
  }
}

function read(model: Uint8Array): FunctionFields[] {
  const all: FunctionFields[] = [];
  forEachField(model, (field, content) => {
    if (field !== FUNCTIONS) return;
    const defaults: onnxProto.onnx.AttributeProto[] = [];
    let overload = '';
    forEachField(content, (own, part) => {
      if (own === DEFAULTS) defaults.push(onnxProto.onnx.AttributeProto.decode(part));
      if (own === OVERLOAD) overload = new TextDecoder().decode(part);
    });
    all.push({ defaults, overload });
  });
  return all;
}

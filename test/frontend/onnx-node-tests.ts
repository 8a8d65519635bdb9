/**
 * The ONNX project's own node tests (a tar archive of one-node models with inputs and outputs), read for the importer's tests.
 */
import { execFileSync } from 'node:child_process';
import onnxProto from 'onnx-proto';

const { onnx } = onnxProto;

export interface NodeTest {
  readonly name: string;
  readonly model: Uint8Array;
  readonly inputs: readonly Uint8Array[];
  readonly outputs: readonly Uint8Array[];
}

/** All tests of the archive. Tar: 512-byte headers (name, size in octal, type), contents padded to 512; GNU puts a long name before its file. */
export function readNodeTests(path: string): NodeTest[] {
  const tar = execFileSync('xz', ['-dc', path], { maxBuffer: 1 << 30 });
  const files = new Map<string, Map<string, Uint8Array>>();
  let long = '';
  for (let at = 0; at + 512 <= tar.length; ) {
    const field = (from: number, length: number): string =>
      tar.toString('latin1', at + from, at + from + length).replace(/\0.*$/s, '');
    const name = long || field(0, 100);
    if (name === '') break;
    const size = Number.parseInt(field(124, 12), 8) || 0;
    const parts = name.split('/');
    const test = parts.find((p) => p.startsWith('test_') && p !== 'test_data_set_0');
    if (field(156, 1) === '0' && test && parts.includes('node')) {
      const own = files.get(test) ?? new Map<string, Uint8Array>();
      own.set(parts.slice(parts.indexOf(test) + 1).join('/'), tar.subarray(at + 512, at + 512 + size));
      files.set(test, own);
    }
    long = field(156, 1) === 'L' ? field(512, size) : '';
    at += 512 + Math.ceil(size / 512) * 512;
  }
  const numbered = (own: Map<string, Uint8Array>, kind: string): Uint8Array[] =>
    Array.from({ length: 20 }, (_, i) => own.get(`test_data_set_0/${kind}_${i}.pb`)).filter((b) => b !== undefined);
  return [...files].flatMap(([name, own]) => {
    const model = own.get('model.onnx');
    return model ? [{ name, model, inputs: numbered(own, 'input'), outputs: numbered(own, 'output') }] : [];
  });
}

export const tensorProto = (bytes: Uint8Array): onnxProto.onnx.TensorProto => onnx.TensorProto.decode(bytes);

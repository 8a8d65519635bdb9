/**
 * Models whose weights lie in files beside them: read from any place in files of any size, and from nowhere but the model's
 * folder.
 */
import { closeSync, ftruncateSync, mkdirSync, openSync, symlinkSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { externalFilesOf } from '../../cli/external-data.js';
import { importOnnx } from '../../compiler/frontend/onnx/import.js';
import { exported, noise, onnxruntime, relativeError, run } from '../frontend/forward.js';
import { floats, node, onnxFile } from '../frontend/make-onnx.js';
import { temporaryFolder } from '../runtime/tiny-artifact.js';

const w = noise(12, 1);
const bytes = (v: Float32Array): Uint8Array => new Uint8Array(v.buffer, v.byteOffset, v.byteLength);

/** A product with w[4,3] and a constant factor, both of which lie elsewhere. */
function model(entries: Readonly<Record<string, string>>): Uint8Array {
  const external = (name: string, dims: number[], more: Readonly<Record<string, string>>) => ({
    ...floats(name, dims, []),
    dataLocation: 1,
    externalData: Object.entries({ ...entries, ...more }).map(([key, value]) => ({ key, value })),
  });
  return onnxFile({
    nodes: [node('MatMul', ['x', 'w'], ['h']), node('Mul', ['h', 'scale'], ['y'])],
    initializers: [external('w', [4, 3], {}), external('scale', [3], { length: '12' })],
  });
}
const load = (file: Uint8Array, folder: string) =>
  importOnnx(file, { fileName: 'm.onnx', seed: 0, external: externalFilesOf(join(folder, 'm.onnx')) });

describe('external data', () => {
  it('is read at its offset, trained, and exported inside of the model', async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'data'));
    writeFileSync(join(folder, 'data', 'w.bin'), new Uint8Array([1, 2, 3, 4, 5, 6, 7, ...bytes(w)]));
    symlinkSync(join('data', 'w.bin'), join(folder, 'link.bin'));
    for (const location of ['data/w.bin', 'link.bin']) {
      const result = load(model({ location, offset: '7' }), folder);
      expect(result.module.weights.get('w')?.data).toEqual(w);
      const x = noise(8, 2);
      const want = await onnxruntime(exported(result), { x: { data: x, shape: [2, 4] } });
      const got = run(result.module, 'predict', 2, { x }).outputs.y;
      expect(relativeError(got, want.y)).toBeLessThan(1e-6);
    }
  });

  it('is read from files above 2 and 4 GB', () => {
    const folder = temporaryFolder();
    for (const offset of [2 ** 31 - 4, 2 ** 32 + 8]) {
      // A file with a hole: it takes no room on the disk.
      const file = openSync(join(folder, 'large.bin'), 'w');
      ftruncateSync(file, offset + 1000);
      writeSync(file, bytes(w), 0, 48, offset);
      closeSync(file);
      const { module } = load(model({ location: 'large.bin', offset: `${offset}` }), folder);
      expect(module.weights.get('w')?.data).toEqual(w);
    }
  });

  const parent = temporaryFolder();
  const folder = join(parent, 'model');
  mkdirSync(join(folder, 'sub'), { recursive: true });
  writeFileSync(join(parent, 'secret.bin'), bytes(w));
  writeFileSync(join(folder, 'w.bin'), bytes(w));
  symlinkSync(join(parent, 'secret.bin'), join(folder, 'out.bin'));
  symlinkSync(parent, join(folder, 'up'));
  symlinkSync('loop.bin', join(folder, 'loop.bin'));

  it.each<[string, Record<string, string>, RegExp]>([
    ['no name', {}, /no name/],
    ['an absolute path', { location: join(parent, 'secret.bin') }, /absolute/],
    ['a path of another system', { location: 'C:\\w.bin' }, /absolute/],
    ['a way up', { location: '../secret.bin' }, /outside/],
    ['a way down and up', { location: 'sub/../../secret.bin' }, /outside/],
    ['a link that leads out', { location: 'out.bin' }, /link leads out/],
    ['a folder that leads out', { location: 'up/secret.bin' }, /link leads out/],
    ['links in a circle', { location: 'loop.bin' }, /circle/],
    ['a zero byte', { location: 'w.bin\0.txt' }, /zero byte/],
    ['a folder', { location: 'sub' }, /no file/],
    ['nothing', { location: 'none.bin' }, /no such file/],
    ['a file too short', { location: 'w.bin', offset: '4' }, /bytes 4 to 52, but the file has 48/],
    ['another length', { location: 'w.bin', length: '44' }, /44 bytes of data there, its type needs 48/],
    ['a negative offset', { location: 'w.bin', offset: '-4' }, /offset is "-4"/],
    ['an offset beyond all files', { location: 'w.bin', offset: '99999999999999999999' }, /offset is/],
  ])('%s is refused with the name of the tensor', (_name, entries, why) => {
    const refused = { code: 106, what: expect.stringMatching(/^tensor "w" keeps its data in the file/) };
    expect(() => load(model(entries), folder)).toThrow(expect.objectContaining(refused));
    expect(() => load(model(entries), folder)).toThrow(why);
  });

  it('needs a folder', () => {
    expect(() => importOnnx(model({ location: 'w.bin' }), { fileName: 'm.onnx', seed: 0 })).toThrow(/without a folder/);
  });
});

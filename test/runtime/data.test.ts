import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { Manifest } from '../../ir/artifact.js';
import { batches, permutation } from '../../runtime/data/batches.js';
import { decodeCsv } from '../../runtime/data/csv.js';
import { bindDataset, splitExamples } from '../../runtime/data/dataset.js';
import type { Examples } from '../../runtime/data/examples.js';
import { chooseNormalization } from '../../runtime/data/normalize.js';
import { openData } from '../../runtime/data/open.js';
import { temporaryFolder, tinyFiles, tinyManifest } from './tiny-artifact.js';
import { userError } from './user-error.js';

function idx(type: number, shape: number[], data: number[]): Buffer {
  const sizes = shape.flatMap((d) => [d >>> 24, (d >>> 16) & 255, (d >>> 8) & 255, d & 255]);
  return Buffer.from([0, 0, type, shape.length, ...sizes, ...data]);
}

function npy(descr: string, shape: number[], data: ArrayBufferView, fortran = false): Buffer {
  const dims = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const header = `{'descr': '${descr}', 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': (${dims}), }`;
  const padded = `${header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11)}\n`;
  const size = Buffer.from([padded.length & 255, padded.length >> 8]);
  const raw = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return Buffer.concat([Buffer.from([0x93]), Buffer.from('NUMPY\x01\x00', 'latin1'), size, Buffer.from(padded), raw]);
}

/** A zip file of deflated members, as numpy.savez_compressed writes it. */
function zip(members: Record<string, Buffer>): Buffer {
  const locals: Buffer[] = [];
  const central: Buffer[] = [];
  let at = 0;
  for (const [name, body] of Object.entries(members)) {
    const packed = deflateRawSync(body);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(8, 8);
    local.writeUInt16LE(name.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(8, 10);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(body.length, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(at, 42);
    locals.push(local, Buffer.from(name), packed);
    central.push(entry, Buffer.from(name));
    at += 30 + name.length + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(members).length, 10);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...locals, ...central, end]);
}

function folder(files: Record<string, Buffer | string>): string {
  const dir = temporaryFolder();
  for (const [name, data] of Object.entries(files)) writeFileSync(join(dir, name), data);
  return dir;
}

const images = idx(8, [2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 255]);
const labels = idx(8, [2], [1, 0]);

describe('IDX', () => {
  it('is found with its labels in a folder, plain or gzipped, with the test set', () => {
    const dir = folder({
      'train-images-idx3-ubyte.gz': gzipSync(images),
      'train-labels-idx1-ubyte': labels,
      't10k-images-idx3-ubyte': images,
      't10k-labels-idx1-ubyte.gz': gzipSync(labels),
    });
    const { train, test } = openData(dir);
    expect(train).toMatchObject({ count: 2, shape: [2, 2], targetWidth: 1 });
    expect([...train.features]).toEqual([1, 2, 3, 4, 5, 6, 7, 255]);
    expect([...train.targets]).toEqual([1, 0]);
    expect(test?.count).toBe(2);
    expect(openData(join(dir, 'train-images-idx3-ubyte.gz')).train).toEqual(train);
  });
  it('is read as IMAGES,LABELS, floats included', () => {
    const float = Buffer.alloc(8);
    float.writeFloatBE(0.5, 0);
    float.writeFloatBE(-2, 4);
    const dir = folder({ 'x.idx': idx(13, [2, 1], [...float]), 'y.idx': labels });
    expect([...openData(`${dir}/x.idx,${dir}/y.idx`).train.features]).toEqual([0.5, -2]);
  });
  it.each([
    ['cut off', 305, images.subarray(0, 20), labels],
    ['cut off in the header', 305, images.subarray(0, 9), labels],
    ['with bytes too many', 305, Buffer.concat([images, Buffer.from([0])]), labels],
    ['that is not IDX', 306, Buffer.from('hello, world'), labels],
    ['of unknown elements', 307, idx(9, [2, 1], [1, 2]), labels],
    ['with too few labels', 308, images, idx(8, [1], [1])],
    ['without examples', 309, idx(8, [0, 2, 2], []), idx(8, [0], [])],
  ])('%s is refused: E%i', (_what, code, x, y) => {
    const dir = folder({ 'train-images-idx3-ubyte': x, 'train-labels-idx1-ubyte': y });
    expect(userError(() => openData(dir)).code).toBe(code);
  });
  it('with a damaged gzip, or without labels, is refused', () => {
    const damaged = gzipSync(images).subarray(0, 20);
    expect(
      userError(() => openData(folder({ 'train-images-idx3-ubyte.gz': damaged, 'train-labels-idx1-ubyte': labels })))
        .code,
    ).toBe(306);
    expect(userError(() => openData(folder({ 'train-images-idx3-ubyte': images }))).code).toBe(304);
  });
});

describe('CIFAR-10', () => {
  const row = (label: number, value: number): Buffer =>
    Buffer.concat([Buffer.from([label]), Buffer.alloc(3072, value)]);
  it('is read from files and from a folder', () => {
    const dir = folder({
      'data_batch_1.bin': Buffer.concat([row(3, 10), row(4, 20)]),
      'data_batch_2.bin': row(9, 30),
      'test_batch.bin': row(0, 40),
    });
    const { train, test } = openData(dir);
    expect(train).toMatchObject({ count: 3, shape: [3, 32, 32] });
    expect([...train.targets]).toEqual([3, 4, 9]);
    expect([train.features[0], train.features[3072], train.features[6144]]).toEqual([10, 20, 30]);
    expect(test?.targets[0]).toBe(0);
    expect(openData(`${dir}/data_batch_1.bin,${dir}/data_batch_2.bin`).train.count).toBe(3);
  });
  it('of partial rows, or in an empty folder, is refused', () => {
    expect(userError(() => openData(join(folder({ 'a.bin': row(1, 1).subarray(0, 99) }), 'a.bin'))).code).toBe(305);
    expect(userError(() => openData(folder({}))).code).toBe(303);
  });
});

describe('csv', () => {
  const read = (text: string, options = {}): Examples => decodeCsv(text, 't.csv', options);
  it.each([
    ['comma', '1,2,0\n3,4.5,1\n'],
    ['header', 'a,b,label\n1,2,0\n3,4.5,1'],
    ["scikit-learn's header of another width", '2,2,setosa,versicolor\r\n1,2,0\r\n3,4.5,1\r\n'],
    ['semicolons', '1;2;0\n3;4.5;1\n\n'],
    ['tabs', '1\t2\t0\n3\t4.5\t1'],
    ['spaces', ' 1 2  0\n3   4.5 1'],
    ['a byte order mark', '\uFEFF1,2,0\n3,4.5,1'],
  ])('is read with %s', (_what, text) => {
    const set = read(text);
    expect(set).toMatchObject({ count: 2, shape: [2] });
    expect([...set.features]).toEqual([1, 2, 3, 4.5]);
    expect([...set.targets]).toEqual([0, 1]);
  });
  it('takes the label from where it is told', () => {
    expect([...read('1,2,0\n3,4,1', { labelColumn: 'first' }).targets]).toEqual([1, 3]);
    expect([...read('1,2,0\n3,4,1', { labelColumn: '2' }).targets]).toEqual([2, 4]);
    expect([...read('x,y,z\n1,2,0\n3,4,1', { labelColumn: 'y' }).features]).toEqual([1, 0, 3, 1]);
    expect([...read('1,2,0\n3,4,1', { targetWidth: 2 }).targets]).toEqual([2, 0, 4, 1]);
  });
  it('is unpacked', () => {
    expect(openData(join(folder({ 'd.csv.gz': gzipSync('1,2,0\n') }), 'd.csv.gz')).train.count).toBe(1);
  });
  it.each([
    ['a field that is no number', 310, '1,2,0\n3,x,1', {}, 't.csv:2, column 2'],
    ['an empty field', 310, '1,2,0\n3,,1', {}, 't.csv:2, column 2'],
    ['another number of columns', 311, '1,2,0\n\n3,1', {}, 't.csv:3'],
    ['no lines', 309, '\n \n', {}, 't.csv'],
    ['a header alone', 309, 'a,b,c\n', {}, 't.csv'],
    ['no such label column', 312, 'a,b\n1,2', { labelColumn: 'c' }, 't.csv'],
    ['a single column', 312, '1\n2', {}, 't.csv'],
  ])('with %s is refused: E%i', (_what, code, text, options, place) => {
    const error = userError(() => read(text, options));
    expect(error.code).toBe(code);
    expect(error.loc).toBe(place);
  });
});

describe('NumPy', () => {
  const x = npy('<f4', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6));
  const y = npy('<i8', [2], BigInt64Array.of(1n, 0n));
  it('arrays are read in pairs and from .npz', () => {
    const dir = folder({ 'x.npy': x, 'y.npy': y, 'd.npz': zip({ 'x.npy': x, 'y.npy': y }) });
    const { train } = openData(`${dir}/x.npy,${dir}/y.npy`);
    expect(train).toMatchObject({ count: 2, shape: [3], targetWidth: 1 });
    expect([...train.features]).toEqual([1, 2, 3, 4, 5, 6]);
    expect([...train.targets]).toEqual([1, 0]);
    expect({ ...openData(`${dir}/d.npz`).train, source: '' }).toEqual({ ...train, source: '' });
  });
  it.each([
    ['<f8', Float64Array.of(0.5, 3)],
    ['|u1', Uint8Array.of(0, 255)],
    ['<i2', Int16Array.of(-3, 4)],
    ['|b1', Uint8Array.of(0, 1)],
  ])('elements of type %s are read', (descr, data) => {
    const dir = folder({ 'x.npy': npy(descr, [2, 1], data), 'y.npy': y });
    expect([...openData(`${dir}/x.npy,${dir}/y.npy`).train.features]).toEqual([...data]);
  });
  it.each([
    ['cut off', 305, x.subarray(0, x.length - 4)],
    ['cut off in the header', 305, x.subarray(0, 30)],
    ['of no array', 306, Buffer.from('not an array')],
    ['in Fortran order', 307, npy('<f4', [2, 3], new Float32Array(6), true)],
    ['big-endian', 307, npy('>f4', [2, 3], new Float32Array(6))],
    ['of another count', 308, npy('<f4', [3, 1], new Float32Array(3))],
  ])('a file %s is refused: E%i', (_what, code, bytes) => {
    const dir = folder({ 'x.npy': bytes, 'y.npy': y });
    expect(userError(() => openData(`${dir}/x.npy,${dir}/y.npy`)).code).toBe(code);
  });
  it('an .npz that is cut off or lacks arrays is refused', () => {
    const whole = zip({ 'x.npy': x });
    expect(userError(() => openData(join(folder({ 'd.npz': whole.subarray(0, 60) }), 'd.npz'))).code).toBe(306);
    expect(userError(() => openData(join(folder({ 'd.npz': whole }), 'd.npz'))).what).toContain('no array y');
  });
});

it('data that is not there, or of no known form, is refused', () => {
  expect(userError(() => openData('/nowhere/at/all.csv')).code).toBe(301);
  expect(userError(() => openData(join(folder({ 'a.png': 'x' }), 'a.png'))).code).toBe(302);
});

// ---- Fitting examples to a model ----

function manifestFor(shape: number[], target: Manifest['loss']['target']): Manifest {
  const m = tinyManifest(tinyFiles());
  return { ...m, inputs: [{ name: 'image', dtype: 'f32', shape: [4, ...shape] }], loss: { ...m.loss, target } };
}
const classes = (n: number): Manifest['loss']['target'] => ({ dtype: 'i32', shape: [4], classes: n });
const bytes: Examples = {
  ...{ source: 'set', count: 2, shape: [8], targetWidth: 1 },
  features: Uint8Array.of(0, 51, 102, 153, 204, 255, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255),
  targets: Int32Array.of(2, 0),
};
const none = { mean: Float64Array.of(0), std: Float64Array.of(1), inner: 1 };

describe('a data set', () => {
  it('is reshaped and scaled: bytes / 255 unless told otherwise', () => {
    const manifest = manifestFor([2, 2, 2], classes(3));
    const set = bindDataset(bytes, manifest, chooseNormalization('unit', bytes, [2, 2, 2]));
    const out = new Float32Array(8);
    set.gather([0], out);
    expect(set.shape).toEqual([2, 2, 2]);
    [0, 0.2, 0.4, 0.6, 0.8, 1, 0, 0].forEach((v, i) => {
      expect(out[i]).toBeCloseTo(v, 6);
    });
    const target = new Int32Array(2);
    set.gatherTargets([1, 0], target);
    expect([...target]).toEqual([0, 2]);
  });
  it.each([
    ['none', (v: number) => v],
    ['0.5,0.25', (v: number) => (v / 255 - 0.5) / 0.25],
  ])('takes --normalize %s', (text, expected) => {
    const set = bindDataset(bytes, manifestFor([8], classes(3)), chooseNormalization(text, bytes, [8]));
    const out = new Float32Array(16);
    set.gather([0, 1], out);
    [...bytes.features].forEach((v, i) => {
      expect(out[i]).toBeCloseTo(expected(v), 4);
    });
  });
  it.each([
    ['per channel', [2, 2, 2], (i: number) => Math.floor(i / 4)],
    ['per column', [8], (i: number) => i],
    ['over all', [2, 4], () => 0],
  ] as [string, number[], (i: number) => number][])('is standardised %s', (_how, shape, group) => {
    const set = bindDataset(bytes, manifestFor(shape, classes(3)), chooseNormalization('standard', bytes, shape));
    const out = new Float32Array(16);
    set.gather([0, 1], out);
    for (const g of new Set(Array.from({ length: 8 }, (_, i) => group(i)))) {
      const own = [...out].filter((_, i) => group(i % 8) === g);
      const raw = [...bytes.features].filter((_, i) => group(i % 8) === g);
      const mean = own.reduce((a, b) => a + b, 0) / own.length;
      const square = own.reduce((a, b) => a + (b - mean) ** 2, 0) / own.length;
      expect(mean).toBeCloseTo(0, 5);
      // A constant column stays 0.
      expect(square).toBeCloseTo(new Set(raw).size > 1 ? 1 : 0, 5);
    }
  });
  it('gives soft targets for class numbers where the loss takes them', () => {
    const set = bindDataset(bytes, manifestFor([8], { dtype: 'f32', shape: [4, 3], classes: 3 }), none);
    const out = new Float32Array(6);
    set.gatherTargets([0, 1], out);
    expect([...out]).toEqual([0, 0, 1, 1, 0, 0]);
  });

  const floats = (at: number, value: number): Examples => {
    const features = new Float32Array(16);
    features[at] = value;
    return { ...bytes, features };
  };
  const labelled = (...targets: number[]): Examples => ({ ...bytes, targets: Float32Array.from(targets) });
  it.each([
    ['examples of another size', 313, { ...bytes, shape: [4] }, classes(3), 'set'],
    ['a label that is no class', 314, bytes, classes(2), 'set, example 0'],
    ['a negative label', 314, labelled(0, -1), classes(3), 'set, example 1'],
    ['a label between classes', 315, labelled(0, 0.5), classes(3), 'set, example 1'],
    ['NaN', 316, floats(9, Number.NaN), classes(3), 'set, example 1, element 1'],
    ['infinity', 316, floats(3, Infinity), classes(3), 'set, example 0, element 3'],
    ['a NaN label', 316, labelled(0, Number.NaN), { dtype: 'f32', shape: [4, 1] }, 'set, example 1, element 0'],
    ['targets of another width', 317, bytes, { dtype: 'f32', shape: [4, 2] }, 'set'],
  ] as [string, number, Examples, Manifest['loss']['target'], string][])(
    'with %s is refused: E%i',
    (_what, code, examples, target, place) => {
      const error = userError(() => bindDataset(examples, manifestFor([8], target), none));
      expect(error.code).toBe(code);
      expect(error.loc).toBe(place);
    },
  );
  it('is refused for a model of two inputs, and for a bad normalisation', () => {
    const manifest = manifestFor([8], classes(3));
    const two = { ...manifest, inputs: [manifest.inputs[0], manifest.inputs[0]] };
    expect(userError(() => bindDataset(bytes, two, none)).code).toBe(320);
    for (const text of ['nothing', '1', '1,0', '1,x'])
      expect(userError(() => chooseNormalization(text, bytes, [8])).code).toBe(318);
  });
});

describe('order', () => {
  it('is a permutation that depends on seed and epoch, and on nothing else', () => {
    const p = permutation(1000, 1, 0);
    expect([...p].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(permutation(1000, 1, 0)).toEqual(p);
    expect(permutation(1000, 1, 1)).not.toEqual(p);
    expect(permutation(1000, 2, 0)).not.toEqual(p);
  });
  it('is uniform: every element is as often in every place', () => {
    const [n, runs] = [6, 6000];
    const seen = new Float64Array(n * n);
    for (let r = 0; r < runs; r++) {
      const order = permutation(n, 7, r);
      for (let i = 0; i < n; i++) seen[i * n + order[i]]++;
    }
    // Chi-squared with 25 degrees of freedom: above 52.6 with probability 0.001; the seed is fixed, so this never flickers.
    const expected = runs / n;
    const chi = seen.reduce((s, o) => s + (o - expected) ** 2 / expected, 0);
    expect(chi).toBeLessThan(52.6);
  });
  it('is cut into batches, the last one short', () => {
    expect([...batches(Int32Array.of(4, 3, 2, 1, 0), 2)].map((b) => [...b])).toEqual([[4, 3], [2, 1], [0]]);
  });
  it('splits a set without loss, repeatably', () => {
    const all: Examples = {
      ...{ source: 's', count: 10, shape: [1], targetWidth: 1 },
      features: Float32Array.from({ length: 10 }, (_, i) => i),
      targets: Int32Array.from({ length: 10 }, (_, i) => i),
    };
    const { train, validation } = splitExamples(all, 0.2, 1);
    expect([train.count, validation.count]).toEqual([8, 2]);
    expect([...train.targets, ...validation.targets].sort((a, b) => a - b)).toEqual([...all.targets]);
    expect([...train.features]).toEqual([...train.targets]);
    expect(splitExamples(all, 0.2, 1)).toEqual({ train, validation });
    expect(userError(() => splitExamples(all, 0.01, 1)).code).toBe(319);
  });
});

// ---- Real files ----

const shared = '../shared/data/datasets';
describe.runIf(existsSync(shared))('real data', () => {
  it('MNIST', () => {
    const { train, test } = openData(`${shared}/mnist`);
    expect([train.count, test?.count, train.shape]).toEqual([60_000, 10_000, [28, 28]]);
    // The first labels of the training set, as every description of it gives them.
    expect([...train.targets.slice(0, 10)]).toEqual([5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    // The mean that everybody normalises with: 0.1307.
    const norm = chooseNormalization('standard', train, [1, 28, 28]);
    expect(norm.mean[0] / 255).toBeCloseTo(0.1307, 4);
    expect(norm.std[0] / 255).toBeCloseTo(0.3081, 4);
  });
  it('CIFAR-10 and tables', () => {
    expect(openData(`${shared}/cifar10/train_4k_lossless.bin`).train.count).toBe(4000);
    const iris = openData(`${shared}/tabular/iris.csv`).train;
    expect([iris.count, iris.shape]).toEqual([150, [4]]);
    const diabetes = openData(`${shared}/tabular/diabetes_data_raw.csv.gz`).train;
    expect([diabetes.count, diabetes.shape]).toEqual([442, [9]]);
  });
});
it('the digits that are shipped', () => {
  const { train } = openData('examples/digits/digits.csv.gz');
  expect([train.count, train.shape]).toEqual([1797, [64]]);
  expect(Math.max(...train.features)).toBe(16);
});

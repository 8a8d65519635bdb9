/**
 * Finds out what `--data` names and loads it: a folder with the files of MNIST or CIFAR-10 (training and test set), or
 * files, several joined by commas. The form is taken from names, and for IDX from the contents.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  countsDiffer,
  dataCorrupt,
  dataEmpty,
  dataFormatUnknown,
  dataNotFound,
  folderWithoutData,
  labelsNotFound,
} from '../../ir/diagnostics/data.js';
import { decodeCifar } from './cifar.js';
import { type CsvOptions, decodeCsv } from './csv.js';
import { concatExamples, type Examples } from './examples.js';
import { decodeIdx, isIdx } from './idx.js';
import { decodeNpy, decodeNpz, type NpyArray } from './npy.js';
import { readDataFile } from './read-file.js';

export interface OpenedData {
  readonly train: Examples;
  /** Present where the folder has a test set of its own. */
  readonly test?: Examples;
}

/** Loads what `spec` names. UserError E301-E312. */
export function openData(spec: string, options: CsvOptions = {}): OpenedData {
  const opened = isFolder(spec) ? openFolder(spec) : { train: openFiles(spec, options) };
  for (const set of [opened.train, opened.test]) if (set?.count === 0) throw dataEmpty(set.source);
  return opened;
}

function isFolder(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory();
}

function openFolder(dir: string): OpenedData {
  const names = readdirSync(dir).sort();
  const find = (pattern: RegExp): string[] => names.filter((n) => pattern.test(n)).map((n) => join(dir, n));
  const trainImages = find(/^train-images[.-]idx3-ubyte(\.gz)?$/);
  if (trainImages.length > 0) {
    const testImages = find(/^t10k-images[.-]idx3-ubyte(\.gz)?$/);
    return { train: openIdx(trainImages[0]), test: testImages[0] ? openIdx(testImages[0]) : undefined };
  }
  const trainRows = find(/^data_batch_\d+\.bin$/);
  if (trainRows.length > 0) {
    const testRows = find(/^test_batch\.bin$/);
    return { train: openCifar(trainRows), test: testRows[0] ? openCifar(testRows) : undefined };
  }
  throw folderWithoutData(dir, [
    'train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz] (MNIST)',
    'data_batch_1.bin, ... (CIFAR-10)',
  ]);
}

function openFiles(spec: string, options: CsvOptions): Examples {
  // A file whose name holds a comma is still a file.
  const paths = existsSync(spec) ? [spec] : spec.split(',').map((p) => p.trim());
  for (const p of paths) if (!existsSync(p)) throw dataNotFound(p);
  const all = (pattern: RegExp): boolean => paths.every((p) => pattern.test(p));
  if (paths.length === 1 && all(/\.(csv|tsv|txt)(\.gz)?$/i))
    return decodeCsv(new TextDecoder().decode(readDataFile(paths[0])), paths[0], options);
  if (all(/\.bin$/i)) return openCifar(paths);
  if (paths.length === 2 && all(/\.npy$/i)) {
    const [x, y] = paths.map((p) => decodeNpy(readDataFile(p), p));
    return pairArrays(spec, x, y);
  }
  if (paths.length === 1 && all(/\.npy$/i)) throw labelsNotFound(paths[0], ['X.npy,Y.npy']);
  if (paths.length === 1 && all(/\.npz$/i)) return openNpz(paths[0]);
  if (paths.length <= 2 && isIdx(readDataFile(paths[0]))) return openIdx(paths[0], paths[1]);
  throw dataFormatUnknown(spec);
}

function openCifar(paths: readonly string[]): Examples {
  return concatExamples(paths.map((p) => decodeCifar(readDataFile(p), p)));
}

function openIdx(images: string, labels: string = labelsBeside(images)): Examples {
  return pairArrays(images, decodeIdx(readDataFile(images), images), decodeIdx(readDataFile(labels), labels));
}

/** `train-images-idx3-ubyte.gz` -> `train-labels-idx1-ubyte[.gz]`. */
function labelsBeside(images: string): string {
  const plain = basename(images).replace(/\.gz$/, '');
  const name = plain.replace('images', 'labels').replace(/idx\d/, 'idx1');
  const candidates = [name, `${name}.gz`];
  const found = name === plain ? undefined : candidates.find((c) => existsSync(join(dirname(images), c)));
  if (found === undefined) throw labelsNotFound(images, candidates);
  return join(dirname(images), found);
}

function openNpz(path: string): Examples {
  const arrays = decodeNpz(readDataFile(path), path);
  const pick = (names: readonly string[]): NpyArray => {
    const found = names.find((n) => arrays.has(n));
    if (found === undefined)
      throw dataCorrupt(path, `it has no array ${names.join(' or ')} (it has ${[...arrays.keys()].join(', ')})`);
    return arrays.get(found)!;
  };
  return pairArrays(
    path,
    pick(['x', 'X', 'x_train', 'images', 'data']),
    pick(['y', 'Y', 'y_train', 'labels', 'target']),
  );
}

/** Arrays whose first dimension counts the examples. */
function pairArrays(source: string, x: NpyArray, y: NpyArray): Examples {
  const count = x.shape[0] ?? 0;
  if (x.shape.length === 0 || y.shape.length === 0 || y.shape[0] !== count)
    throw countsDiffer(source, count, y.shape[0] ?? 0);
  const features = x.data instanceof Int32Array ? Float32Array.from(x.data) : x.data;
  const targets = y.data instanceof Uint8Array ? Int32Array.from(y.data) : y.data;
  const targetWidth = y.shape.slice(1).reduce((a, b) => a * b, 1);
  return { source, count, shape: x.shape.slice(1), features, targets, targetWidth };
}

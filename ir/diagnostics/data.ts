/**
 * What can be wrong with training data: E3xx, each with the file, and the row where there is one.
 */
import { UserError } from './error.js';

export const dataNotFound = (path: string): UserError =>
  new UserError(
    301,
    `no such file or folder, or it cannot be read`,
    'check the path given to --data or --validation',
    path,
  );

export const dataFormatUnknown = (path: string): UserError =>
  new UserError(
    302,
    'the form of the data is not known',
    'known: a folder with MNIST or CIFAR-10 files, *-idx3-ubyte[.gz], FILE.csv[.gz], FILE.bin (CIFAR-10), X.npy,Y.npy, FILE.npz',
    path,
  );

export const folderWithoutData = (path: string, looked: readonly string[]): UserError =>
  new UserError(303, `the folder holds no data set that is known`, `looked for ${looked.join('; ')}`, path);

export const labelsNotFound = (path: string, looked: readonly string[]): UserError =>
  new UserError(
    304,
    `no labels found beside the images`,
    `looked for ${looked.join(', ')}; or give IMAGES,LABELS`,
    path,
  );

export const dataTruncated = (path: string, found: number, expected: number): UserError =>
  new UserError(
    305,
    `the file has ${found} bytes where ${expected} were due`,
    'the file is cut off or damaged: get it again',
    path,
  );

export const dataCorrupt = (path: string, why: string): UserError =>
  new UserError(306, `the file cannot be read: ${why}`, 'check that the file is what its name says', path);

export const dataTypeUnsupported = (path: string, found: string, known: string): UserError =>
  new UserError(307, `elements of type ${found} are not supported`, `convert the data to one of ${known}`, path);

export const countsDiffer = (path: string, examples: number, labels: number): UserError =>
  new UserError(
    308,
    `${examples} examples, but ${labels} labels`,
    'give the labels that belong to these examples',
    path,
  );

export const dataEmpty = (path: string): UserError =>
  new UserError(309, 'the data set has no examples', 'give a file with at least one example', path);

export const csvField = (path: string, line: number, column: number, text: string): UserError =>
  new UserError(
    310,
    `'${text.slice(0, 40)}' is not a number`,
    'every column must be numeric (class labels as 0, 1, 2, ...)',
    `${path}:${line}, column ${column}`,
  );

export const csvColumns = (path: string, line: number, found: number, expected: number): UserError =>
  new UserError(
    311,
    `the line has ${found} columns, the first one has ${expected}`,
    'every line must have the same columns',
    `${path}:${line}`,
  );

export const csvLabelColumn = (path: string, column: string, known: string): UserError =>
  new UserError(312, `there is no column '${column}' to take labels from`, `--label-column takes ${known}`, path);

export const exampleShape = (
  path: string,
  found: readonly number[],
  input: string,
  expected: readonly number[],
): UserError =>
  new UserError(
    313,
    `an example has shape [${found}], ${found.reduce((a, b) => a * b, 1)} elements; the model's input '${input}' is [${expected}] for each example`,
    'give the data that the model was made for, or compile with --input NAME:SHAPE',
    path,
  );

export const labelRange = (path: string, row: number, label: number, classes: number): UserError =>
  new UserError(
    314,
    `label ${label} is not a class of the model, which has ${classes} (0 to ${classes - 1})`,
    'check --label-column, number the classes from 0, or use a model with that many outputs',
    `${path}, example ${row}`,
  );

export const labelNotInteger = (path: string, row: number, label: number): UserError =>
  new UserError(
    315,
    `label ${label} is not a whole number`,
    'a classifier needs class numbers; for regression compile with --loss mean-squared-error',
    `${path}, example ${row}`,
  );

export const notFinite = (path: string, row: number, element: number, value: number): UserError =>
  new UserError(
    316,
    `the data contain ${value}`,
    'remove or replace missing values before training',
    `${path}, example ${row}, element ${element}`,
  );

export const targetShape = (path: string, found: number, expected: number): UserError =>
  new UserError(
    317,
    `${found} target values for each example, the loss takes ${expected}`,
    'give targets of the shape that `spngdc inspect` shows',
    path,
  );

export const badNormalization = (text: string): UserError =>
  new UserError(
    318,
    `'${text}' is not a normalisation`,
    '--normalize takes none, unit, standard, or MEAN,STD (STD not 0)',
  );

export const badSplit = (fraction: number, count: number): UserError =>
  new UserError(
    319,
    `a split of ${fraction} leaves training or validation without examples (of ${count})`,
    '--split takes a fraction between 0 and 1, for example 0.2',
  );

export const inputUnsupported = (why: string): UserError =>
  new UserError(
    320,
    `this model cannot be fed from one data set: ${why}`,
    'run feeds a single data input of floats or of whole numbers; export the model with its other inputs folded in',
  );

export const notWhole = (path: string, row: number, element: number, value: number, bits: 8 | 32): UserError =>
  new UserError(
    321,
    `the model takes ${bits === 8 ? 'bytes' : 'whole numbers'}, the data contain ${value}`,
    bits === 8 ? 'give the bytes of images, 0 to 255' : 'give numbers of tokens, of at most 32 bits',
    `${path}, example ${row}, element ${element}`,
  );

export const badAugmentation = (text: string, part: string): UserError =>
  new UserError(
    330,
    `'${part}' is not an augmentation (in '${text}')`,
    '--augment takes flip, crop:PIXELS (less than the image has), mixup:ALPHA (above 0) and erase:PROBABILITY, each at most once, joined by commas; or none',
  );

export const augmentationNeedsImages = (
  input: string,
  dtype: string,
  shape: readonly number[],
  which: string,
): UserError =>
  new UserError(
    331,
    `--augment ${which} is for images [channels, height, width]; the model's input '${input}' is ${dtype}[${shape.join(', ')}]`,
    `leave out ${which}; a model that takes channels last must be exported with channels first`,
  );

export const mixupNeedsSoftLabels = (input: string): UserError =>
  new UserError(
    332,
    input === 'f32'
      ? '--augment mixup mixes labels, and the artifact takes class numbers'
      : `--augment mixup mixes examples, and the model takes ${input === 'u8' ? 'bytes' : 'whole numbers'}`,
    input === 'f32' ? 'compile the model with --labels soft, or leave out mixup' : 'leave out mixup',
  );

/**
 * What can go wrong while a model trains, or when its results are written: E5xx.
 */
import { UserError } from './error.js';

export const lossNotFinite = (loss: number, step: number, epoch: number, settings: string): UserError =>
  new UserError(
    501,
    `the loss is ${loss} at step ${step} (epoch ${epoch}): the training diverged`,
    `lower --lr, raise --damping or lower --kl-clip (now ${settings}), and check that the data are scaled (--normalize); no model was written`,
  );

export const weightsNotFinite = (name: string): UserError =>
  new UserError(
    502,
    `'${name}' holds values that are not finite after training: the training diverged`,
    'lower --lr or raise --damping; no model was written',
  );

export const cannotWrite = (path: string, why: string): UserError =>
  new UserError(503, `cannot write: ${why}`, 'choose another folder, or change its permissions', path);

export const notOurFolder = (path: string): UserError =>
  new UserError(
    504,
    'the output folder exists and is not an artifact of spngdc',
    'choose another folder with -o, or remove this one yourself',
    path,
  );

export const exportTooLarge = (bytes: number): UserError =>
  new UserError(
    505,
    `the trained .onnx would have ${bytes} bytes; an ONNX file holds at most 2 GiB`,
    'use weights.safetensors instead',
  );

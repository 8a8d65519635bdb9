/**
 * What can keep a run from being continued from a checkpoint: E520-E526. A checkpoint is untrusted input: each of these is
 * found before anything of it reaches a device.
 */
import { UserError } from './error.js';

const olderOne =
  'remove the file to continue from the checkpoint before it, or leave out --resume and begin anew with another --out';

export const checkpointForeign = (file: string): UserError =>
  new UserError(520, 'the file is not a checkpoint of spngdc', olderOne, file);

export const checkpointVersion = (file: string, found: number, known: number): UserError =>
  new UserError(
    521,
    `the checkpoint has version ${found}, this runtime reads version ${known}`,
    'continue with the version of spngdc that wrote it',
    file,
  );

export const checkpointBroken = (file: string, why: string): UserError =>
  new UserError(522, `the checkpoint cannot be read: ${why}`, olderOne, file);

/** `what`: how the artifacts differ. */
export const checkpointOfOther = (file: string, what: string): UserError =>
  new UserError(
    523,
    `the checkpoint belongs to another artifact: ${what}`,
    'continue with the artifact that it was written by, or begin anew with another --out',
    file,
  );

/** `differences`: each with the value in the checkpoint and the one asked for. */
export const checkpointSettings = (file: string, differences: readonly string[]): UserError =>
  new UserError(
    524,
    `the run that wrote the checkpoint had other settings: ${differences.join('; ')}`,
    'give --resume with the options that the run began with, or begin anew with another --out',
    file,
  );

export const checkpointsInTheWay = (folder: string, newest: string): UserError =>
  new UserError(
    525,
    `the folder holds checkpoints of an earlier run (the newest is ${newest})`,
    'give --resume to continue it; or choose another --out, or remove the folder yourself',
    folder,
  );

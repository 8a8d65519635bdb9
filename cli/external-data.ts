/**
 * Files beside a model that hold its weights. A model may name files in its own folder and below, nothing else: no absolute
 * paths, no way up, and no link that leads out. Files may be larger than what fits into memory: parts of them are read.
 */
import { closeSync, openSync, readSync, realpathSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join, sep } from 'node:path';
import type { ExternalFile, OpenExternal } from '../compiler/frontend/onnx/external-data.js';

/** One read may take less than 2 GiB. */
const MOST = 2 ** 30;

export function externalFilesOf(model: string): OpenExternal {
  return (location) => {
    if (location === '') return 'the model gives no name';
    if (isAbsolute(location) || /^[A-Za-z]:|^[\\/]/.test(location)) return 'the path is absolute';
    if (location.includes('\0')) return 'the name holds a zero byte';
    if (location.split(/[\\/]/).includes('..')) return "it would lie outside of the model's folder";
    try {
      const folder = realpathSync(dirname(model));
      const path = realpathSync(join(folder, location));
      if (!path.startsWith(folder.endsWith(sep) ? folder : folder + sep))
        return "a link leads out of the model's folder";
      const info = statSync(path);
      return info.isFile() ? opened(path, info.size) : 'it is no file';
    } catch (e) {
      return reasons[(e as NodeJS.ErrnoException).code ?? ''] ?? (e as Error).message;
    }
  };
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'there is no such file',
  EACCES: 'reading it is not allowed',
  ELOOP: 'its links go in a circle',
};

function opened(path: string, bytes: number): ExternalFile {
  return {
    bytes,
    read: (offset, length) => {
      const out = new Uint8Array(length);
      const file = openSync(path, 'r');
      try {
        for (let at = 0; at < length; ) {
          const got = readSync(file, out, at, Math.min(MOST, length - at), offset + at);
          if (got === 0) throw new Error(`${path} was cut off while it was read`);
          at += got;
        }
      } finally {
        closeSync(file);
      }
      return out;
    },
  };
}

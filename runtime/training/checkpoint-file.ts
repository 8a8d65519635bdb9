/**
 * One checkpoint as a file: a line of JSON (what it belongs to, where the run stands, which tensors follow), the tensors' bytes
 * one after the other, and the SHA-256 of all that. Written and read tensor by tensor, so that a state of gigabytes needs
 * no second copy; written under another name, flushed and renamed, so that there is never half a checkpoint.
 */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { checkpointBroken, checkpointForeign, checkpointVersion } from '../../ir/diagnostics/checkpoint.js';
import { cannotWrite } from '../../ir/diagnostics/run.js';
import type { SavedRefreshes } from './refreshes.js';

const FORMAT = 'spngdc checkpoint';
const VERSION = 1;
const HASH_BYTES = 32;
/** Of the line of JSON; it grows with the number of epochs, some hundred bytes each. */
const MAX_HEADER = 1 << 26;
const CHUNK = 1 << 22;

/** JSON has no numbers that are not finite: they are written as words. */
const number = z.union([z.number(), z.enum(['NaN', 'Infinity', '-Infinity']).transform(Number)]);
const count = z.int().nonnegative();
const positive = z.int().positive();
const evaluation = z.strictObject({ loss: number, accuracy: number.optional(), top5: number.optional(), count });

/** Steps and intervals of statistics that go stale. */
const refreshes = z.strictObject({
  statistics: z.record(
    z.string(),
    z.strictObject({ next: count, last: count, interval: positive, before: positive, limit: positive.optional() }),
  ),
  waiting: z
    .array(z.strictObject({ step: count, similar: z.record(z.string(), z.enum(['none', 'last', 'both'])) }))
    .readonly(),
  count: z.strictObject({ steps: count, A: count, others: count }),
}) satisfies z.ZodType<SavedRefreshes>;

const progressSchema = z.strictObject({
  /** Steps done. */
  step: count,
  /** Sums over the steps of the epoch that has begun. */
  sum: z.strictObject({
    loss: number,
    count,
    correct: number,
    failed: number,
    notFinite: number,
    seconds: number,
  }),
  /** Reports of the epochs that have ended. */
  epochs: z.array(
    z.strictObject({
      epoch: count,
      step: count,
      train: evaluation,
      validation: evaluation.optional(),
      failedInversions: number,
      notFinite: number,
      seconds: number,
    }),
  ),
  /** Where refreshes depend on steps before: absent where the curvature is refreshed in every step. */
  refreshes: refreshes.optional(),
});

/** Where a run stands between two steps, beside what the device holds. */
export type Progress = z.infer<typeof progressSchema>;

const headerSchema = z.strictObject({
  format: z.literal(FORMAT),
  version: z.literal(VERSION),
  model: z.string(),
  /** SHA-256 of the model's file, and of the artifact's manifest, which holds those of all its files. */
  modelSha256: z.string(),
  artifactSha256: z.string(),
  /** `wasm` or `webgpu`, whose numbers differ in rounding. */
  target: z.string(),
  /** Every setting of the run by its name, as text. */
  settings: z.record(z.string(), z.string()),
  progress: progressSchema,
  /** Length of metrics.jsonl. */
  logBytes: count,
  /** In the order of their bytes. */
  tensors: z.array(z.strictObject({ name: z.string(), bytes: count })),
});

export type CheckpointHeader = z.infer<typeof headerSchema>;
export type CheckpointContent = Omit<CheckpointHeader, 'format' | 'version'>;

/**
 * Writes a checkpoint to `file`, which is replaced. `tensor` gives each of `content.tensors`, and is asked once for each, in
 * order. UserError E503 where that fails; then the file is as it was.
 */
export async function writeCheckpoint(
  file: string,
  content: CheckpointContent,
  tensor: (name: string) => ArrayBufferView | Promise<ArrayBufferView>,
): Promise<void> {
  const temporary = `${file}.${process.pid}.tmp`;
  const hash = createHash('sha256');
  let fd: number | undefined;
  try {
    fd = openSync(temporary, 'w');
    const write = (bytes: Uint8Array): void => {
      hash.update(bytes);
      writeFully(fd!, bytes);
    };
    const header: CheckpointHeader = { format: FORMAT, version: VERSION, ...content };
    const text = JSON.stringify(header, (_, v) => (typeof v === 'number' && !Number.isFinite(v) ? String(v) : v));
    write(new TextEncoder().encode(`${text}\n`));
    for (const { name, bytes } of content.tensors) {
      const { buffer, byteOffset, byteLength } = await tensor(name);
      if (byteLength !== bytes) throw new Error(`${name} has ${byteLength} bytes instead of ${bytes}`);
      write(new Uint8Array(buffer, byteOffset, byteLength));
    }
    writeFully(fd, hash.digest());
    fsyncSync(fd);
    closeSync(fd);
    fd = undefined;
    renameSync(temporary, file);
    flushFolder(dirname(file));
  } catch (e) {
    if (fd !== undefined) closeSync(fd);
    rmSync(temporary, { force: true });
    if ((e as NodeJS.ErrnoException).code === undefined || typeof (e as NodeJS.ErrnoException).code !== 'string')
      throw e;
    throw cannotWrite(file, (e as Error).message);
  }
}

/** A checkpoint whose bytes are those that were written. */
export interface OpenedCheckpoint {
  readonly header: CheckpointHeader;
  /** The bytes of a tensor; a copy. */
  read(name: string): Uint8Array;
  close(): void;
}

/** Opens and verifies a checkpoint. UserError E520-E522 where it is none, of another version, or damaged. */
export function openCheckpoint(file: string): OpenedCheckpoint {
  let fd: number;
  try {
    fd = openSync(file, 'r');
  } catch (e) {
    throw checkpointBroken(file, (e as Error).message);
  }
  try {
    return verified(fd, file);
  } catch (e) {
    closeSync(fd);
    const { code, message } = e as NodeJS.ErrnoException;
    throw typeof code === 'string' ? checkpointBroken(file, message) : e;
  }
}

function verified(fd: number, file: string): OpenedCheckpoint {
  const size = fstatSync(fd).size;
  const begin = `{"format":"${FORMAT}","version":`;
  const start = new TextDecoder().decode(readAt(fd, 0, Math.min(size, begin.length + 16)));
  if (!start.startsWith(begin)) throw checkpointForeign(file);
  const version = Number.parseInt(start.slice(begin.length), 10);
  if (version !== VERSION) throw checkpointVersion(file, version, VERSION);
  const end = size - HASH_BYTES;
  const hash = createHash('sha256');
  for (let at = 0; at < end; at += CHUNK) hash.update(readAt(fd, at, Math.min(CHUNK, end - at)));
  if (end < 0 || Buffer.compare(hash.digest(), readAt(fd, end, HASH_BYTES)) !== 0)
    throw checkpointBroken(file, 'it is cut off or was changed (its SHA-256 differs)');

  const head = readAt(fd, 0, Math.min(end, MAX_HEADER));
  const length = head.indexOf(0x0a);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(head.subarray(0, Math.max(0, length))));
  } catch {
    throw checkpointBroken(file, 'its first line is not JSON');
  }
  const parsed = headerSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw checkpointBroken(file, `${issue.path.join('.')}: ${issue.message}`);
  }
  const header = parsed.data;
  const places = new Map<string, { at: number; bytes: number }>();
  let at = length + 1;
  for (const { name, bytes } of header.tensors) {
    if (places.has(name)) throw checkpointBroken(file, `'${name}' is there twice`);
    places.set(name, { at, bytes });
    at += bytes;
  }
  if (at !== end) throw checkpointBroken(file, `its tensors end at byte ${at} of ${end}`);
  return {
    header,
    read: (name) => {
      const place = places.get(name);
      if (!place) throw new Error(`the checkpoint has no tensor ${name}`);
      return readAt(fd, place.at, place.bytes);
    },
    close: () => closeSync(fd),
  };
}

function writeFully(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, Math.min(CHUNK, bytes.length - at));
}

/** Throws where the file ends before. */
function readAt(fd: number, position: number, length: number): Uint8Array {
  const out = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const n = readSync(fd, out, at, Math.min(CHUNK, length - at), position + at);
    if (n === 0) throw Object.assign(new Error('it ends too early'), { code: 'EOF' });
    at += n;
  }
  return out;
}

/** So that the new name outlives a failure of power; some systems do not flush folders. */
function flushFolder(dir: string): void {
  try {
    const fd = openSync(dir, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {}
}

/**
 * What a run reports as JSON, one object a line, and the file that keeps it: metrics.jsonl, written line by line, so that it says
 * how far a run came even where that ends badly. A continued run goes on where its checkpoint's lines end.
 */
import { closeSync, existsSync, fsyncSync, ftruncateSync, openSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { cannotWrite } from '../../ir/diagnostics/run.js';
import { makeFolder } from '../write-files.js';
import type { Reporter } from './report.js';

export const METRICS = 'metrics.jsonl';

/** Events as lines: start, step, epoch, done. */
export function jsonLines(write: (line: string) => void): Required<Reporter> {
  const line = (event: string, fields: object): void => write(`${JSON.stringify({ event, ...fields })}\n`);
  return {
    start: (report) => line('start', report),
    step: (report) => line('step', report),
    epoch: (report) => line('epoch', report),
    done: ({ epochs, ...rest }) => line('done', { ...rest, last: epochs.at(-1) }),
  };
}

export class MetricsLog {
  private fd: number | undefined;
  private bytes = 0;

  /** Nothing is written yet: an old file stays until the first line. */
  constructor(readonly file: string) {}

  /** A new run's lines replace the file; a continued run has begun already. */
  readonly reporter: Reporter = {
    ...jsonLines((line) => this.append(line)),
    start: (report) => {
      // Kept for the first step, so that a run that cannot begin leaves nothing behind.
      if (report.continuedAfter === 0) jsonLines((line) => (this.first = line)).start(report);
    },
  };
  private first = '';

  /** Goes on after the first `bytes` bytes of the file, or at its end if it is shorter: then false. */
  rewind(bytes: number): boolean {
    const size = existsSync(this.file) ? statSync(this.file).size : 0;
    this.open('a');
    this.bytes = Math.min(size, bytes);
    this.attempt(() => ftruncateSync(this.fd!, this.bytes));
    return size >= bytes;
  }

  /** What was written is on the disk; returns how many bytes that are. */
  flush(): number {
    if (this.fd !== undefined) this.attempt(() => fsyncSync(this.fd!));
    return this.bytes;
  }

  close(): void {
    if (this.fd !== undefined) closeSync(this.fd);
    this.fd = undefined;
  }

  private append(line: string): void {
    if (this.fd === undefined) this.open('w');
    const text = new TextEncoder().encode(this.first + line);
    this.first = '';
    this.attempt(() => {
      for (let at = 0; at < text.length; ) at += writeSync(this.fd!, text, at);
    });
    this.bytes += text.length;
  }

  private open(how: 'a' | 'w'): void {
    this.attempt(() => {
      makeFolder(dirname(this.file));
      this.fd = openSync(this.file, how);
    });
  }

  private attempt(act: () => void): void {
    try {
      act();
    } catch (e) {
      throw cannotWrite(this.file, (e as Error).message);
    }
  }
}

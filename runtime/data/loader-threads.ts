/**
 * Threads that prepare batches ahead of the step: the examples lie in memory that all share; a small ring of buffers goes to
 * and fro. Who prepares a batch changes nothing in it. Where threads fail, whoever asks does the work itself.
 */
import { Worker } from 'node:worker_threads';
import type { FedType } from './dataset.js';
import type { Preparation } from './gather.js';

export interface WorkerSetting {
  readonly preparation: Preparation;
  readonly dtype: FedType;
}

export interface Order {
  readonly t: number;
  readonly rows: Int32Array;
  readonly buffer: ArrayBuffer;
}

interface Pending {
  readonly done: Promise<ArrayBuffer | undefined>;
  readonly resolve: (buffer: ArrayBuffer | undefined) => void;
}

export interface ThreadOptions {
  readonly threads: number;
  readonly setting: WorkerSetting;
  /** Bytes of a batch's examples. */
  readonly bytes: number;
  /** The examples in a batch; undefined beyond the last one. */
  readonly rowsOf: (t: number) => Int32Array | undefined;
  /** The thread's module; default: the one beside this file. */
  readonly module?: URL;
}

export class LoaderThreads {
  private readonly workers: Worker[] = [];
  private readonly pending = new Map<number, Pending>();
  private readonly free: ArrayBuffer[] = [];
  private next = 0;
  private failed = false;

  constructor(private readonly options: ThreadOptions) {
    try {
      for (let i = 0; i < options.threads; i++) this.workers.push(this.start());
    } catch {
      this.fail();
    }
  }

  /** The examples of batch `t`; undefined where the threads failed. Later batches are ordered at once. */
  async take(t: number): Promise<ArrayBuffer | undefined> {
    if (this.failed) return undefined;
    if (t >= this.next) this.next = t;
    // One in work for each thread, and one ready.
    for (; this.next <= t + this.workers.length; this.next++) if (!this.order(this.next)) break;
    const { done } = this.pending.get(t)!;
    // While somebody waits, and only then, the threads keep the process alive.
    for (const w of this.workers) w.ref();
    const buffer = await done;
    for (const w of this.workers) w.unref();
    this.pending.delete(t);
    return buffer;
  }

  /** A buffer from `take` is not needed any more. */
  giveBack(buffer: ArrayBuffer): void {
    this.free.push(buffer);
  }

  close(): void {
    this.fail();
  }

  private start(): Worker {
    const { module = new URL('./loader-worker.js', import.meta.url), setting } = this.options;
    const worker = new Worker(module, { workerData: setting });
    worker.on('message', ({ t, buffer }: { t: number; buffer: ArrayBuffer }) => this.pending.get(t)?.resolve(buffer));
    worker.on('error', () => this.fail());
    worker.on('exit', () => this.fail());
    worker.unref();
    return worker;
  }

  private order(t: number): boolean {
    const rows = this.options.rowsOf(t);
    if (!rows) return false;
    let resolve: Pending['resolve'] = () => {};
    const done = new Promise<ArrayBuffer | undefined>((r) => {
      resolve = r;
    });
    this.pending.set(t, { done, resolve });
    const buffer = this.free.pop() ?? new ArrayBuffer(this.options.bytes);
    // A copy: of a part of an array, the whole would be sent.
    const order: Order = { t, rows: rows.slice(), buffer };
    this.workers[t % this.workers.length].postMessage(order, [buffer]);
    return true;
  }

  private fail(): void {
    this.failed = true;
    for (const { resolve } of this.pending.values()) resolve(undefined);
    for (const w of this.workers.splice(0)) void w.terminate();
  }
}

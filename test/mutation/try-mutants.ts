/**
 * Tries mutants one after the other in a child process: a crash or a hang ends only that process. What was found
 * is counted, and kept in a file, from which an interrupted run goes on.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Reply, Request } from './worker.js';

/** What a mutant may take, in seconds of the processor: other processes of the machine must not count. */
const MOST_SECONDS = 10;
/** Seconds on the clock after which a mutant hangs, on a busy machine too. */
const PATIENCE = 100;
const HEAP_MIB = 1024;
/** With memories of devices and files, far from what a small model needs and near what a test machine has. */
const MOST_MIB = 4096;
const worker = fileURLToPath(new URL('./worker.ts', import.meta.url));

export interface Tally {
  next: number;
  /** How often each outcome came. */
  counts: Record<string, number>;
  /** What must not be. */
  failures: { readonly seed: number; readonly what: string }[];
  peakMiB: number;
  /** Seconds of the processor that one took. */
  slowest: number;
}

/** A child, and the one reply that is waited for. */
class Child {
  private readonly process: ChildProcess;
  private answer: (reply: Reply | 'crash' | 'hang') => void = () => {};
  private runsDamaged: () => void = () => {};
  private errors = '';

  private readonly sandbox = mkdtempSync(join(tmpdir(), 'spngdc-mutation-'));

  constructor() {
    this.process = fork(worker, [this.sandbox], {
      execArgv: ['--import', 'tsx', `--max-old-space-size=${HEAP_MIB}`],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.process.stderr!.on('data', (text) => {
      this.errors = `${this.errors}${text}`.slice(-1000);
    });
    this.process.on('message', (reply: Reply) => {
      if (reply.mayHang) this.runsDamaged();
      else this.answer(reply);
    });
    this.process.on('exit', () => this.answer('crash'));
  }

  async ask(request: Request): Promise<Reply | string> {
    this.errors = '';
    let timer: NodeJS.Timeout | undefined;
    const reply = await new Promise<Reply | 'crash' | 'hang' | 'stopped'>((resolve) => {
      this.answer = resolve;
      timer = setTimeout(() => resolve('hang'), PATIENCE * 1000);
      // A loop without end is what damaged code may be: it is enough that it can be stopped.
      this.runsDamaged = () => {
        clearTimeout(timer);
        timer = setTimeout(() => resolve('stopped'), MOST_SECONDS * 1000);
      };
      this.process.send(request, (e) => e && resolve('crash'));
    });
    clearTimeout(timer);
    if (reply === 'hang') return `fault: it hangs`;
    if (reply === 'crash') return `fault: the process ended: ${this.errors}`;
    return reply;
  }

  async kill(): Promise<void> {
    this.answer = () => {};
    const ended = once(this.process, 'exit');
    if (this.process.kill('SIGKILL')) await ended;
    rmSync(this.sandbox, { recursive: true, force: true });
  }
}

/** Where an interrupted run stopped; one that is finished, or that found something, begins anew. */
function start(from: number, end: number, file: string | undefined): Tally {
  if (from === 0 && file !== undefined && existsSync(file)) {
    const tally = JSON.parse(readFileSync(file, 'utf8')) as Tally;
    if (tally.next < end && tally.failures.length === 0) return tally;
  }
  return { next: from, counts: {}, failures: [], peakMiB: 0, slowest: 0 };
}

/**
 * Tries mutants up to seed `end`.
 * @param file keeps what was found, and is where a run goes on
 * @param from the first seed, where it is not 0
 */
export async function tryMutants(kind: Request['kind'], end: number, file?: string, from = 0): Promise<Tally> {
  const tally = start(from, end, file);
  const save = (): void => {
    if (file === undefined) return;
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, JSON.stringify(tally, null, 1));
  };
  let child: Child | undefined;
  for (; tally.next < end; tally.next++) {
    const seed = tally.next;
    child ??= new Child();
    const reply = await child.ask({ kind, seed });
    const outcomes = typeof reply === 'string' ? [reply] : reply.outcomes;
    for (const o of outcomes) {
      const at = o.indexOf('fault: ');
      const key = at < 0 ? o : `${o.slice(0, at)}fault`;
      tally.counts[key] = (tally.counts[key] ?? 0) + 1;
      if (at >= 0) tally.failures.push({ seed, what: o });
    }
    if (typeof reply === 'string') {
      await child.kill();
      child = undefined;
    } else {
      tally.peakMiB = Math.max(tally.peakMiB, reply.residentMiB);
      tally.slowest = Math.max(tally.slowest, reply.seconds);
      if (reply.seconds > MOST_SECONDS) tally.failures.push({ seed, what: `fault: ${reply.seconds} seconds` });
      if (reply.residentMiB > MOST_MIB) {
        tally.failures.push({ seed, what: `fault: ${reply.residentMiB} MiB` });
        await child.kill();
        child = undefined;
      }
    }
    if (seed % 50 === 49) {
      tally.next++;
      save();
      tally.next--;
    }
  }
  await child?.kill();
  save();
  return tally;
}

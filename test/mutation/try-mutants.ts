/**
 * Tries mutants one after the other in a child process: a crash or more than ten seconds end only that process. What was found
 * is counted, and kept in a file, from which an interrupted run goes on.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Reply, Request } from './worker.js';

/** Longer than any mutant may take, in seconds. */
const PATIENCE = 10;
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
}

/** A child, and the one reply that is waited for. */
class Child {
  private readonly process: ChildProcess;
  private answer: (reply: Reply | 'crash' | 'hang') => void = () => {};
  private mayHang = false;
  private errors = '';

  constructor() {
    this.process = fork(worker, {
      execArgv: ['--import', 'tsx', `--max-old-space-size=${HEAP_MIB}`],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.process.stderr!.on('data', (text) => {
      this.errors = `${this.errors}${text}`.slice(-1000);
    });
    this.process.on('message', (reply: Reply) => {
      if (reply.mayHang) this.mayHang = true;
      else this.answer(reply);
    });
    this.process.on('exit', () => this.answer('crash'));
  }

  async ask(request: Request, seconds = PATIENCE): Promise<Reply | string> {
    this.mayHang = false;
    this.errors = '';
    const reply = await new Promise<Reply | 'crash' | 'hang'>((resolve) => {
      const timer = setTimeout(() => resolve('hang'), seconds * 1000);
      this.answer = (r) => {
        clearTimeout(timer);
        resolve(r);
      };
      this.process.send(request, (e) => e && this.answer('crash'));
    });
    if (reply === 'hang') return this.mayHang ? 'stopped' : 'fault: more than ten seconds';
    if (reply === 'crash') return `fault: the process ended: ${this.errors}`;
    return reply;
  }

  kill(): void {
    this.answer = () => {};
    this.process.kill('SIGKILL');
  }
}

/** Where an interrupted run stopped; one that is finished, or that found something, begins anew. */
function start(from: number, end: number, file: string | undefined): Tally {
  if (from === 0 && file !== undefined && existsSync(file)) {
    const tally = JSON.parse(readFileSync(file, 'utf8')) as Tally;
    if (tally.next < end && tally.failures.length === 0) return tally;
  }
  return { next: from, counts: {}, failures: [], peakMiB: 0 };
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
    const fresh = child === undefined;
    child ??= new Child();
    // A new process first reads its program.
    const reply = await child.ask({ kind, seed }, fresh ? 6 * PATIENCE : PATIENCE);
    const outcomes = typeof reply === 'string' ? [reply] : reply.outcomes;
    for (const o of outcomes) {
      const at = o.indexOf('fault: ');
      const key = at < 0 ? o : `${o.slice(0, at)}fault`;
      tally.counts[key] = (tally.counts[key] ?? 0) + 1;
      if (at >= 0) tally.failures.push({ seed, what: o });
    }
    if (typeof reply === 'string') {
      child.kill();
      child = undefined;
    } else {
      tally.peakMiB = Math.max(tally.peakMiB, reply.residentMiB);
      if (reply.residentMiB > MOST_MIB) {
        tally.failures.push({ seed, what: `fault: ${reply.residentMiB} MiB` });
        child.kill();
        child = undefined;
      }
    }
    if (seed % 50 === 49) {
      tally.next++;
      save();
      tally.next--;
    }
  }
  child?.kill();
  save();
  return tally;
}

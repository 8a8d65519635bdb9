/**
 * Threads that share out the pieces of a function. All that they tell each other is in one shared array of counters: how many
 * shares of a piece are taken, how many are not done, for how many pieces it still waits. A thread takes the next share that is
 * ready, in the order of the program, whoever it is; shares are fixed, so the results do not depend on who. No thread waits
 * for another one that only wakes up late. Who finds nothing to do looks for some tens of microseconds, then sleeps.
 */
import type { Kernel } from './module.js';
import { clock, Recorder } from './records.js';
import type { Work } from './work.js';

/** What one thread needs to take part. */
export interface Member {
  readonly counters: SharedArrayBuffer;
  readonly functions: readonly Work[];
  /** This thread's. */
  readonly kernels: ReadonlyMap<string, Kernel>;
  /** Address of this thread's scratch memory. */
  readonly scratch: number;
  /** Where this thread writes when it ran what, if anybody asks. */
  readonly records?: SharedArrayBuffer;
}

/** Words of the shared array; three words a piece follow. */
const SIGNAL = 0;
const SLEEPERS = 1;
const INSIDE = 2;
const OPEN = 3;
const REMAINING = 4;
const FUNCTION = 5;
const RUN = 6;
const CLOSED = 7;
/** A call that trapped, from 1 on. */
const FAILED = 8;
const MESSAGE_LENGTH = 9;
const WORDS = 16;
/** Characters of a trap's message. */
const MESSAGE = 200;
const MESSAGE_AT = WORDS;
const PIECES_AT = WORDS + MESSAGE;

/** Looking for work before sleeping: waking a thread takes about as long. */
const SPIN_MILLISECONDS = 0.05;
const LOOKS_A_TIME = 200;
/** Pieces that are looked at for one that is ready. */
const WINDOW = 256;

export function makeCounters(functions: readonly Work[]): SharedArrayBuffer {
  const most = Math.max(0, ...functions.map((f) => f.pieces.length));
  return new SharedArrayBuffer(4 * (PIECES_AT + 3 * most));
}

/** One call, bound to a thread. */
interface Bound {
  readonly kernel: Kernel;
  /** Addresses and scratch; begin and end are set for each share. */
  readonly args: number[];
  readonly grid: number;
}

export class Crew {
  private readonly words: Int32Array;
  private readonly bound: readonly (readonly Bound[])[];
  private readonly recorder: Recorder | undefined;
  /** The run that this thread knows, its function, and the first piece of which shares may be left. */
  private run = 0;
  private at = 0;
  private first = 0;

  constructor(private readonly member: Member) {
    this.words = new Int32Array(member.counters);
    this.recorder = member.records && new Recorder(member.records);
    this.bound = member.functions.map((f) =>
      f.calls.map(({ kernel, args, grid }) => ({
        kernel: member.kernels.get(kernel)!,
        args: [...args, member.scratch, 0, grid],
        grid,
      })),
    );
  }

  /**
   * Runs a function, with the other threads; for the thread that owns the program.
   * @param on whether each segment of the function runs
   * @returns the call that trapped, and why, if one did
   */
  lead(index: number, on: readonly boolean[]): { readonly call: number; readonly why: string } | undefined {
    const { words } = this;
    this.awaitOutside();
    const { pieces } = this.member.functions[index];
    const most = this.most;
    words.fill(0, PIECES_AT);
    let remaining = 0;
    pieces.forEach(({ shares, segment, next }, p) => {
      const runs = on[segment];
      // A piece that does not run has no share to take, and nobody waits for it.
      words[PIECES_AT + p] = runs ? 0 : shares;
      words[PIECES_AT + most + p] = shares;
      if (!runs) return;
      remaining++;
      for (const n of next) words[PIECES_AT + 2 * most + n]++;
    });
    if (remaining === 0) return undefined;
    words[FAILED] = 0;
    words[FUNCTION] = index;
    words[REMAINING] = remaining;
    words[RUN]++;
    Atomics.store(words, OPEN, 1);
    this.wake();
    for (;;) {
      const seen = Atomics.load(words, SIGNAL);
      this.work();
      if (Atomics.load(words, REMAINING) === 0) break;
      this.pause(seen);
    }
    Atomics.store(words, OPEN, 0);
    const failed = words[FAILED];
    if (failed === 0) return undefined;
    const why = String.fromCharCode(...words.subarray(MESSAGE_AT, MESSAGE_AT + words[MESSAGE_LENGTH]));
    return { call: failed - 1, why };
  }

  /** Helps whoever leads, until it is closed. */
  follow(): void {
    const { words } = this;
    for (;;) {
      const seen = Atomics.load(words, SIGNAL);
      if (Atomics.load(words, CLOSED)) return;
      // Counters are set only while nobody is inside.
      Atomics.add(words, INSIDE, 1);
      if (Atomics.load(words, OPEN)) this.work();
      Atomics.sub(words, INSIDE, 1);
      this.pause(seen);
    }
  }

  /** Sends all who follow home. */
  close(): void {
    Atomics.store(this.words, CLOSED, 1);
    this.wake();
  }

  private get most(): number {
    return (this.words.length - PIECES_AT) / 3;
  }

  /** Takes shares until none is ready. */
  private work(): void {
    const { words } = this;
    if (words[RUN] !== this.run) {
      this.run = words[RUN];
      this.at = words[FUNCTION];
      this.first = 0;
    }
    let own = -1;
    for (;;) {
      const piece = own >= 0 ? own : this.find();
      if (piece < 0) return;
      own = -1;
      const share = Atomics.add(words, PIECES_AT + piece, 1);
      const { shares } = this.member.functions[this.at].pieces[piece];
      if (share >= shares) continue;
      this.runShare(piece, share);
      if (Atomics.sub(words, PIECES_AT + this.most + piece, 1) === 1) own = this.finish(piece);
    }
  }

  /** A piece with a share that can be taken, or -1. */
  private find(): number {
    const { words, first: from } = this;
    const { pieces } = this.member.functions[this.at];
    const waits = PIECES_AT + 2 * this.most;
    const end = Math.min(pieces.length, from + WINDOW);
    for (let p = from; p < end; p++) {
      if (Atomics.load(words, PIECES_AT + p) >= pieces[p].shares) {
        if (p === this.first) this.first++;
      } else if (Atomics.load(words, waits + p) === 0) return p;
    }
    return -1;
  }

  private runShare(piece: number, share: number): void {
    const { words } = this;
    const { calls, shares } = this.member.functions[this.at].pieces[piece];
    for (const c of calls) {
      // After a trap the rest is only counted.
      if (words[FAILED] !== 0) return;
      const { kernel, args, grid } = this.bound[this.at][c];
      args[args.length - 2] = Math.floor((grid * share) / shares);
      args[args.length - 1] = Math.floor((grid * (share + 1)) / shares);
      const begin = this.recorder ? clock() : 0;
      try {
        kernel(...args);
      } catch (e) {
        this.fail(c, e);
      }
      this.recorder?.add(c, begin);
    }
  }

  private fail(call: number, cause: unknown): void {
    const { words } = this;
    if (Atomics.compareExchange(words, FAILED, 0, call + 1) !== 0) return;
    const text = String((cause as Error)?.message ?? cause).slice(0, MESSAGE);
    for (let i = 0; i < text.length; i++) words[MESSAGE_AT + i] = text.charCodeAt(i);
    words[MESSAGE_LENGTH] = text.length;
  }

  /** All shares of the piece are done. Returns a piece that has become ready, for this thread to go on with; others are told of more. */
  private finish(piece: number): number {
    const { words } = this;
    const { pieces } = this.member.functions[this.at];
    const waits = PIECES_AT + 2 * this.most;
    let mine = -1;
    let more = Atomics.sub(words, REMAINING, 1) === 1;
    for (const n of pieces[piece].next)
      if (Atomics.sub(words, waits + n, 1) === 1 && Atomics.load(words, PIECES_AT + n) < pieces[n].shares) {
        if (mine >= 0 || pieces[n].shares > 1) more = true;
        if (mine < 0) mine = n;
      }
    if (more) this.wake();
    return mine;
  }

  private wake(): void {
    const { words } = this;
    Atomics.add(words, SIGNAL, 1);
    if (Atomics.load(words, SLEEPERS) > 0) Atomics.notify(words, SIGNAL);
  }

  /** Until something has happened since the signal was `seen`. */
  private pause(seen: number): void {
    const { words } = this;
    const until = performance.now() + SPIN_MILLISECONDS;
    do {
      for (let i = 0; i < LOOKS_A_TIME; i++) if (Atomics.load(words, SIGNAL) !== seen) return;
    } while (performance.now() < until);
    Atomics.add(words, SLEEPERS, 1);
    Atomics.wait(words, SIGNAL, seen);
    Atomics.sub(words, SLEEPERS, 1);
  }

  /** Until no other thread can touch a counter. */
  private awaitOutside(): void {
    const { words } = this;
    for (;;) {
      for (let i = 0; i < LOOKS_A_TIME; i++) if (Atomics.load(words, INSIDE) === 0) return;
      // It has no work to do: it was put off the processor in the midst of looking for some.
      const inside = Atomics.load(words, INSIDE);
      if (inside !== 0) Atomics.wait(words, INSIDE, inside, 1);
    }
  }
}

/**
 * Contenders that take turns. Enter: calls that do the same work; leaves: the median time of each, and ratios that are medians
 * over the rounds. A round runs each contender once, one behind the other, so that whatever else the machine does meets them all.
 */
import { performance } from 'node:perf_hooks';

/**
 * `processor`: time that this process ran, whoever else used the machine: right for one thread. `wall`: the clock: right for
 * several threads, and true only on a quiet machine.
 */
export type Clock = 'processor' | 'wall';

export interface Contender {
  readonly name: string;
  /** Runs `times` times, one call behind the other; may return (a promise of) what another process has measured. */
  readonly run: (times: number) => unknown;
  /** Threads that it uses; default 1. */
  readonly threads?: number;
}

/** What another process has measured: milliseconds of each clock. */
export type Told = Readonly<Record<Clock, number>>;

/** In this process: a call, over and over. */
export const calls = (name: string, call: () => void, threads = 1): Contender => ({
  name,
  threads,
  run: (times) => {
    for (let i = 0; i < times; i++) call();
  },
});

export interface Timing {
  /** Milliseconds of one run of a contender: the median. */
  readonly time: (name: string) => number;
  /** How many times as fast as `than`: the median over the rounds. */
  readonly faster: (name: string, than: string) => number;
  readonly rounds: number;
  /** Whether these are rounds that nobody disturbed, as far as the clock asks for it. */
  readonly calm: boolean;
}

/** A sample is this long at least, so that a clock's grain does not show. */
const LEAST_SAMPLE = 8;
const WARM_UP = 200;

export const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Part of its threads' time that a sample must have got of the processor, so that others did not disturb it. */
const UNDISTURBED = 0.93;

interface Sample {
  readonly time: number;
  readonly disturbed: boolean;
}

async function sample({ run, threads = 1 }: Contender, times: number, clock: Clock): Promise<Sample> {
  const cpu = process.cpuUsage();
  const begun = performance.now();
  let told = run(times);
  if (told instanceof Promise) told = await told;
  const wall = performance.now() - begun;
  const { user, system } = process.cpuUsage(cpu);
  const measured = (told as Told | undefined) ?? { wall, processor: (user + system) / 1000 };
  return { time: measured[clock] / times, disturbed: measured.processor < UNDISTURBED * threads * measured.wall };
}

/** Runs until a sample is long enough, and for the warm-up: V8 compiles hot JavaScript anew behind our back. */
async function calibrate(contender: Contender): Promise<number> {
  const start = performance.now();
  let times = 1;
  for (;;) {
    const from = performance.now();
    await contender.run(times);
    const spent = performance.now() - from;
    if (performance.now() - start >= WARM_UP && spent >= LEAST_SAMPLE) return times;
    if (spent < LEAST_SAMPLE)
      times = Math.max(times + 1, Math.ceil((times * LEAST_SAMPLE * 1.2) / Math.max(spent, 0.05)));
  }
}

/** @param budget seconds for all rounds; at least 5 are run, at most 200 */
export async function interleave(contenders: readonly Contender[], clock: Clock, budget = 3): Promise<Timing> {
  const times: number[] = [];
  for (const c of contenders) times.push(await calibrate(c));
  const all: Sample[][] = [];
  const start = performance.now();
  while (all.length < 5 || (all.length < 200 && performance.now() - start < 1000 * budget)) {
    const round: Sample[] = [];
    for (const [i, c] of contenders.entries()) round.push(await sample(c, times[i], clock));
    all.push(round);
  }
  // By the clock, rounds in which others took the processor away say nothing, as far as there are others.
  const calm = clock === 'wall' ? all.filter((round) => !round.some((s) => s.disturbed)) : all;
  const rounds = calm.length >= 3 ? calm : all;
  const of = (name: string): readonly number[] => {
    const at = contenders.findIndex((c) => c.name === name);
    if (at < 0) throw new Error(`no contender ${name}`);
    return rounds.map((r) => r[at].time);
  };
  return {
    time: (name) => median(of(name)),
    faster: (name, than) => median(of(name).map((t, round) => of(than)[round] / t)),
    rounds: rounds.length,
    calm: rounds === calm,
  };
}

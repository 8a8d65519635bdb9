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
  /** Runs `times` times, one call behind the other; may return (a promise of) the milliseconds that another process has taken. */
  readonly run: (times: number) => unknown;
}

/** In this process: a call, over and over. */
export const calls = (name: string, call: () => void): Contender => ({
  name,
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
}

/** A sample is this long at least, so that a clock's grain does not show. */
const LEAST_SAMPLE = 8;
const WARM_UP = 60;

export const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1];

async function sample(contender: Contender, times: number, clock: Clock): Promise<number> {
  const cpu = process.cpuUsage();
  const wall = performance.now();
  let told = contender.run(times);
  if (told instanceof Promise) told = await told;
  const elapsed = performance.now() - wall;
  const { user, system } = process.cpuUsage(cpu);
  const own = clock === 'wall' ? elapsed : (user + system) / 1000;
  return (typeof told === 'number' ? told : own) / times;
}

/** Runs until a sample is long enough, for the warm-up too: V8 compiles a hot function anew behind our back. */
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
  const samples = contenders.map((): number[] => []);
  const start = performance.now();
  let rounds = 0;
  for (; rounds < 5 || (rounds < 200 && performance.now() - start < 1000 * budget); rounds++)
    for (const [i, c] of contenders.entries()) samples[i].push(await sample(c, times[i], clock));
  const of = (name: string): readonly number[] => {
    const at = contenders.findIndex((c) => c.name === name);
    if (at < 0) throw new Error(`no contender ${name}`);
    return samples[at];
  };
  return {
    time: (name) => median(of(name)),
    faster: (name, than) => median(of(name).map((t, round) => of(than)[round] / t)),
    rounds,
  };
}

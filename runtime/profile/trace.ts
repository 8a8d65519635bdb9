/**
 * The runs of a device as a trace for Perfetto or chrome://tracing: a track for each thread, on which each share of a step is a
 * span; on the first one, inside the span of its function. Format: "Trace Event Format" (Google), complete events in microseconds.
 */
import type { KernelInfo, Program, Step } from '../../ir/program.js';
import type { ProfiledRun, Share } from '../devices/wasm/records.js';
import { layerOf } from './profile.js';

type TraceEvent = Readonly<Record<string, unknown>>;

/** More would make a file that no viewer likes to open. */
const MOST_EVENTS = 200_000;
const PROCESS = 1;

export class Trace {
  private readonly events: TraceEvent[] = [];
  private readonly steps: ReadonlyMap<string, readonly Step[]>;
  private readonly infos: ReadonlyMap<string, KernelInfo>;
  private readonly runs = new Map<string, number>();
  private start: number | undefined;
  /** Runs that found no room. */
  left = 0;

  constructor(program: Program, threads: number) {
    this.steps = new Map(program.functions.map((f) => [f.name, f.segments.flatMap((s) => s.steps)]));
    this.infos = new Map(program.kernels.map((k) => [k.name, k]));
    const named = (name: string, args: object, tid = 0): TraceEvent => ({ ph: 'M', pid: PROCESS, tid, name, args });
    this.events.push(named('process_name', { name: `spngdc ${program.name}` }));
    for (let t = 0; t < threads; t++)
      this.events.push(
        named('thread_name', { name: t === 0 ? 'thread 1 (leads)' : `thread ${t + 1}` }, t),
        named('thread_sort_index', { sort_index: t }, t),
      );
  }

  add({ func, begin, end, shares }: ProfiledRun): void {
    const number = (this.runs.get(func) ?? 0) + 1;
    this.runs.set(func, number);
    if (this.left > 0 || this.events.length + shares.length > MOST_EVENTS) {
      this.left++;
      return;
    }
    this.start ??= begin;
    this.span(func, 'function', { thread: 0, begin, end }, { run: number });
    for (const share of shares) this.share(func, share);
  }

  private share(func: string, share: Share): void {
    const { slot, source } = this.steps.get(func)![share.step];
    const { name, computes } = this.infos.get(share.kernel)!;
    const layer = layerOf(source);
    this.span(layer === '' ? name : `${layer} ${name}`, computes[0] ?? 'copy', share, {
      ...{ step: slot, kernel: name, computes: computes.join(' '), source },
    });
  }

  private span(
    name: string,
    cat: string,
    { thread, begin, end }: Pick<Share, 'thread' | 'begin' | 'end'>,
    args: object,
  ): void {
    const [ts, dur] = [(begin - this.start!) / 1000, (end - begin) / 1000];
    this.events.push({ ph: 'X', pid: PROCESS, tid: thread, name, cat, ts, dur, args });
  }

  /** The file. */
  json(): string {
    const lines = this.events.map((e) => JSON.stringify(e));
    return `{"displayTimeUnit":"ms","traceEvents":[\n${lines.join(',\n')}\n]}\n`;
  }
}

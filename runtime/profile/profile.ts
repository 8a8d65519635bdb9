/**
 * Sums up what a device tells of its runs: for each kernel its calls, the time that threads spent in it, its rates, and the layers
 * that use it. The first run of a function is left out where there are more, since it touches most memory for the first time.
 */
import type { KernelInfo, Program, Step } from '../../ir/program.js';
import type { Ceilings } from '../devices/wasm/ceilings.js';
import type { ProfiledRun } from '../devices/wasm/records.js';

/** One kernel. */
export interface KernelRow {
  readonly kernel: string;
  readonly computes: readonly string[];
  /** The user's nodes that it works for, in the order of the program. */
  readonly layers: readonly string[];
  readonly calls: number;
  /** Of all threads. */
  readonly seconds: number;
  /** Part of all kernels' time. */
  readonly share: number;
  /** Operations and bytes a second, of one thread. Operations are those of the definition: an algorithm may need fewer. */
  readonly flops: number;
  readonly bytes: number;
  /** Which ceiling it is nearer to, and how near: 1 is the ceiling. */
  readonly bound: keyof Ceilings;
  readonly reached: number;
}

export interface FunctionRow {
  readonly name: string;
  /** Runs that count, and seconds of all of them. */
  readonly runs: number;
  readonly seconds: number;
}

export interface ProfileReport {
  readonly threads: number;
  readonly ceilings: Ceilings;
  readonly functions: readonly FunctionRow[];
  /** Part of all threads' time in runs that is spent in kernels; the rest is waiting. */
  readonly busy: number;
  /** The longest time first. */
  readonly kernels: readonly KernelRow[];
}

/** `onnx:/layer1/conv/Conv(Conv)` is the node `/layer1/conv/Conv`. */
export const layerOf = (source: string): string => source.replace(/^onnx:(.*)\([^()]*\)$/s, '$1');

interface Sum {
  calls: number;
  /** Nanoseconds. */
  time: number;
}
interface FunctionSum {
  readonly steps: readonly Step[];
  /** What the first run had, until there is a second one. */
  first?: ProfiledRun;
  runs: number;
  time: number;
}

export class Profile {
  private readonly infos: ReadonlyMap<string, KernelInfo>;
  private readonly functions: ReadonlyMap<string, FunctionSum>;
  private readonly kernels = new Map<string, Sum>();
  /** For each kernel the layers, each with the first step that is for it. */
  private readonly layers = new Map<string, Map<string, number>>();

  constructor(
    program: Program,
    private readonly threads: number,
    private readonly ceilings: Ceilings,
  ) {
    this.infos = new Map(program.kernels.map((k) => [k.name, k]));
    this.functions = new Map(
      program.functions.map((f) => [f.name, { steps: f.segments.flatMap((s) => s.steps), runs: 0, time: 0 }]),
    );
  }

  add(run: ProfiledRun): void {
    if (run.shares.length === 0) return;
    const f = this.functions.get(run.func)!;
    const isFirst = f.runs === 0 && !f.first;
    if (isFirst) f.first = run;
    else this.count(f, run);
  }

  private count(f: FunctionSum, { begin, end, shares }: ProfiledRun): void {
    f.runs++;
    f.time += end - begin;
    const called = new Set<number>();
    for (const { step, kernel: name, begin: from, end: to } of shares) {
      const { source } = f.steps[step];
      const sum = this.kernels.get(name) ?? { calls: 0, time: 0 };
      this.kernels.set(name, sum);
      sum.time += to - from;
      if (called.has(step)) continue;
      called.add(step);
      sum.calls++;
      const layers = this.layers.get(name) ?? new Map<string, number>();
      this.layers.set(name, layers);
      const layer = layerOf(source);
      if (layer !== '') layers.set(layer, Math.min(step, layers.get(layer) ?? step));
    }
  }

  report(): ProfileReport {
    for (const f of this.functions.values())
      if (f.runs === 0 && f.first) {
        this.count(f, f.first);
        f.first = undefined;
      }
    const total = [...this.kernels.values()].reduce((n, k) => n + k.time, 0);
    const kernels = [...this.kernels].map(([name, sum]) => this.row(name, sum, total));
    const functions = [...this.functions].filter(([, f]) => f.runs > 0);
    const wall = functions.reduce((n, [, f]) => n + f.time, 0);
    return {
      threads: this.threads,
      ceilings: this.ceilings,
      functions: functions.map(([name, { runs, time }]) => ({ name, runs, seconds: time / 1e9 })),
      busy: wall === 0 ? 0 : total / (this.threads * wall),
      kernels: kernels.sort((a, b) => b.seconds - a.seconds || (a.kernel < b.kernel ? -1 : 1)),
    };
  }

  private row(kernel: string, { calls, time }: Sum, total: number): KernelRow {
    const info = this.infos.get(kernel)!;
    const seconds = time / 1e9;
    const rate = (each: number): number => (seconds === 0 ? 0 : (each * calls) / seconds);
    const rates = { flops: rate(info.flops), bytes: rate(info.bytes) };
    const near = (of: keyof Ceilings): number => rates[of] / this.ceilings[of];
    const bound = near('flops') > near('bytes') ? 'flops' : 'bytes';
    return {
      ...{ kernel, computes: info.computes, layers: this.layersOf(kernel), calls, seconds },
      ...{ share: total === 0 ? 0 : time / total, ...rates, bound, reached: near(bound) },
    };
  }

  private layersOf(kernel: string): string[] {
    const layers = [...(this.layers.get(kernel) ?? [])];
    return layers.sort(([, a], [, b]) => a - b).map(([layer]) => layer);
  }
}

/**
 * A function's steps as work for several threads. A step's grid is cut into shares; small steps in a row are one piece, for one
 * thread. A piece waits for those before it that touch the same bytes, if one of both writes them: not for data alone, since
 * values that are alive at different times share memory. All of this is fixed when a program is loaded.
 */
import type { Buffer, KernelInfo, ProgramFunction, Step } from '../../../ir/program.js';

/** One call of a kernel over its grid. */
export interface Call {
  /** For messages: function, slot, kernel. */
  readonly place: string;
  readonly kernel: string;
  /** Addresses of its buffers. */
  readonly args: readonly number[];
  readonly grid: number;
}

/** One step, or several small ones in their order. */
export interface Piece {
  readonly calls: readonly number[];
  /** Parts of the grid that threads may take; 1 where there are several calls. */
  readonly shares: number;
  /** Pieces that wait for this one. */
  readonly next: readonly number[];
  /** The function's segment that it is in: the piece runs where that segment does. */
  readonly segment: number;
}

export interface Work {
  readonly calls: readonly Call[];
  readonly pieces: readonly Piece[];
  /** Modelled, on one thread. */
  readonly seconds: number;
}

/** Modelled seconds for which handing out a share is a small part of the work. */
const LEAST_SHARE = 15e-6;
/** Shares for each thread, so that all are done at about the same time. */
const SHARES = 8;
/** Modelled seconds up to which steps in a row are one piece. */
const MOST_JOINED = 20e-6;

/** That a step touches a buffer. */
interface Access {
  readonly writes: boolean;
  readonly step: number;
  readonly segment: number;
}

/**
 * @param place of a step, for messages
 * @param kernelOf what was chosen to run a step
 */
export function planWork(
  func: ProgramFunction,
  buffers: ReadonlyMap<string, Buffer>,
  kernelOf: (step: Step) => KernelInfo,
  threads: number,
): Work {
  const steps = func.segments.flatMap((s, segment) => s.steps.map((step) => ({ step, segment })));
  const calls = steps.map(({ step }): Call => {
    const { name, grid } = kernelOf(step);
    const args = step.args.map((a) => buffers.get(a)!.offset);
    return { place: `${func.name}.${step.slot} (${name})`, kernel: name, args, grid };
  });
  const conflicts = conflictsOf(func, steps, buffers, kernelOf);

  const costs = steps.map(({ step }) => kernelOf(step).cost);
  const pieces: { calls: number[]; waits: Set<number>; next: number[]; segment: number; cost: number }[] = [];
  const pieceOf: number[] = [];
  steps.forEach(({ segment }, at) => {
    const waits = new Set([...conflicts[at]].map((c) => pieceOf[c]));
    const last = pieces.length - 1;
    const before = pieces[last];
    const joins =
      before !== undefined &&
      before.segment === segment &&
      before.cost + costs[at] <= MOST_JOINED &&
      // It must not keep the others waiting for more than they wait for anyway.
      [...waits].every((w) => w === last || before.waits.has(w));
    if (joins) {
      before.calls.push(at);
      before.cost += costs[at];
      pieceOf.push(last);
    } else {
      pieces.push({ calls: [at], waits, next: [], segment, cost: costs[at] });
      pieceOf.push(last + 1);
    }
  });
  pieces.forEach((p, at) => {
    for (const w of p.waits) pieces[w].next.push(at);
  });
  return {
    calls,
    pieces: pieces.map(({ calls: own, next, segment, cost }) => {
      const worth = Math.min(calls[own[0]].grid, SHARES * threads, Math.floor(cost / LEAST_SHARE));
      return { calls: own, shares: own.length > 1 ? 1 : Math.max(1, worth), next, segment };
    }),
    seconds: costs.reduce((sum, c) => sum + c, 0),
  };
}

/** For each step the earlier ones that it must wait for: enough of them, since waiting is transitive. */
function conflictsOf(
  func: ProgramFunction,
  steps: readonly { readonly step: Step; readonly segment: number }[],
  buffers: ReadonlyMap<string, Buffer>,
  kernelOf: (step: Step) => KernelInfo,
): ReadonlySet<number>[] {
  const used = new Set(steps.flatMap(({ step }) => step.args));
  const overlaps = overlapsOf([...used].map((name) => buffers.get(name)!));
  /** For each buffer, what may still have to be waited for. */
  const standing = new Map([...used].map((name) => [name, [] as Access[]]));
  return steps.map(({ step, segment }, at) => {
    const { access } = kernelOf(step);
    const { guard } = func.segments[segment];
    // Who waits for a write has waited for what is under it, too, if this step runs whenever that one does.
    const stays = (b: Access): boolean => guard !== undefined && guard !== func.segments[b.segment].guard;
    const found = new Set<number>();
    step.args.forEach((name, i) => {
      for (const { other } of overlaps.get(name)!)
        for (const b of standing.get(other)!) if (b.writes || access[i] === 'readwrite') found.add(b.step);
    });
    step.args.forEach((name, i) => {
      if (access[i] === 'readwrite')
        for (const { other, covered } of overlaps.get(name)!)
          if (covered) standing.set(other, standing.get(other)!.filter(stays));
    });
    step.args.forEach((name, i) => {
      standing.get(name)!.push({ writes: access[i] === 'readwrite', step: at, segment });
    });
    return found;
  });
}

/** For each buffer those that share bytes with it, itself among them, and whether they lie in it. */
function overlapsOf(
  buffers: readonly Buffer[],
): ReadonlyMap<string, readonly { readonly other: string; readonly covered: boolean }[]> {
  const out = new Map(buffers.map((b) => [b.name, [] as { other: string; covered: boolean }[]]));
  const order = buffers.filter((b) => b.bytes > 0).sort((a, b) => a.offset - b.offset);
  const end = (b: Buffer): number => b.offset + b.bytes;
  const lies = (a: Buffer, b: Buffer): boolean => b.offset <= a.offset && end(a) <= end(b);
  order.forEach((a, i) => {
    out.get(a.name)!.push({ other: a.name, covered: true });
    for (let j = i + 1; j < order.length && order[j].offset < end(a); j++) {
      const b = order[j];
      out.get(a.name)!.push({ other: b.name, covered: lies(b, a) });
      out.get(b.name)!.push({ other: a.name, covered: lies(a, b) });
    }
  });
  return out;
}

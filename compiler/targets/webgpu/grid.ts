/**
 * How a kernel is spread over workgroups. Nested grid loops that hold nothing else fold into one number. A kernel with lane or
 * group loops runs an iteration in each workgroup; one without runs an iteration in each thread.
 */
import type { Kernel, Stmt } from '../../../ir/kernel.js';

export type For = Extract<Stmt, { kind: 'for' }>;

export interface Grid {
  /** From the outermost to the innermost, with their numbers of iterations. */
  readonly loops: readonly { readonly loop: For; readonly trips: number }[];
  readonly iterations: number;
  readonly perWorkgroup: boolean;
  /** Threads of a workgroup. */
  readonly threads: number;
}

/** WebGPU's guaranteed maxComputeWorkgroupsPerDimension. */
export const MOST_GROUPS = 65_535;

export const tripsOf = (s: For): number | undefined =>
  s.lo.kind === 'const' && s.hi.kind === 'const'
    ? Math.max(0, Math.ceil((s.hi.value - s.lo.value) / s.step))
    : undefined;

function cooperates(body: readonly Stmt[]): boolean {
  return body.some((s) => {
    if (s.kind === 'for') return s.bind === 'lane' || s.bind === 'group' || cooperates(s.body);
    return s.kind === 'if' && (cooperates(s.then) || cooperates(s.else));
  });
}

export function gridOf(kernel: Kernel): Grid {
  const loops: { loop: For; trips: number }[] = [];
  let body = kernel.body;
  for (;;) {
    const rest = body.filter((s) => s.kind !== 'let' && s.kind !== 'alloc');
    const only = rest[0];
    if (rest.length !== 1 || only.kind !== 'for' || only.bind !== 'grid') break;
    const trips = tripsOf(only);
    if (trips === undefined) break;
    loops.push({ loop: only, trips });
    body = only.body;
  }
  const perWorkgroup = cooperates(kernel.body);
  const iterations = loops.reduce((n, l) => n * l.trips, 1);
  // Without a grid there is one iteration, and one thread for it.
  return { loops, iterations, perWorkgroup, threads: perWorkgroup || loops.length > 0 ? kernel.workgroup : 1 };
}

/** Workgroups to dispatch: x and y. The first dimension is full when there is a second. */
export function workgroupsOf(kernel: Kernel): readonly [number, number] {
  const { iterations, perWorkgroup, threads } = gridOf(kernel);
  const groups = perWorkgroup ? iterations : Math.ceil(iterations / threads);
  return groups <= MOST_GROUPS ? [groups, 1] : [MOST_GROUPS, Math.ceil(groups / MOST_GROUPS)];
}

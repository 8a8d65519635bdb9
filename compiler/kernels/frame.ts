/**
 * What every lowering has in common: names for a kernel's parameters and loops, and the finished kernel around a body.
 */
import type { Node, Value } from '../../ir/graph.js';
import type { Kernel, KernelParam, Stmt } from '../../ir/kernel.js';
import { opFlops } from '../../ir/ops/declare.js';
import { ops } from '../../ir/ops/table.js';
import { storedBytes, storedCount } from '../../ir/types.js';
import { bindShared } from './bind.js';
import { memoryType, parameterNames } from './elements.js';
import { readFirst } from './read-first.js';
import type { Region } from './region.js';

/** Gives each loop and register of a kernel a name of its own. */
export class Frame {
  readonly parameters: ReadonlyMap<Value, string>;
  private readonly counts = new Map<string, number>();

  constructor(readonly region: Region) {
    this.parameters = parameterNames(region);
  }

  fresh(base: string): string {
    const n = this.counts.get(base) ?? 0;
    this.counts.set(base, n + 1);
    return `${base}${n}`;
  }

  /** The independent nests of the region, each as a region of its own that shares this frame's parameters. */
  parts(): readonly Region[] {
    const { region } = this;
    if (!region.parts) return [region];
    return region.parts.map((nodes) => {
      const made = new Set(nodes.flatMap((n) => n.results));
      const read = new Set(nodes.flatMap((n) => n.operands));
      const anchor = nodes.find((n) => ops[n.op].fuse === 'reduction');
      return {
        ...region,
        anchor,
        nodes,
        parts: undefined,
        inputs: region.inputs.filter((v) => read.has(v)),
        outputs: region.outputs.filter((v) => made.has(v)),
      };
    });
  }
}

const flopsOf = (node: Node): number =>
  opFlops(
    ops[node.op],
    node.operands.map((o) => o.type),
    node.attrs,
    node.results.map((r) => r.type),
  );

export interface KernelOptions {
  /** Outputs that the body also reads back. */
  readonly updated?: ReadonlySet<Value>;
  /** Threads per workgroup, for targets that have them. */
  readonly workgroup?: number;
  /** Memory that holds intermediate values while the kernel runs: further parameters, after the region's. */
  readonly scratch?: readonly KernelParam[];
}

export function finishKernel(
  frame: Frame,
  name: string,
  body: readonly Stmt[],
  { updated = new Set(), workgroup = 64, scratch = [] }: KernelOptions = {},
): Kernel {
  const { region, parameters } = frame;
  const param = (v: Value, access: KernelParam['access']): KernelParam => ({
    name: parameters.get(v)!,
    type: memoryType(v.type.dtype),
    access,
    length: storedCount(v.type),
  });
  const params = [
    ...region.inputs.map((v) => param(v, 'read')),
    ...region.outputs.map((v) => param(v, updated.has(v) ? 'readwrite' : 'write')),
    ...scratch,
  ];
  return {
    name,
    params,
    body: readFirst(bindShared(body, params), params, (base) => frame.fresh(base)),
    workgroup,
    flops: region.nodes.reduce((n, node) => n + flopsOf(node), 0),
    bytes: [...region.inputs, ...region.outputs].reduce((n, v) => n + storedBytes(v.type), 0),
    loc: (region.anchor ?? region.nodes[region.nodes.length - 1]).loc,
  };
}

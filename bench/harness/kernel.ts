/**
 * One kernel on the wasm target: a graph of a node with its operands in, a call that runs it once out. Operands are sines, so that
 * nothing is denormal, infinite or constant.
 */
import { lowerContraction, type TileChoice } from '../../compiler/kernels/contraction.js';
import { contractionAlgorithms } from '../../compiler/kernels/contraction-algorithms.js';
import { lowerRegion } from '../../compiler/kernels/lower.js';
import type { Region } from '../../compiler/kernels/region.js';
import { printWasm } from '../../compiler/targets/wasm/print.js';
import { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import type { Kernel } from '../../ir/kernel.js';
import { passLoc } from '../../ir/loc.js';
import { storedCount } from '../../ir/types.js';

export interface Prepared {
  readonly run: () => void;
  /** By the op's own count: 2 a multiply-add; second moments count the lower triangle. */
  readonly flops: number;
  /** What an input or output holds, in the order in which the graph names them. */
  readonly data: readonly Float32Array[];
}

/** The region around the first node of what `build` makes. */
export function regionOf(build: (b: Builder) => readonly Value[]): Region {
  const b = new Builder('f', passLoc('bench'));
  const outputs = build(b);
  for (const [i, v] of outputs.entries()) b.output(`y${i}`, v);
  const { nodes, inputs } = b.finish();
  return { anchor: nodes[0], nodes, inputs, outputs, stopped: 'made by hand' };
}

/** @param algorithm of a contraction, instead of the one that is chosen */
export function prepare(region: Region, algorithm?: string, choice: Partial<TileChoice> = {}): Prepared {
  const named = contractionAlgorithms.find((a) => a.name === algorithm);
  if (algorithm !== undefined && !named) throw new Error(`no algorithm ${algorithm}`);
  const kernel = named ? lowerContraction(region, 'k', choice, named) : lowerRegion(region, 'k');
  return instantiate(
    kernel,
    [...region.inputs, ...region.outputs].map((v) => storedCount(v.type)),
  );
}

/** @param lengths of the kernel's parameters, all f32 */
export function instantiate(kernel: Kernel, lengths: readonly number[]): Prepared {
  const { bytes, info } = printWasm([kernel]);
  let top = 64;
  const places = lengths.map((length) => {
    const at = top;
    top += Math.ceil((4 * length) / 64) * 64 + 64;
    return at;
  });
  const memory = new WebAssembly.Memory({ initial: Math.ceil((top + info[0].scratch) / 65536), maximum: 65536 });
  const data = lengths.map((length, i) => new Float32Array(memory.buffer, places[i], length));
  for (const d of data) for (let k = 0; k < d.length; k++) d[k] = Math.sin(k);
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes as BufferSource), { env: { memory } });
  const call = instance.exports[kernel.name] as (...args: number[]) => void;
  return { run: () => call(...places, top, 0, info[0].grid), flops: kernel.flops, data };
}

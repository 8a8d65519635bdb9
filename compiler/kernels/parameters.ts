/**
 * A kernel over fewer parameters: several of its own become parts of one, each at its offset. What a device may not bind twice,
 * or not so many of, is bound once.
 */
import { add, type Expr, i32, type Kernel, type KernelParam, type Stmt } from '../../ir/kernel.js';
import { mapOwn, withChildren } from './rebuild.js';
import { blocksOf, withBlocks } from './walk.js';

/** Part of a joined parameter: element 0 of `param` is element `offset` of it. */
export interface Part {
  readonly param: string;
  readonly offset: number;
}

export interface JoinedParam extends KernelParam {
  readonly parts: readonly Part[];
}

/** @param joined the new parameters; every parameter of the kernel is a part of exactly one of them */
export function joinParameters(kernel: Kernel, name: string, joined: readonly JoinedParam[]): Kernel {
  const places = new Map<string, { readonly name: string; readonly offset: number }>();
  for (const j of joined) for (const { param, offset } of j.parts) places.set(param, { name: j.name, offset });
  const memo = new Map<Expr, Expr>();
  const moved = (memory: string, index: Expr): { memory: string; index: Expr } => {
    const place = places.get(memory);
    return place ? { memory: place.name, index: add(index, i32(place.offset)) } : { memory, index };
  };
  const rewrite = (e: Expr): Expr => {
    const known = memo.get(e);
    if (known) return known;
    let out = withChildren(e, rewrite);
    if (out.kind === 'load' || out.kind === 'loadIf') out = { ...out, ...moved(out.memory, out.index) };
    memo.set(e, out);
    return out;
  };
  const statement = (s: Stmt): Stmt => {
    const own = mapOwn(s, rewrite);
    const inner = withBlocks(
      own,
      blocksOf(own).map((b) => b.map(statement)),
    );
    switch (inner.kind) {
      case 'store':
      case 'tileLoad':
      case 'tileStore':
        return { ...inner, ...moved(inner.memory, inner.index) };
      case 'tileMma':
        return {
          ...inner,
          a: { ...inner.a, ...moved(inner.a.memory, inner.a.index) },
          b: { ...inner.b, ...moved(inner.b.memory, inner.b.index) },
        };
      default:
        return inner;
    }
  };
  const params = joined.map(({ parts: _, ...param }) => param);
  return { ...kernel, name, params, body: kernel.body.map(statement) };
}

import { describe, expect, it } from 'vitest';
import { type Fusion, fuse } from '../../compiler/kernels/fuse.js';
import { lowerRegion } from '../../compiler/kernels/lower.js';
import type { Region } from '../../compiler/kernels/region.js';
import { Builder } from '../../ir/builder.js';
import type { Func, Value } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { symmetric, tensor } from '../../ir/types.js';
import { agrees, noise } from './execute.js';

const builder = (): Builder => new Builder('f', passLoc('test'));
const window = { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 };

const opsOf = (region: Region): string => region.nodes.map((n) => n.op).join(' ');
const summary = (fusion: Fusion): string[] =>
  fusion.regions.map((r) => `${opsOf(r)} -> ${r.outputs.map((v) => v.name).join(' ')}`);

/** What every fusion must satisfy: values are written once, before they are read, and all that leaves exists. */
function sound(func: Func, { regions, aliasOf }: Fusion): void {
  const root = (v: Value): Value => {
    let at = v;
    for (let next = aliasOf.get(at); next; next = aliasOf.get(at)) at = next;
    return at;
  };
  const there = new Set<Value>([...func.inputs, ...func.reads]);
  for (const r of regions) {
    for (const v of r.inputs) expect(there.has(root(v)), `${v.name} is there`).toBe(true);
    for (const v of r.outputs) {
      expect(there.has(v), `${v.name} is new`).toBe(false);
      there.add(v);
    }
    expect(r.stopped).not.toBe('');
    for (const n of r.nodes) expect(n.guard === undefined || n.guard === r.guard).toBe(true);
  }
  for (const o of [...func.outputs.map((x) => x.value), ...func.updates.map((x) => x.value)])
    expect(there.has(root(o)), `${o.name} exists`).toBe(true);
}

describe('vertical fusion', () => {
  it('convolution, bias, residual and relu are one kernel', () => {
    const b = builder();
    const x = b.input('x', tensor('f32', [2, 3, 8, 8]));
    const w = b.input('w', tensor('f32', [4, 3, 3, 3]));
    const bias = b.reshape(b.input('bias', tensor('f32', [4])), [1, 4, 1, 1]);
    const residual = b.input('r', tensor('f32', [2, 4, 8, 8]));
    const y = b.add(b.add(b.node('conv', [x, w], { attrs: window }), bias), residual);
    b.output('y', b.node('relu', [y], { name: 'y' }));
    const func = b.finish();
    const fusion = fuse(func);
    sound(func, fusion);
    expect(summary(fusion)).toEqual(['conv add add relu -> y']);
    expect(fusion.regions[0].anchor?.op).toBe('conv');
  });

  it('a cheap view goes into a contraction, an exponential does not', () => {
    for (const [op, kernels] of [
      ['neg', 1],
      ['exp', 2],
    ] as const) {
      const b = builder();
      const x = b.input('x', tensor('f32', [6, 5]));
      const w = b.input('w', tensor('f32', [6, 7]));
      b.output('y', b.matmul(b.transpose(b.node(op, [x]), [1, 0]), w));
      const func = b.finish();
      const fusion = fuse(func);
      sound(func, fusion);
      expect(fusion.regions).toHaveLength(kernels);
    }
  });

  it('what follows a contraction is its epilogue, not the prologue of the next one', () => {
    const b = builder();
    const [x, w1, w2] = ['x', 'w1', 'w2'].map((n) => b.input(n, tensor('f32', [8, 8])));
    const h = b.node('relu', [b.matmul(x, w1)], { name: 'h' });
    b.output('y', b.matmul(h, w2, false, false, 'y'));
    expect(summary(fuse(b.finish()))).toEqual(['matmul relu -> h', 'matmul -> y']);
  });

  it('an epilogue that would need its own later result stays out', () => {
    const b = builder();
    const x = b.input('x', tensor('f32', [5, 7]));
    const total = b.sum(x, [1], true);
    const peak = b.node('reduce_max', [total], { attrs: { axes: [0], keep: true } });
    b.output('y', b.div(total, peak));
    const { regions } = agrees(b.finish(), { x: noise(35).map(Math.abs) });
    expect(regions).toHaveLength(3);
  });

  it('a scalar goes into every kernel that reads it', () => {
    const b = builder();
    const valid = b.input('valid', tensor('f32', [4]));
    const count = b.sumAll(valid, 'count');
    const scale = b.div(b.fill(1), count);
    const [x, y] = [b.input('x', tensor('f32', [40])), b.input('y', tensor('f32', [3, 11]))];
    b.output('sx', b.mul(b.sumAll(x), scale));
    b.output('sy', b.mul(b.sum(y, [0]), scale));
    const { regions } = agrees(b.finish(), { valid: [1, 1, 0, 1], x: noise(40), y: noise(33) });
    expect(regions.map((r) => r.inputs.length)).toEqual([1, 2, 2]);
  });

  it('a packed factor is scaled, averaged with what is stored and unpacked without a kernel of its own', () => {
    const b = builder();
    const [s, old] = ['s', 'old'].map((n) => b.input(n, symmetric(6)));
    const x = b.input('x', tensor('f32', [6, 4]));
    const decay = b.input('decay', tensor('f32', []));
    const mean = b.add(b.mul(old, decay), b.mul(s, b.sub(b.fill(1), decay)), 'mean');
    b.output('mean', mean);
    b.output('y', b.matmul(b.node('unpack', [mean]), x, false, false, 'y'));
    expect(summary(fuse(b.finish()))).toEqual(['mul fill sub mul add -> mean', 'unpack matmul -> y']);
  });

  it('each of many equal layers is fused as the first is', () => {
    const b = builder();
    let x = b.input('x', tensor('f32', [64, 32]));
    for (let layer = 0; layer < 100; layer++) x = b.node('exp', [b.mul(b.sum(b.mul(x, x), [1], true), x)]);
    b.output('y', x);
    const func = b.finish();
    const fusion = fuse(func);
    sound(func, fusion);
    expect([...new Set(fusion.regions.map(opsOf))]).toEqual(['mul reduce_sum', 'mul exp']);
  });
});

describe('aliases', () => {
  it('a reshape is no kernel, between kernels and at the end', () => {
    const b = builder();
    const x = b.input('x', tensor('f32', [2, 3, 4]));
    const flat = b.reshape(b.node('exp', [x], { name: 'e' }), [2, 12], 'flat');
    b.output('flat', flat);
    b.output('sums', b.sum(flat, [1]));
    const func = b.finish();
    const fusion = fuse(func);
    sound(func, fusion);
    expect(summary(fusion)).toEqual(['exp -> e', 'reduce_sum -> reduce_sum']);
    expect(fusion.aliasOf.get(flat)?.name).toBe('e');
    agrees(func, { x: noise(24) });
  });

  it('an output may be a reshaped input', () => {
    const b = builder();
    const x = b.input('x', tensor('f32', [6]));
    b.output('y', b.reshape(x, [2, 3]));
    const { regions } = agrees(b.finish(), { x: noise(6) });
    expect(regions).toHaveLength(0);
  });
});

describe('guards and state', () => {
  /** A factor that is refreshed when due; both its old and its refreshed value are read. */
  function refreshing(): Func {
    const b = builder();
    const x = b.input('x', tensor('f32', [5, 3]));
    const stored = b.read('A', tensor('f32', [3]));
    const used = b.input('w', tensor('f32', [3]));
    const guard = 'due(A)';
    const mean = b.node('reduce_sum', [b.mul(x, x)], { attrs: { axes: [0], keep: false }, guard, name: 'sum' });
    const fresh = b.node('mul', [mean, b.fill(0.2)], { guard, name: 'fresh' });
    const now = b.node('refresh', [fresh, stored], { guard, name: 'now' });
    b.output('y', b.mul(now, used, 'y'));
    b.output('change', b.sub(used, stored, 'change'));
    b.update('A', now);
    return b.finish();
  }

  it('guarded nodes keep to themselves; refreshed state is an alias of the state', () => {
    const func = refreshing();
    const fusion = fuse(func);
    sound(func, fusion);
    const fresh = fusion.regions.find((r) => r.outputs.some((v) => v.name === 'fresh'));
    expect(fresh?.guard).toBe('due(A)');
    expect(fresh?.nodes.map((n) => n.op)).toContain('reduce_sum');
    expect(fusion.regions.filter((r) => r.guard)).toHaveLength(1);
    const now = func.nodes.find((n) => n.op === 'refresh')!.results[0];
    expect(fusion.aliasOf.get(now)?.name).toBe('A');
  });

  it('the old state is read before the fresh one may be written, the refreshed one after', () => {
    const { regions } = fuse(refreshing());
    const at = (name: string): number => regions.findIndex((r) => r.outputs.some((v) => v.name === name));
    expect(at('change')).toBeLessThan(at('fresh'));
    expect(at('fresh')).toBeLessThan(at('y'));
  });

  it('an unguarded value that guarded and other kernels read is not computed under the guard', () => {
    const b = builder();
    const x = b.input('x', tensor('f32', [40, 30]));
    const e = b.node('exp', [x], { name: 'e' });
    const stored = b.read('A', tensor('f32', [40]));
    const guard = 'due(A)';
    const fresh = b.node('reduce_sum', [e], { attrs: { axes: [1], keep: false }, guard });
    b.update('A', b.node('refresh', [fresh, stored], { guard }));
    b.output('y', b.sum(e, [0]));
    const func = b.finish();
    const fusion = fuse(func);
    sound(func, fusion);
    expect(fusion.regions.find((r) => r.outputs.some((v) => v.name === 'e'))?.guard).toBeUndefined();
  });
});

describe('horizontal fusion', () => {
  it('sums over the same tensor read it once', () => {
    const b = builder();
    const shape = [16, 8, 14, 14];
    const [x, dy] = ['x', 'dy'].map((n) => b.input(n, tensor('f32', shape)));
    const square = b.mul(x, dy);
    b.output('a', b.sum(dy, [0, 2, 3]));
    b.output('b', b.sum(square, [0, 2, 3]));
    const { regions, kernels } = agrees(b.finish(), { x: noise(16 * 8 * 196, 1), dy: noise(16 * 8 * 196, 2) });
    expect(regions).toHaveLength(1);
    expect(regions[0].parts).toHaveLength(2);
    // One loop nest: the grid over channels.
    expect(kernels[0].body.filter((s) => s.kind === 'for')).toHaveLength(1);
  });

  it('small sums of layers at different depths meet where something waits for all of them', () => {
    const b = builder();
    let x = b.input('x', tensor('f32', [8]));
    const sums: Value[] = [];
    for (let layer = 0; layer < 6; layer++) {
      x = b.node('tanh', [b.matmul(b.reshape(x, [1, 8]), b.input(`w${layer}`, tensor('f32', [8, 8])))]);
      x = b.reshape(x, [8]);
      sums.push(b.sum(x, [0]));
    }
    b.output('sums', b.node('stack', sums));
    const func = b.finish();
    const fusion = fuse(func);
    sound(func, fusion);
    expect(fusion.regions.filter((r) => r.anchor?.op === 'reduce_sum').map((r) => r.outputs.length)).toEqual([6]);
    agrees(func, Object.fromEntries(func.inputs.map((v, i) => [v.name, noise(v === func.inputs[0] ? 8 : 64, i)])));
  });

  it('regions that depend on each other are not joined', () => {
    const b = builder();
    const x = b.input('x', tensor('f32', [8, 16]));
    const first = b.sum(x, [1], true);
    b.output('first', first);
    b.output('second', b.sum(b.mul(x, first), [1]));
    const { regions } = agrees(b.finish(), { x: noise(128) });
    expect(regions).toHaveLength(2);
  });
});

it('takes a graph of 20,000 nodes', () => {
  const b = builder();
  let x = b.input('x', tensor('f32', [32, 64]));
  const scalars: Value[] = [];
  for (let k = 0; k < 2500; k++) {
    const s = b.sum(x, [1], true);
    const y = b.mul(b.sub(x, s), b.fill(0.5));
    scalars.push(b.sumAll(b.mul(y, x)));
    x = b.node('relu', [b.add(x, y)]);
  }
  let total = scalars[0];
  for (const s of scalars.slice(1)) total = b.add(total, s);
  b.output('x', x);
  b.output('total', total);
  const func = b.finish();
  const fusion = fuse(func);
  for (const [k, r] of fusion.regions.entries()) lowerRegion(r, `k${k}`);
  // A quadratic step somewhere would take minutes and run into the time limit of the test.
  sound(func, fusion);
});

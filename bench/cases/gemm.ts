/** Square products, plain and with either operand transposed, against the ceiling of the 4 x 8 tile and against jax-js. */
import type { Builder } from '../../ir/builder.js';
import { tensor } from '../../ir/types.js';
import { type Case, held, type Row, wants } from '../harness/case.js';
import { tileCeiling } from '../harness/ceiling.js';
import { prepare, regionOf } from '../harness/kernel.js';
import { calls, interleave } from '../harness/timing.js';
import { jax } from '../peers/jax.js';

const f = (...shape: number[]) => tensor('f32', shape);

export const matmul = (m: number, n: number, k: number, ta = false, tb = false) =>
  prepare(
    regionOf((b: Builder) => [
      b.matmul(b.input('a', f(...(ta ? [k, m] : [m, k]))), b.input('b', f(...(tb ? [n, k] : [k, n]))), ta, tb),
    ]),
  );

export const gemm: Case = {
  name: 'gemm',
  title: 'GEMM, f32, 1 thread',
  expected: '90% of the ceiling from 256 up; less at 128, where packing is a larger part; jax-js at 60% of ours',
  run: async (context) => {
    const rows: Row[] = [];
    const ceiling = tileCeiling();
    const peer = await jax(context.note);
    for (const size of [128, 256, 512, 1024, 2048])
      for (const [ta, tb] of [
        [false, false],
        [false, true],
        [true, false],
      ]) {
        const name = `${size}${ta ? ' ta' : ''}${tb ? ' tb' : ''}`;
        if (!wants(context, name)) continue;
        const own = matmul(size, size, size, ta, tb);
        const budget = context.budget * (size > 1024 ? 3 : 1);
        const t = await interleave([calls('ceiling', ceiling.run), calls('own', own.run)], context.clock, budget);
        const speed = (flops: number, ms: number): string => (flops / ms / 1e6).toFixed(1);
        const ratio = t.faster('own', 'ceiling') * (own.flops / ceiling.flops);
        let detail = `${speed(own.flops, t.time('own'))} of ${speed(ceiling.flops, t.time('ceiling'))} GFLOP/s`;
        if (peer && !ta && !tb) {
          // By itself: a peer's collected garbage would count for the ceiling.
          const u = await interleave([calls('own', own.run), peer.matmul(size)], context.clock, budget);
          detail += `; jax-js ${speed(own.flops, u.time('jax-js'))}: ${u.faster('own', 'jax-js').toFixed(2)} x`;
        }
        rows.push(held(name, ratio, { least: 0.9, of: 'the ceiling' }, detail));
      }
    return rows;
  },
};

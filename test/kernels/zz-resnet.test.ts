import { it } from 'vitest';
import { insertCurvature } from '../../compiler/curvature/insert-curvature.js';
import { fuse } from '../../compiler/kernels/fuse.js';
import { lowerRegion } from '../../compiler/kernels/lower.js';
import { insertUpdate } from '../../compiler/optimizer/insert-update.js';
import { mergeCommonSubexpressions } from '../../compiler/passes/common-subexpressions.js';
import { removeDeadCode } from '../../compiler/passes/dead-code.js';
import { expandComposites } from '../../compiler/passes/expand-composites.js';
import { regionKey } from '../../compiler/program/region-key.js';
import type { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import { printKernel } from '../../ir/text/print-kernel.js';
import { storedBytes, tensor } from '../../ir/types.js';
import { differentiated, N, type Net, window } from '../nets.js';

const stages = process.env.SMALL ? [1, 1] : [3, 4, 6, 3];
const resnet: Net = {
  forward: (b: Builder, parameter, training) => {
    let id = 0;
    const conv = (x: Value, o: number, k: number, s: number, p: number) =>
      b.node('conv', [x, parameter(`conv${id++}`, [o, x.type.shape[1] as number, k, k])], { attrs: window(p, s) });
    const valid = training ? b.input('valid', tensor('f32', [N])) : undefined;
    const bn = (x: Value) => {
      const c = x.type.shape[1] as number;
      const g = parameter(`g${id}`, [c]);
      const be = parameter(`b${id}`, [c]);
      if (training) {
        const [y, m, v] = b.multi('batch_norm', [x, g, be, valid!], { attrs: { epsilon: 1e-5 } });
        void m;
        void v;
        return y;
      }
      return b.node('batch_norm_inference', [x, g, be, b.fill(0, [c]), b.fill(1, [c])], { attrs: { epsilon: 1e-5 } });
    };
    const relu = (x: Value) => b.node('relu', [x]);
    let x = b.input('x', tensor('f32', [N, 3, 64, 64]));
    x = relu(bn(conv(x, 64, 7, 2, 3)));
    x = b.node('max_pool', [x], {
      attrs: { kernel: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], dilations: [1, 1], height: 16, width: 16 },
    });
    stages.forEach((n, si) => {
      const w = 64 << si;
      for (let k = 0; k < n; k++) {
        const s = k === 0 && si > 0 ? 2 : 1;
        const inp = x;
        let y = relu(bn(conv(x, w, 1, 1, 0)));
        y = relu(bn(conv(y, w, 3, s, 1)));
        y = bn(conv(y, 4 * w, 1, 1, 0));
        const sc = k === 0 ? bn(conv(inp, 4 * w, 1, s, 0)) : inp;
        x = relu(b.add(y, sc));
      }
    });
    const h = x.type.shape[2] as number;
    x = b.node('avg_pool', [x], {
      attrs: { kernel: [h, h], strides: [1, 1], pads: [0, 0, 0, 0], height: 1, width: 1, count_include_pad: false },
    });
    const f = b.reshape(x, [N, x.type.shape[1]]);
    return b.add(
      b.matmul(f, parameter('fc', [1000, f.type.shape[1] as number]), false, true),
      parameter('fcb', [1000]),
    );
  },
};
it('resnet', () => {
  let t = performance.now();
  const lap = (what: string) => {
    const n = performance.now();
    console.log(what, (n - t).toFixed(0));
    t = n;
  };
  const { module } = differentiated(resnet, 4);
  lap('diff');
  const curved = insertCurvature(module);
  lap('curv');
  const up = insertUpdate(curved, { optimizer: 'spngd' }).module;
  lap('update');
  const prim = removeDeadCode(mergeCommonSubexpressions(expandComposites(mergeCommonSubexpressions(up))));
  lap('prim');
  for (const func of prim.functions) {
    console.log(func.name, func.nodes.length);
    t = performance.now();
    const { regions, aliasOf } = fuse(func);
    lap('fuse');
    const ops = new Map<string, number>();
    const unique = new Map<string, number>();
    for (const r of regions) {
      const k = r.anchor?.op ?? 'pointwise';
      ops.set(k, (ops.get(k) ?? 0) + 1);
    }
    console.log(regions.length, 'regions', aliasOf.size, 'aliases', [...ops].map((o) => o.join(':')).join(' '));
    console.log(
      'bytes',
      regions.reduce((n, r) => n + [...r.inputs, ...r.outputs].reduce((m, v) => m + storedBytes(v.type), 0), 0) / 1e6,
    );
    t = performance.now();
    for (const r of regions) {
      const key = regionKey(r);
      unique.set(key, (unique.get(key) ?? 0) + 1);
    }
    lap('keys');
    console.log(unique.size, 'kernels');
    let fail = 0,
      texts = 0,
      done = new Set<string>();
    regions.forEach((r, k) => {
      const key = regionKey(r);
      if (done.has(key)) return;
      done.add(key);
      try {
        const ker = lowerRegion(r, `k${k}`);
        texts++;
        if (process.env.PRINT)
          console.log(
            `// ${unique.get(key)}x`,
            r.nodes.map((n) => n.op).join(' '),
            '#',
            r.stopped,
            '\n',
            printKernel(ker),
          );
      } catch (e) {
        fail++;
        if (!/stub/.test(String(e))) console.log(String(e));
        if (process.env.PRINT)
          console.log(
            `// ${unique.get(key)}x FAIL`,
            r.nodes.map((n) => `${n.results[0].type.shape}=${n.op}`).join(' '),
            ' out',
            r.outputs.map((o) => o.name).join(' '),
            '#',
            r.stopped,
          );
      }
    });
    lap('lower');
    console.log('lowered', texts, 'failed', fail);
  }
});

/** Training steps of two small nets against the JavaScript peers: here dispatch, small shapes and everything but products count. */
import { type Case, held, type Row, wants } from '../harness/case.js';
import { trainer } from '../harness/program.js';
import { calls, interleave } from '../harness/timing.js';
import { cnn, mlp } from '../models/nets.js';
import { jax } from '../peers/jax.js';
import { tfjs } from '../peers/tfjs.js';

const nets = [
  { name: 'mlp', what: 'MLP 784-256-10, batch 64, SGD step', model: mlp, batch: 64 },
  { name: 'cnn', what: 'CNN 8, 16 filters, batch 16, SGD step', model: cnn, batch: 16 },
] as const;

export const smallNets: Case = {
  name: 'small-nets',
  title: 'Small nets against JavaScript peers, 1 thread',
  expected:
    'MLP 1.6x jax-js (both are products), CNN far more; tfjs: 10x and more where it computes in plain JavaScript',
  run: async (context) => {
    const rows: Row[] = [];
    for (const net of nets) {
      if (!wants(context, net.name)) continue;
      const own = await trainer(net.model(), { batch: net.batch, optimizer: 'sgd', init: 'he-normal' });
      const contenders = [calls('own', () => own.step())];
      const backends: string[] = [];
      const [a, b] = [await jax(context.note), await tfjs(context.note)];
      if (a) contenders.push((await a[net.name](net.batch)) as (typeof contenders)[0]);
      if (b) {
        contenders.push((await b[net.name](net.batch)) as (typeof contenders)[0]);
        backends.push(b.backend());
      }
      const t = await interleave(contenders, context.clock, 2 * context.budget);
      const ms = (name: string): string => `${t.time(name).toFixed(3)} ms`;
      for (const [peer, least] of [
        ['jax-js', 3],
        ['tfjs', 10],
      ] as const) {
        if (!contenders.some((c) => c.name === peer)) continue;
        const backend = peer === 'tfjs' ? ` (${backends[0]})` : '';
        rows.push(
          held(net.what, t.faster('own', peer), { least, of: `${peer}${backend}` }, `${ms('own')} against ${ms(peer)}`),
        );
      }
    }
    return rows;
  },
};

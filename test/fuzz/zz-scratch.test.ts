import { it } from 'vitest';
import { agrees } from '../kernels/execute.js';
import { randomFunc, randomInputs } from './graphs.js';
it('x', () => {
  const bad = new Map<string, string[]>();
  let n = 0;
  const end = Date.now() + 60000;
  for (let seed = 0; seed < 400 && Date.now() < end; seed++) {
    n++;
    const f = randomFunc(seed);
    try { agrees(f, randomInputs(f, seed), 2e-5); } catch (e) {
      const m = String((e as Error).message).split('\n')[0];
      const k = m.replace(/[\d.e+-]+/g, '#').slice(0, 70);
      bad.set(k, [...(bad.get(k) ?? []), `${seed}: ${m.slice(0, 140)}`]);
    }
  }
  console.log(n);
  for (const [k, l] of bad) console.log(l.length, k, '\n   ', l.slice(0, 4).join('\n    '));
});

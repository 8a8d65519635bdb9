/** Random modules as whole programs for both targets; `npm run prove` takes a thousand of them. */
import { expect, it } from 'vitest';
import { Builder } from '../../ir/builder.js';
import { passLoc } from '../../ir/loc.js';
import { tensor } from '../../ir/types.js';
import { checkProgram, randomModule, ways } from './programs.js';

it('random programs at planned offsets compute what the graph says, on every target', () => {
  let windows = 0;
  let joined = 0;
  for (let seed = 0; seed < 30; seed++) {
    const made = checkProgram(seed, randomModule(seed));
    const { buffers, kernels } = made[ways.findIndex((w) => w.target === 'webgpu' && w.fusion)].program;
    windows += buffers.filter((b) => b.role === 'window').length;
    joined += kernels.filter((k) => k.stopped.includes('small steps')).length;
  }
  // What only a GPU's programs have was there to be tested.
  expect(windows).toBeGreaterThan(30);
  expect(joined).toBeGreaterThan(30);
});

it('state that a later output of the same loop still reads is not overwritten in place', () => {
  const b = new Builder('first', passLoc('test'));
  const x = b.read('x', tensor('f32', [4]));
  const fresh = b.fill(-0.5, [4]);
  b.output('y', b.node('less', [fresh, x]));
  b.update('x', fresh);
  const state = {
    name: 'x',
    type: x.type,
    role: 'parameter',
    owner: 'all',
    lifetime: 'training',
    checkpoint: true,
    init: { kind: 'weights' },
    loc: x.loc,
  } as const;
  const functions = [b.finish()];
  checkProgram(0, {
    name: 'overwritten',
    level: 'train',
    state: [state],
    functions,
    weights: new Map(),
    parameters: [],
  });
});

import { describe, it } from 'vitest';
import { Builder } from '../../ir/builder.js';
import { passLoc } from '../../ir/loc.js';
import { product, tensor } from '../../ir/types.js';
import { agrees, noise } from './execute.js';

const builder = (): Builder => new Builder('f', passLoc('test'));

describe.each([
  { shape: [5, 3], many: [4], axis: 0 },
  { shape: [3, 5], many: [4], axis: 1 },
  { shape: [2, 4, 600], many: [2, 3], axis: 1 },
  { shape: [6], many: [7], axis: 0 },
  { shape: [3, 4, 2], many: [], axis: 1 },
])('$shape at $many along axis $axis', ({ shape, many, axis }) => {
  const indices = noise(product(many)).map((v) => Math.round(v * shape[axis]) % (shape[axis] + 1));
  const result = [...shape.slice(0, axis), ...many, ...shape.slice(axis + 1)];

  it('gather, indices out of range clamped', () => {
    const b = builder();
    const x = b.input('x', tensor('f32', shape));
    const i = b.input('i', tensor('i32', many));
    b.output('y', b.mul(b.node('gather', [b.node('neg', [x]), i], { attrs: { axis } }), b.fill(3)));
    agrees(b.finish(), { x: noise(product(shape)), i: indices });
  });

  it('scatter_add, repeated indices added up', () => {
    const b = builder();
    const i = b.input('i', tensor('i32', many));
    const u = b.input('u', tensor('f32', result));
    const y = b.node('scatter_add', [i, b.mul(u, b.fill(0.5))], { attrs: { axis, size: shape[axis] } });
    b.output('y', y);
    b.output('z', b.node('relu', [y]));
    agrees(b.finish(), { i: indices, u: noise(product(result)) });
  });
});

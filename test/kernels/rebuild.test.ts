import { expect, it } from 'vitest';
import { mapBlock, withChildren, withParts } from '../../compiler/kernels/rebuild.js';
import {
  add,
  type Expr,
  i32,
  letI,
  load,
  loop,
  lt,
  mul,
  ref,
  type Stmt,
  select,
  store,
  unary,
} from '../../ir/kernel.js';

const i = ref('i');
const guarded: Expr = { kind: 'loadIf', cond: lt(i, i32(4)), memory: 'a', index: i, otherwise: 0 };
const expressions: readonly Expr[] = [
  load('a', i),
  unary('neg', load('a', i)),
  add(i, ref('j')),
  select(lt(i, i32(4)), i, ref('j')),
  guarded,
];
const read = { memory: 'a', index: i };
const statements: readonly Stmt[] = [
  loop('serial', 'k', i, [letI('t', i)]),
  letI('t', i),
  { kind: 'var', name: 't', type: 'i32', value: i },
  { kind: 'set', name: 't', value: i },
  { kind: 'accumulate', name: 't', op: 'add', value: i },
  store('a', i, load('a', i)),
  // biome-ignore lint/suspicious/noThenProperty: the statement's own field
  { kind: 'if', cond: lt(i, i32(4)), then: [letI('t', i)], else: [] },
  {
    kind: 'tileMma',
    tile: 'c',
    operand: 'f32',
    depth: i,
    a: { ...read, row: 1, depth: 2 },
    b: { ...read, depth: 3, col: 4 },
  },
  { kind: 'tileLoad', tile: 'c', ...read, row: i, col: 1 },
  { kind: 'tileStore', tile: 'c', ...read, row: i, col: 1 },
  { kind: 'tileEach', tile: 'c', row: 'r', col: 's', element: 'e', rowLimit: i, colLimit: i, body: [letI('t', i)] },
];

/** Replaces the name i everywhere. */
const renamed = (e: Expr): Expr => (e.kind === 'ref' && e.name === 'i' ? ref('n') : withChildren(e, renamed));
const renamedIn = (s: Stmt): Stmt => withParts(s, renamed, (body) => mapBlock(body, renamedIn));
/** The same by text: no field but a reference's name is 'i' here. */
const byText = <T>(x: T): T => JSON.parse(JSON.stringify(x).replaceAll('"name":"i"', '"name":"n"'));

it('what has the same parts afterwards is the same object', () => {
  for (const e of expressions) expect(withChildren(e, (c) => c)).toBe(e);
  const kept = (s: Stmt): Stmt =>
    withParts(
      s,
      (e) => e,
      (body) => mapBlock(body, kept),
    );
  expect(mapBlock(statements, kept)).toBe(statements);
});

it('every part is replaced, all else stays', () => {
  for (const e of expressions) expect(renamed(mul(e, e))).toEqual(byText(mul(e, e)));
  expect(mapBlock(statements, renamedIn)).toEqual(byText(statements));
});

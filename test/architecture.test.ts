/**
 * The rooms of the house, held by reading what every file imports: ir/ <- compiler/, runtime/ <- pack/ <- cli/; compiler and runtime
 * never see each other; a pass never sees a sibling pass. Also: names that say nothing, and files that grew too long.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';

const rooms = ['ir', 'compiler', 'runtime', 'pack', 'cli'] as const;
const mayImport: Record<(typeof rooms)[number], readonly string[]> = {
  ir: ['ir'],
  compiler: ['compiler', 'ir'],
  runtime: ['runtime', 'ir'],
  pack: ['pack', 'runtime', 'ir'],
  cli: ['cli', 'pack', 'compiler', 'runtime', 'ir'],
};

/** Paths from the repository root, with forward slashes. */
function entries(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((e) => {
    const path = `${folder}/${e.name}`;
    return e.isDirectory() ? [path, ...entries(path)] : [path];
  });
}

/** Static, re-exporting and dynamic imports, and the modules that worker threads are started from. */
function importsOf(source: string): string[] {
  const forms = [
    /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gm,
    /^\s*import\s*['"]([^'"]+)['"]/gm,
    /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g,
    /\bnew URL\(\s*['"]([^'"]+)['"]\s*,\s*import\.meta\.url/g,
  ];
  return forms.flatMap((form) => [...source.matchAll(form)].map((m) => m[1]));
}

const files = rooms.flatMap((room) => (existsSync(room) ? entries(room) : [])).filter((f) => f.endsWith('.ts'));
const relative = (file: string): string[] =>
  importsOf(readFileSync(file, 'utf8'))
    .filter((i) => i.startsWith('.'))
    .map((i) => normalize(join(dirname(file), i)).replaceAll('\\', '/'));

it('reads imports of every form', () => {
  const source = `
import type { A } from './a.js';
import {
  type B,
  c,
} from "../b.js";
import './effects.js';
export * from './d.js';
export { e } from './e.js';
const f = await import('./f.js');
const w = new Worker(new URL('./g.js', import.meta.url));
const text = 'nothing to import';
`;
  expect(importsOf(source).sort()).toEqual(
    ['./a.js', '../b.js', './effects.js', './d.js', './e.js', './f.js', './g.js'].sort(),
  );
  expect(files.length).toBeGreaterThan(50);
});

describe.each(rooms)('%s/', (room) => {
  const own = files.filter((f) => f.startsWith(`${room}/`));

  it(`imports only ${mayImport[room].join(', ')}`, () => {
    const wrong = own.flatMap((f) =>
      relative(f)
        .filter((i) => !mayImport[room].includes(i.split('/')[0]))
        .map((i) => `${f} imports ${i}`),
    );
    expect(wrong).toEqual([]);
  });

  it('has no file over 400 lines', () => {
    expect(own.filter((f) => readFileSync(f, 'utf8').split('\n').length > 401)).toEqual([]);
  });

  it('says at the top of each file what it is', () => {
    expect(own.filter((f) => !/^(#!.*\n)?\/\*\*/.test(readFileSync(f, 'utf8')))).toEqual([]);
  });
});

it('passes speak through the graph, not to each other', () => {
  const passes = files.filter((f) => f.startsWith('compiler/passes/'));
  expect(passes.length).toBeGreaterThan(0);
  const wrong = passes.flatMap((f) =>
    relative(f)
      .filter((i) => i.startsWith('compiler/passes/'))
      .map((i) => `${f} imports ${i}`),
  );
  expect(wrong).toEqual([]);
});

it('has no drawer for what found no place', () => {
  const all = [...rooms, 'test', 'bench', 'examples', 'scripts'].filter((r) => existsSync(r)).flatMap(entries);
  const drawers = all.filter((f) => /^(utils?|helpers?|common|misc|shared)(\.\w+)*$/i.test(basename(f)));
  expect(drawers).toEqual([]);
});

/**
 * How tests of contractions look at one: every tile choice, on every target, against the evaluator.
 */
import { lowerContraction, type TileChoice } from '../../compiler/kernels/contraction.js';
import {
  blockChoices,
  type ContractionChoice,
  lowerContraction as lowerForGpu,
} from '../../compiler/kernels/gpu/contraction.js';
import { Builder } from '../../ir/builder.js';
import type { Func } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { product } from '../../ir/types.js';
import { runDawn } from '../targets/run-dawn.js';
import { runInterpreted } from '../targets/run-wasm.js';
import { noise } from './execute.js';
import { near, regionOf, runners, runRegion, truthOf } from './lowered.js';

/** Each tile shape; small blocks, so that every edge of a block is met even in small problems; and the algorithm's own. */
export const choices: readonly Partial<TileChoice>[] = [
  {},
  { mr: 4, nr: 8, kc: 5, mc: 8, nc: 16 },
  { mr: 2, nr: 16, kc: 7, mc: 6, nc: 16 },
  { mr: 2, nr: 16 },
];

/** For a GPU: each block shape, each way to split single results, and the algorithm's own choice. */
export const gpuChoices: readonly (ContractionChoice | undefined)[] = [
  undefined,
  ...blockChoices,
  { results: 256 },
  { results: 8 },
  { results: 1 },
];
let turn = 0;

export const builder = (): Builder => new Builder('f', passLoc('test'));

/**
 * Inputs are in (-2, 2), so K products of magnitude up to 4 sum to at most 4 K, whatever their signs. Each of the additions
 * rounds to 2^-24 of the sum so far; L of them in a row (a part of a long sum is at most 1024 terms long) err by about
 * sqrt(L) of that. So 2^-24 sqrt(L) 4 K is several times what is to be expected, and far below one wrong term.
 */
export const toleranceOf = (terms: number): number => 2 ** -24 * Math.sqrt(Math.min(terms, 1024)) * 4 * terms;

/** The region's kernels, on the targets and with the tile choices that are asked for, against the float64 evaluator. */
export function check(
  what: string,
  func: Func,
  terms: number,
  some: readonly Partial<TileChoice>[] = choices,
  on: typeof runners = runners,
): void {
  const inputs = Object.fromEntries(
    func.inputs.map((v, i) => [v.name, noise(product(v.type.shape as number[]), i + 1)]),
  );
  const region = regionOf(func);
  const want = truthOf(func, inputs);
  // Choices take turns. A software driver takes a second or more to compile a kernel: it gets one of some problems here, and
  // each choice once below.
  turn++;
  const onDawn = turn % 6 === 0;
  const results = want.reduce((n, w) => Math.max(n, w.length), 0);
  // What is large is for the CPU's own blocks; an interpreter would take minutes.
  const large = results * terms > 5e5;
  for (const choice of large
    ? []
    : [undefined, gpuChoices[turn % gpuChoices.length], gpuChoices[(turn + 3) % gpuChoices.length]]) {
    // A workgroup for each result: too many for an interpreter.
    if (choice && 'results' in choice && results * (256 / choice.results) > 20_000) continue;
    for (const run of [runInterpreted, ...(onDawn && choice === undefined ? [runDawn] : [])]) {
      const got = runRegion(region, lowerForGpu(region, 'k', choice), inputs, run);
      for (const [i, w] of want.entries())
        near(got[i], w, toleranceOf(terms), `${what} for a GPU ${JSON.stringify(choice)} ${run.name}`);
    }
  }
  for (const [n, choice] of some.entries())
    for (const [target, run] of Object.entries(on)) {
      // Own and smallest blocks everywhere; the others, which differ from these in sizes only, on the target alone.
      if (n > 1 && target !== 'wasm') continue;
      const got = runRegion(region, lowerContraction(region, 'k', choice), inputs, run);
      for (const [i, w] of want.entries())
        near(got[i], w, toleranceOf(terms), `${what} ${JSON.stringify(choice)} ${target}`);
    }
}

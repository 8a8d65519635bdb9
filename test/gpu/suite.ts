/**
 * All problems, and the loop that runs their tests: several at a time, so that kernels are compiled beside each other.
 */
import { contractionProblems } from './contractions.js';
import type { TestDevice } from './device.js';
import { historyProblems } from './history.js';
import { inverseProblems } from './inverses.js';
import { joinedProblems } from './joined.js';
import { matrixProblems } from './matrices.js';
import { pointwiseProblems, viewProblems } from './pointwise.js';
import type { Problem, Way } from './problem.js';
import { reductionProblems, selectionProblems } from './reductions.js';
import { windowProblems } from './windows.js';

export const problems: readonly Problem[] = [
  ...pointwiseProblems,
  ...viewProblems,
  ...reductionProblems,
  ...selectionProblems,
  ...historyProblems,
  ...contractionProblems,
  ...windowProblems,
  ...inverseProblems,
  ...joinedProblems,
  ...matrixProblems,
];

export interface Test {
  readonly family: string;
  readonly name: string;
  readonly way: Way;
  readonly feature?: string;
}

/** @param large with those that only a real GPU does in a reasonable time */
export function testsOf(some: readonly Problem[], large: boolean): Test[] {
  return some
    .filter((p) => large || !p.large)
    .flatMap(({ name, ways, feature }) => {
      const family = name.slice(0, name.indexOf(':'));
      return ways.map((way): Test => ({ family, name: `${name}, ${way.name}`, way, feature }));
    });
}

export interface Result {
  readonly test: Test;
  /** What is wrong; absent where the test passed. */
  readonly wrong?: string;
}

/** Tests at once. */
const AT_ONCE = 16;
/** Milliseconds without any answer, after which a device has hung. */
const PATIENCE = 300_000;

/** Tells each result as soon as it is there. Where the device is lost or hangs, all tests that are left fail. */
export async function runTests(
  device: TestDevice,
  tests: readonly Test[],
  tell: (result: Result) => void,
): Promise<void> {
  let next = 0;
  let hung = false;
  let last = performance.now();
  const answered = new Set<Test>();
  const one = async (test: Test): Promise<void> => {
    let wrong: string | undefined;
    if (device.lost !== undefined) wrong = `the device was lost before: ${device.lost}`;
    else
      try {
        wrong = await device.run(test.way.work());
      } catch (e) {
        wrong = (e as Error).message;
      }
    if (hung) return;
    last = performance.now();
    answered.add(test);
    tell({ test, wrong });
  };
  const worker = async (): Promise<void> => {
    while (!hung && next < tests.length) {
      await one(tests[next++]);
      // The event loop has to turn, or what Dawn has finished is not heard.
      await new Promise(setImmediate);
    }
  };
  const working = Promise.all(Array.from({ length: AT_ONCE }, worker));
  let timer: NodeJS.Timeout | undefined;
  const watching = new Promise<void>((resolve) => {
    timer = setInterval(() => {
      if (performance.now() - last < PATIENCE) return;
      hung = true;
      resolve();
    }, 1000);
  });
  await Promise.race([working, watching]);
  clearInterval(timer);
  if (!hung) return;
  const running = tests.slice(0, next);
  for (const test of tests) {
    if (answered.has(test)) continue;
    tell({
      test,
      wrong: running.includes(test) ? 'the device does not answer' : 'not run: the device does not answer',
    });
  }
}

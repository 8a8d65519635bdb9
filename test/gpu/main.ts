/**
 * `npm run test:gpu`, and `./run test-gpu` in a packed job: every kind of kernel on a GPU against the float64 evaluator, then a short
 * training run. Needs nothing but Node and Dawn. The last line is `N passed, N failed`.
 */
import { Command } from 'commander';
import { UserError } from '../../ir/diagnostics/error.js';
import { listAdapters, type OpenedAdapter, requireAdapter } from '../../runtime/devices/webgpu/adapter.js';
import { TestDevice } from './device.js';
import { problems, runTests, type Test, testsOf } from './suite.js';
import { compareTraining, trainings } from './training.js';

interface Flags {
  readonly device: string;
  readonly only?: string;
  readonly every: number;
  readonly steps: number;
  readonly large?: boolean;
}

const flags = new Command('test-gpu')
  .description('Runs every kind of kernel on a GPU against the float64 evaluator, then a short training run.')
  .option('--device <name>', "gpu: a real one; or part of an adapter's name, which may be a software one", 'gpu')
  .option(
    '--only <text>',
    'tests whose name holds the text; families: pointwise, view, reduction, contraction, window, indexing, inverse, joined, matrix, training',
  )
  .option('--every <n>', 'every n-th test', Number, 1)
  .option('--steps <n>', 'steps of the training runs', Number, 20)
  .option('--no-large', 'without large problems (as on a software adapter)')
  .parse()
  .opts<Flags>();

let passed = 0;
let failed = 0;

function report(name: string, wrong: string | undefined): void {
  if (wrong === undefined) passed++;
  else {
    failed++;
    progress('');
    console.log(`FAILED ${name}\n       ${wrong}`);
  }
}

/** Where there is no terminal, a long run says that it lives this often, in milliseconds. */
const LINE_INTERVAL = 30_000;
let shown = performance.now();

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text}`);
  else if (text !== '' && performance.now() - shown > LINE_INTERVAL) {
    shown = performance.now();
    process.stderr.write(`${text}\n`);
  }
}

function chosen(large: boolean): Test[] {
  const named = testsOf(problems, large).filter((t) => flags.only === undefined || t.name.includes(flags.only));
  return named.filter((_, i) => i % flags.every === 0);
}

async function kernels(opened: OpenedAdapter): Promise<void> {
  const device = await TestDevice.open(opened);
  const all = chosen(!opened.software && flags.large !== false);
  const tests = all.filter((t) => t.feature === undefined || device.has(t.feature));
  const families = new Map<string, { passed: number; failed: number; began: number }>();
  let done = 0;
  await runTests(device, tests, ({ test, wrong }) => {
    done++;
    const family = families.get(test.family) ?? { passed: 0, failed: 0, began: performance.now() };
    families.set(test.family, family);
    if (wrong === undefined) family.passed++;
    else family.failed++;
    report(test.name, wrong);
    progress(`${done}/${tests.length}  ${test.family}`);
  });
  progress('');
  for (const [name, f] of families) console.log(`${name.padEnd(12)} ${f.passed} passed, ${f.failed} failed`);
  const lacking = new Set(all.filter((t) => !tests.includes(t)).map((t) => t.feature));
  for (const feature of lacking)
    console.log(`not run: ${all.filter((t) => t.feature === feature).length} tests; the device lacks ${feature}`);
}

async function training(): Promise<void> {
  for (const what of Object.keys(trainings) as (keyof typeof trainings)[]) {
    const name = `training: digits, ${what}, ${flags.steps} steps`;
    if (flags.only !== undefined && !name.includes(flags.only)) continue;
    try {
      // An adapter gives one device.
      const opened = await requireAdapter(flags.device);
      const { losses, worst, wrong } = await compareTraining(opened, what, flags.steps);
      const [first, last] = [losses[0], losses.at(-1)].map((l) => l?.toFixed(4));
      console.log(`${name}: loss ${first} to ${last}; off WebAssembly's by ${worst.toExponential(1)} at most`);
      report(name, wrong);
    } catch (e) {
      report(name, e instanceof UserError ? e.format() : (e as Error).message);
    }
  }
}

try {
  const opened = await requireAdapter(flags.device);
  const began = performance.now();
  console.log(
    `on ${opened.name}${opened.software ? ', a driver in software' : ''}, of ${(await listAdapters()).length} adapters`,
  );
  await kernels(opened);
  await training();
  console.log(`${((performance.now() - began) / 1000).toFixed(0)} s`);
} catch (e) {
  console.error(e instanceof UserError ? e.format() : e);
  failed++;
}
// Written to the end, and not left to a driver that may never let go of a device.
process.stdout.write(`${passed} passed, ${failed} failed\n`, () => process.exit(failed === 0 && passed > 0 ? 0 : 1));

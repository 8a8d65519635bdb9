/**
 * `spngdc pack`: an artifact, with all that a bare Linux lacks to train it, as one archive.
 */
import { type Command, InvalidArgumentError } from 'commander';
import { duration, memorySize, type Terminal } from './terminal.js';

interface Flags {
  readonly out: string;
  readonly tests?: boolean;
  readonly vulkanLoader?: string;
  readonly compression: number;
}

const examples = `
On the other machine, which needs a Linux with glibc 2.34 or newer, and a GPU's driver to use the GPU:
  $ tar -xf job.tar.xz && cd job
  $ ./run doctor                                what the machine has, and which device would be taken
  $ ./run --data mnist/ --epochs 2              as spngdc run
  $ ./run test-gpu                              every kind of kernel on its GPU (packed with --tests)

Examples:
  $ spngdc pack resnet20.spngd -o job.tar.xz
  $ spngdc pack resnet20.spngd -o job.tar.xz --tests`;

function level(text: string): number {
  if (!/^[0-9]$/.test(text)) throw new InvalidArgumentError('It must be a digit, 0 to 9.');
  return Number(text);
}

export function addPack(program: Command, terminal: Terminal): void {
  program
    .command('pack')
    .description('pack an artifact for a machine that has neither Node nor spngdc (Linux)')
    .argument('<artifact>', 'the folder that compile wrote')
    .option('-o, --out <file>', 'the archive', 'job.tar.xz')
    .option('--tests', 'bring the tests of the GPU along: ./run test-gpu')
    .option('--vulkan-loader <file>', 'a libvulkan.so.1 to bring along (default: the one that is installed)')
    .option('--compression <0-9>', 'fast and large, to slow and small', level, 9)
    .addHelpText('after', examples)
    .action((dir: string, flags: Flags) => packCommand(dir, flags, terminal));
}

async function packCommand(dir: string, flags: Flags, { stdout, stderr }: Terminal): Promise<void> {
  const { partsOf } = await import('../pack/parts.js');
  const { findTools } = await import('../pack/tools.js');
  const { writeArchive } = await import('../pack/archive.js');
  const tools = findTools();
  const { parts, notices, weights } = partsOf(dir, flags, tools);
  for (const notice of notices) stderr.write(`note ${notice}\n`);
  const began = performance.now();
  let shown = -1;
  const progress = (bytes: number, total: number): void => {
    const percent = Math.floor((100 * bytes) / total);
    if (percent === shown) return;
    shown = percent;
    stderr.write(`\r\x1b[2Kpacking ${percent}% of ${memorySize(total)}`);
  };
  let bytes: number;
  try {
    bytes = await writeArchive(flags.out, parts, tools, {
      compression: flags.compression,
      progress: stderr.isTTY ? progress : undefined,
    });
  } finally {
    if (shown >= 0) stderr.write('\r\x1b[2K');
  }
  const seconds = (performance.now() - began) / 1000;
  stdout.write(
    `packed ${flags.out}: ${memorySize(bytes)} in ${duration(seconds)}, with ${memorySize(weights)} of weights\n` +
      `  there: tar -xf, then ./run --data DATA; ./run doctor looks at the machine\n`,
  );
}

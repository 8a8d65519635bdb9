import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import onnxProto from 'onnx-proto';
import { describe, expect, it } from 'vitest';
import { runCommandLine } from '../../cli/command-line.js';
import { compile } from '../../compiler/compile.js';
import { temporaryFolder, writeTiny, writeTrapping } from '../runtime/tiny-artifact.js';

const execute = promisify(execFile);

/** Output and exit code of what was bundled by `npm run build`. */
async function run(
  file: string,
  args: readonly string[],
  cwd = '.',
): Promise<{ code: number; out: string; err: string }> {
  try {
    const { stdout, stderr } = await execute(process.execPath, [file, ...args], { cwd });
    return { code: 0, out: stdout, err: stderr };
  } catch (e) {
    const { code, stdout, stderr } = e as { code: number; stdout: string; stderr: string };
    return { code, out: stdout, err: stderr };
  }
}

const COMMAND = 'dist/bin/spngdc.js';

/** y = x W with a matrix of `width` columns and no values: large enough, and a second thread draws it. */
function wide(width: number): string {
  const value = (name: string, dims: readonly (string | number)[]) => ({
    name,
    type: {
      tensorType: {
        elemType: 1,
        shape: { dim: dims.map((d) => (typeof d === 'string' ? { dimParam: d } : { dimValue: d })) },
      },
    },
  });
  const model = {
    irVersion: 7,
    opsetImport: [{ domain: '', version: 13 }],
    graph: {
      name: 'wide',
      node: [{ opType: 'MatMul', name: 'fc', input: ['x', 'w'], output: ['y'] }],
      input: [value('x', ['N', 1024]), value('w', [1024, width])],
      output: [value('y', ['N', width])],
    },
  };
  const path = join(temporaryFolder(), 'wide.onnx');
  writeFileSync(path, onnxProto.onnx.ModelProto.encode(onnxProto.onnx.ModelProto.fromObject(model)).finish());
  return path;
}

const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('the bundled command', () => {
  it.each([
    ['small: drawn in the compiler itself', 16],
    ['large: drawn beside it', 2500],
    ['of tens of megabytes: written beside it, too', 9000],
  ])('writes what compile() returns; weights %s', async (_size, width) => {
    const [path, dir] = [wide(width), join(temporaryFolder(), 'a')];
    const { code, err } = await run(COMMAND, ['compile', path, '--init', 'he-normal', '--seed', '3', '-o', dir]);
    expect(err).toBe('');
    expect(code).toBe(0);
    const { files } = compile(readFileSync(path), basename(path), { init: 'he-normal', seed: 3 });
    for (const [name, bytes] of files) expect(hash(readFileSync(join(dir, name))), name).toBe(hash(bytes));
    expect(readdirSync(dirname(dir))).toEqual(['a']);
  });

  it('writes the same where no second thread can be had', async () => {
    const [path, folder] = [wide(9000), temporaryFolder()];
    const [beside, alone] = [join(folder, 'beside'), join(folder, 'alone')];
    await run(COMMAND, ['compile', path, '--init', 'he-normal', '--optimizer', 'sgd', '-o', beside]);
    // Among the sources there is no weights-worker.js.
    const terminal = { stdout: { write: () => {} }, stderr: { write: () => {} } };
    const args = ['compile', path, '--init', 'he-normal', '--optimizer', 'sgd', '-o', alone];
    expect(await runCommandLine(args, terminal)).toBe(0);
    for (const file of ['manifest.json', 'weights.safetensors'])
      expect(hash(readFileSync(join(alone, file))), file).toBe(hash(readFileSync(join(beside, file))));
    expect(readdirSync(folder).sort()).toEqual(['alone', 'beside']);
  });

  it('leaves nothing behind where a pass fails after the weights were begun', async () => {
    const folder = temporaryFolder();
    // Known to fit no memory only when all is planned.
    const out = join(folder, 'deep', 'a');
    const args = ['compile', wide(9000), '--init', 'he-normal', '--batch', '1000000', '-o', out];
    const { code, err } = await run(COMMAND, args);
    expect(err).toMatch(/^error E\d{3}: /);
    expect(code).toBe(1);
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe.runIf(process.platform !== 'win32')('a signal to a compilation', () => {
  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('leaves nothing behind: %s', async (signal) => {
    const folder = temporaryFolder();
    // The second thread has much to draw, hash and write.
    const args = ['compile', wide(20000), '--init', 'he-normal', '--optimizer', 'sgd', '-o', join(folder, 'deep', 'a')];
    const child = spawn(process.execPath, [COMMAND, ...args], { stdio: 'ignore' });
    const ended = once(child, 'exit');
    while (readdirSync(folder).length === 0 && child.exitCode === null) await setTimeout(1);
    expect(readdirSync(folder)).toEqual([expect.stringMatching(/^\.deep\./)]);
    child.kill(signal);
    expect(await ended).toEqual([null, signal]);
    expect(readdirSync(folder)).toEqual([]);
  });
});

it('a compilation to a folder that it cannot write says so before it works', async () => {
  const file = join(temporaryFolder(), 'file');
  writeFileSync(file, '');
  const { code, err } = await run(COMMAND, ['compile', '/nowhere.onnx', '-o', join(file, 'a')]);
  expect(err).toMatch(/^error E503: /);
  expect(code).toBe(1);
});

describe('the bundled runtime', () => {
  it('trains with nothing beside it', async () => {
    const folder = temporaryFolder();
    copyFileSync('dist/runtime.mjs', join(folder, 'runtime.mjs'));
    writeFileSync(join(folder, 'd.csv'), '1,1,0\n3,1,0\n');
    const args = ['run', writeTiny(), '--data', 'd.csv', '--epochs', '1', '--out', 'out'];
    const { code, err } = await run('runtime.mjs', args, folder);
    expect(err).toBe('');
    expect(code).toBe(0);
    expect(existsSync(join(folder, 'out', 'weights.safetensors'))).toBe(true);
  });

  it('has no compiler, and says so as an unknown command', async () => {
    const { code, err } = await run('dist/runtime.mjs', ['compile', 'model.onnx']);
    expect(err).toMatch(/^error E\d{3}: unknown command 'compile'/);
    expect(code).toBe(1);
  });
});

describe.each([COMMAND, 'dist/runtime.mjs'])('threads of %s', (command) => {
  it('compute, and end with the run', async () => {
    const folder = temporaryFolder();
    const artifact = join(folder, 'digits.spngd');
    const digits = compile(readFileSync('examples/digits/digits.onnx'), 'digits.onnx', {
      init: 'he-normal',
      targets: ['wasm'],
    });
    for (const [name, bytes] of digits.files) {
      mkdirSync(dirname(join(artifact, name)), { recursive: true });
      writeFileSync(join(artifact, name), bytes);
    }
    const data = ['--data', 'examples/digits/digits.csv.gz', '--normalize', '0,16', '--steps', '5'];
    const trained: string[] = [];
    for (const threads of [1, 3]) {
      const out = join(folder, `out${threads}`);
      const result = await run(command, ['run', artifact, ...data, '--threads', `${threads}`, '--out', out]);
      expect({ code: result.code, err: result.err }).toEqual({ code: 0, err: '' });
      expect(result.out).toContain(`on WebAssembly SIMD, ${threads} thread`);
      trained.push(hash(readFileSync(join(out, 'weights.safetensors'))));
    }
    expect(trained[1]).toBe(trained[0]);
  });

  it('end with an error, too', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'd.csv'), '1,1,0\n3,1,0\n');
    const args = [
      'run',
      writeTrapping(),
      '--data',
      join(folder, 'd.csv'),
      '--threads',
      '3',
      '--out',
      join(folder, 'out'),
    ];
    const { code, err } = await run(command, args);
    expect(err).toMatch(/^error E424: .*\n.*train\.s0 \(copy2\)/);
    expect(code).toBe(1);
  });
});

it.each(['dist/bin/loader-worker.js', 'dist/loader-worker.js'])('%s prepares batches', async (file) => {
  const stored = {
    ...{ features: Uint8Array.of(1, 2, 3, 4), size: 2, inner: 1 },
    ...{ scale: Float32Array.of(2), shift: Float32Array.of(1) },
  };
  const preparation = { stored, shape: [2], seed: 0, augmentation: {} };
  const worker = new Worker(`./${file}`, { workerData: { preparation, dtype: 'f32' } });
  worker.postMessage({ t: 0, rows: Int32Array.of(1, 0), buffer: new ArrayBuffer(16) });
  const [{ buffer }] = await once(worker, 'message');
  expect([...new Float32Array(buffer)]).toEqual([7, 9, 3, 5]);
  await worker.terminate();
});

/**
 * Numbers of tokens as data: a sequence model trains from a table of whole numbers, and says what is wrong with others.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runCommandLine } from '../../cli/command-line.js';
import { noise } from '../frontend/forward.js';
import { floats, node, onnxFile, valueInfo } from '../frontend/make-onnx.js';
import { temporaryFolder } from '../runtime/tiny-artifact.js';

async function spngdc(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const terminal = {
    stdout: { write: (t: string) => (out += t) },
    stderr: { write: (t: string) => (err += t) },
  };
  const code = await runCommandLine(args, terminal);
  return { code, out, err };
}

const tokens = 5;
const length = 3;
/** Says of each token which one comes next. */
const model = onnxFile({
  nodes: [
    node('Gather', ['table', 'ids'], ['e']),
    node('MatMul', ['e', 'w'], ['h']),
    node('Relu', ['h'], ['r']),
    node('MatMul', ['r', 'v'], ['y']),
  ],
  inputs: [valueInfo('ids', ['N', length], 7)],
  initializers: [
    floats('table', [tokens, 8], [...noise(tokens * 8, 1)]),
    floats('w', [8, 16], [...noise(128, 2)]),
    floats('v', [16, tokens], [...noise(16 * tokens, 3)]),
  ],
});

/** Tokens count upwards, and begin anew: the next one is certain. */
const rows = Array.from({ length: 40 }, (_, i) => {
  const row = Array.from({ length: length + 1 }, (_, k) => (i + k) % tokens);
  return [...row.slice(0, length), ...row.slice(1)].join(',');
});

describe('token numbers', () => {
  const folder = temporaryFolder();
  const path = (name: string) => join(folder, name);
  writeFileSync(path('next.onnx'), model);
  const run = (data: string) =>
    spngdc(...['run', path('a'), '--data', data, '--epochs', '5', '--lr', '0.1', '--out', path('out')]);

  it('train a sequence model', async () => {
    expect(await spngdc('compile', path('next.onnx'), '--batch', '8', '-o', path('a'))).toMatchObject({ code: 0 });
    writeFileSync(path('d.csv'), `${rows.join('\n')}\n`);
    const { code, out, err } = await run(path('d.csv'));
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const losses = [...out.matchAll(/train loss (\d+\.\d+)/g)].map((m) => Number(m[1]));
    expect(losses.at(-1)).toBeLessThan(0.1 * losses[0]);
    expect(existsSync(path('out/next.onnx'))).toBe(true);
    expect(readFileSync(path('out/next.onnx')).length).toBeGreaterThan(1000);
  });

  it('bytes of images are fed as they are', async () => {
    const image = onnxFile({
      nodes: [
        node('Cast', ['x'], ['f'], { to: 1 }),
        node('Mul', ['f', 'scale'], ['s']),
        node('MatMul', ['s', 'w'], ['y']),
      ],
      inputs: [valueInfo('x', ['N', 4], 2)],
      initializers: [floats('scale', [], [1 / 255]), floats('w', [4, 3], [...noise(12, 4)])],
    });
    writeFileSync(path('bytes.onnx'), image);
    writeFileSync(path('bytes.csv'), '0,64,128,255,1\n255,0,3,9,2\n');
    await spngdc('compile', path('bytes.onnx'), '--batch', '2', '-o', path('b'));
    const { code, out } = await spngdc(
      'run',
      path('b'),
      '--data',
      path('bytes.csv'),
      '--epochs',
      '2',
      '--out',
      path('o'),
    );
    expect(code).toBe(0);
    expect(out).toMatch(/epoch 2 {2}train loss 0\.\d+/);
    writeFileSync(path('bytes.csv'), '0,64,128,256,1\n255,0,3,9,2\n');
    const bad = await spngdc('run', path('b'), '--data', path('bytes.csv'), '--epochs', '2', '--out', path('o2'));
    expect(bad.err).toMatch(/E321: the model takes bytes, the data contain 256/);
  });

  it('must be whole', async () => {
    writeFileSync(path('bad.csv'), `${rows[0]}\n0.5,${rows[1].slice(2)}\n`);
    const { code, err } = await run(path('bad.csv'));
    expect(code).not.toBe(0);
    expect(err).toMatch(/E321: the model takes whole numbers, the data contain 0.5\n.*example 1, element 0/);
  });
});

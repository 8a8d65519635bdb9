import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runCommandLine } from '../../cli/command-line.js';
import { loadArtifact } from '../../runtime/artifact.js';
import { temporaryFolder } from '../runtime/tiny-artifact.js';

const digits = 'examples/digits/digits.onnx';
const data = 'examples/digits/digits.csv.gz';

async function spngdc(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const terminal = {
    stdout: { write: (t: string) => (out += t) },
    stderr: { write: (t: string) => (err += t) },
  };
  const code = await runCommandLine(args, terminal);
  return { code, out, err };
}

/** Every file of a folder with its contents. */
function contents(dir: string): Map<string, string> {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((e) => e.isFile());
  return new Map(
    files.map((f) => join(f.parentPath, f.name)).map((f) => [f.slice(dir.length), readFileSync(f, 'base64')]),
  );
}

describe('spngdc compile', () => {
  it('writes an artifact that loads, the same bytes every time, and nothing else', async () => {
    const parent = temporaryFolder();
    const [a, b] = [join(parent, 'a'), join(parent, 'b')];
    const args = ['compile', digits, '--init', 'he-normal', '--seed', '5', '--batch', '32', '-o'];
    const first = await spngdc(...args, a);
    expect(first.err).toBe('');
    expect(first.code).toBe(0);
    expect(first.out).toContain(`written to ${a}`);
    await spngdc(...args, b);
    expect(contents(b)).toEqual(contents(a));
    expect(readdirSync(parent).sort()).toEqual(['a', 'b']);
    const { manifest } = loadArtifact(a);
    expect(manifest).toMatchObject({
      seed: 5,
      batch: { train: 32, eval: 32 },
      optimizer: 'spngd',
      model: { name: 'digits' },
    });
    expect(JSON.stringify(manifest)).not.toContain(process.cwd());
    expect((await spngdc('inspect', a)).out).toContain('conv1.weight');
  });

  it('prints a level with --emit, and writes only with -o', async () => {
    const before = readdirSync('.');
    const { code, out } = await spngdc('compile', digits, '--init', 'he-normal', '--emit', 'train');
    expect(code).toBe(0);
    expect(out).toContain('damped_inverse');
    expect(readdirSync('.')).toEqual(before);
  });

  it('trains what it compiled: one epoch of digits, then goes on from the weights that it wrote', async () => {
    const dir = temporaryFolder();
    const [net, out] = [join(dir, 'net'), join(dir, 'out')];
    await spngdc('compile', digits, '--init', 'he-normal', '-o', net);
    const args = ['--data', data, '--split', '0.2', '--normalize', '0,16', '--epochs', '2', '--json', '--out', out];
    const run = await spngdc('run', net, ...args);
    expect(run.err).toBe('');
    const done = run.out
      .split('\n')
      .map((l) => (l ? JSON.parse(l) : {}))
      .find((l) => l.event === 'done');
    expect(done.last.validation.accuracy).toBeGreaterThan(0.9);
    // The same again is the same to the last bit, but for the times in metrics.jsonl.
    const again = join(dir, 'again');
    await spngdc('run', net, ...args.slice(0, -1), again);
    const untimed = (folder: string): Map<string, string> =>
      new Map([...contents(folder)].filter(([name]) => !name.endsWith('metrics.jsonl')));
    expect(untimed(again)).toEqual(untimed(out));

    const more = join(dir, 'more');
    expect((await spngdc('compile', digits, '--weights', join(out, 'weights.safetensors'), '-o', more)).code).toBe(0);
    const steps = await spngdc(
      'run',
      more,
      '--data',
      data,
      '--normalize',
      '0,16',
      '--steps',
      '1',
      '--json',
      '--out',
      out,
    );
    const first = JSON.parse(steps.out.split('\n')[1]);
    expect(first.loss).toBeLessThan(0.5);
  });

  const results = (): string => join(temporaryFolder(), 'net');
  const fileOf = (bytes: Uint8Array | string): string => {
    const path = join(temporaryFolder(), 'm.onnx');
    writeFileSync(path, bytes);
    return path;
  };
  it.each([
    ['a model that is not there', () => ['/nowhere.onnx']],
    ['a file that is no model', () => [fileOf('this is no model')]],
    ['an empty file', () => [fileOf('')]],
    ['a model cut off', () => [fileOf(readFileSync(digits).subarray(0, 700))]],
    ['a model without weights', () => [digits]],
    ['weights that are not there', () => [digits, '--weights', '/nowhere.safetensors']],
    ['weights that are no safetensors', () => [digits, '--weights', fileOf('x')]],
    ['an output that is not there', () => [digits, '--init', 'he-normal', '--output', 'nothing']],
  ])('meets %s with a numbered error, exit 1, nothing written', async (_what, args) => {
    const out = results();
    const { code, err } = await spngdc('compile', ...args(), '-o', out);
    expect(err).toMatch(/^error E\d{3}: /);
    expect(code).toBe(1);
    expect(existsSync(out)).toBe(false);
  });

  it('leaves a folder alone that is not ours', async () => {
    const dir = temporaryFolder();
    writeFileSync(join(dir, 'thesis.txt'), 'precious');
    const { code, err } = await spngdc('compile', digits, '--init', 'he-normal', '-o', dir);
    expect(err).toMatch(/^error E504: /);
    expect(code).toBe(1);
    expect(readdirSync(dir)).toEqual(['thesis.txt']);
  });
});

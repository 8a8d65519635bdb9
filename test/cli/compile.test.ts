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

  it('compiles for adaptive staleness, and runs by alpha or by interval, telling what was refreshed', async () => {
    const dir = temporaryFolder();
    const [net, out] = [join(dir, 'net'), join(dir, 'out')];
    const compiled = ['compile', digits, '--init', 'he-normal', '--staleness', 'adaptive', '--target', 'wasm'];
    expect((await spngdc(...compiled, '-o', net)).code).toBe(0);
    expect((await spngdc('inspect', net)).out).toMatch(/state: history/);
    const run = ['run', net, '--data', data, '--normalize', '0,16', '--steps', '6', '--out', out];
    const lines = (text: string) => text.split('\n').flatMap((l) => (l ? [JSON.parse(l)] : []));
    const adaptive = lines((await spngdc(...run, '--json')).out);
    const [start, first] = adaptive;
    expect(start.settings.staleness).toMatchObject({ kind: 'adaptive', alpha: 0.1, lag: 0, pairs: 'keep' });
    expect(start.statistics).toHaveLength(first.staleness.length);
    // There is no history yet: not a number, which JSON lacks.
    expect(first.refreshed[0]).toEqual({ name: 'conv1.weight.A', change: [null, null], interval: 1 });
    expect(adaptive.find((l) => l.event === 'done').refreshedShares.all).toBeGreaterThan(0.3);
    const fixed = await spngdc(...run, '--interval', '3', '--device', 'cpu');
    expect(fixed.out).toContain('refreshed every 3 steps');
    expect(fixed.out).toContain("refreshed 33.33% of the statistics' elements (A 33.33%, G and F 33.33%)");
    const sgd = await spngdc('compile', digits, '--optimizer', 'sgd', '--staleness', 'fixed', '-o', join(dir, 'sgd'));
    expect(sgd.err).toMatch(/^error E603: --staleness has no effect/);
  });

  it('compiles a preset with what it changes in the graph, which inspect prints in full', async () => {
    const [paper, own] = [results(), results()];
    const compileTo = (out: string, ...args: string[]) =>
      spngdc('compile', digits, '--init', 'he-normal', '--target', 'wasm', ...args, '-o', out);
    expect((await compileTo(paper, '--preset', 'sp-ngd-32k')).err).toBe('');
    const inputs = (dir: string) => {
      const { programs, defaults } = loadArtifact(dir).manifest;
      return { defaults, names: programs[0].functions.find((f) => f.name === 'train')!.inputs.map((i) => i.name) };
    };
    const asPaper = inputs(paper);
    expect(asPaper.defaults).toMatchObject({ lr: 0.03, weight_rescaling: 'always', kl_clip: 0, weight_decay: 0 });
    for (const name of ['kl_bound', 'weight_decay']) expect(asPaper.names).not.toContain(name);
    const { out } = await spngdc('inspect', paper);
    for (const line of [/lr_power +3\.5/, /lr_end +49\.5/, /momentum_rule +tied/, /damping +0\.0002/, /mixup +0\.6/])
      expect(out).toMatch(line);
    // The same preset with other switches.
    const switches = ['--kl-clip', 'on', '--weight-decay', 'on', '--weight-rescaling', 'shrink'];
    await compileTo(own, '--preset', 'sp-ngd-32k', ...switches);
    const asOwn = inputs(own);
    expect(asOwn.defaults).toMatchObject({ lr: 0.03, weight_rescaling: 'shrink', kl_clip: 1e-3, weight_decay: 1e-4 });
    expect(asOwn.names).toEqual(expect.arrayContaining(['kl_bound', 'weight_decay']));
  });

  it.each(['sgd', 'lars'])('trains by a baseline: --optimizer %s', async (optimizer) => {
    const [net, out] = [results(), results()];
    await spngdc(
      ...['compile', digits, '--init', 'he-normal', '--target', 'wasm', '--optimizer', optimizer],
      ...['--batch', '64', '-o', net],
    );
    const { out: text } = await spngdc(
      ...['run', net, '--data', data, '--split', '0.2', '--normalize', '0,16', '--epochs', '6', '--out', out],
    );
    expect(text).toContain(`digits: ${optimizer}, preset default`);
    const [, accuracy, top5] = text.match(/^trained .* validation loss \S+ accuracy (\S+)% top-5 (\S+)%/m)!;
    expect(Number(accuracy)).toBeGreaterThan(95);
    expect(Number(top5)).toBeGreaterThanOrEqual(Number(accuracy));
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
    ['a clip for a baseline', () => [digits, '--init', 'he-normal', '--optimizer', 'lars', '--kl-clip', 'on']],
    ['the paper for a baseline', () => [digits, '--init', 'he-normal', '--optimizer', 'sgd', '--preset', 'sp-ngd-4k']],
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

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import onnxProto from 'onnx-proto';
import { describe, expect, it } from 'vitest';
import { runCommandLine } from '../../cli/command-line.js';
import { runCommands } from '../../cli/commands.js';
import { readSafetensors } from '../../ir/safetensors.js';
import { VERSION } from '../../ir/version.js';
import { temporaryFolder, writeTiny } from '../runtime/tiny-artifact.js';

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A terminal, and what is written to it. */
function collecting() {
  const text = { out: '', err: '' };
  const terminal = {
    stdout: { write: (t: string) => (text.out += t) },
    stderr: { write: (t: string) => (text.err += t) },
  };
  return [terminal, text] as const;
}

async function spngdc(...args: string[]): Promise<Outcome> {
  const [terminal, text] = collecting();
  const code = await runCommandLine(args, terminal);
  return { code, ...text };
}

function fileOf(rows: string): string {
  const path = join(temporaryFolder(), 'd.csv');
  writeFileSync(path, rows);
  return path;
}

/** Rows [loss, 1] with a target that the tiny artifact does not read. */
const csv = (...losses: number[]): string => fileOf(losses.map((l) => `${l},1,0\n`).join(''));

describe('spngdc run', () => {
  it('trains, reports each epoch, and writes weights and model', async () => {
    const out = join(temporaryFolder(), 'results');
    const {
      code,
      out: text,
      err,
    } = await spngdc(
      ...[
        'run',
        writeTiny(),
        '--data',
        csv(1, 3),
        '--validation',
        csv(4),
        '--epochs',
        '2',
        '--lr',
        '0.25',
        '--out',
        out,
      ],
    );
    expect(err).toBe('');
    expect(code).toBe(0);
    expect(text).toContain('epoch 1  train loss 2.0000  validation loss 4.0000');
    expect(text).toContain('epoch 2 ');
    expect(readdirSync(out).sort()).toEqual(['curves.svg', 'metrics.jsonl', 'tiny.onnx', 'weights.safetensors']);
    // The tiny program sets w to the learning rate of its last step: 4 steps, linear decay, 0.25 * 1/4.
    const w = readSafetensors(readFileSync(join(out, 'weights.safetensors')), 'w').get('w')!.data;
    expect(w).toEqual(Float32Array.of(0.0625));
    const model = onnxProto.onnx.ModelProto.decode(readFileSync(join(out, 'tiny.onnx')));
    expect(model.graph!.initializer!.map((t) => t.name)).toEqual(['w']);
  });

  it('reports JSON lines', async () => {
    const out = temporaryFolder();
    const { code, out: text } = await spngdc(
      ...['run', writeTiny(), '--data', csv(1, 3, 5, 7, 9), '--split', '0.4', '--epochs', '1', '--json', '--out', out],
    );
    expect(code).toBe(0);
    const lines = text
      .trimEnd()
      .split('\n')
      .map((l) => JSON.parse(l));
    expect(lines.map((l) => l.event)).toEqual(['start', 'step', 'step', 'step', 'epoch', 'done', 'written']);
    expect(lines[0]).toMatchObject({ trainExamples: 3, validationExamples: 2 });
    expect(lines[4]).toMatchObject({ epoch: 1, step: 3, validation: { count: 2 } });
    const names = ['weights.safetensors', 'tiny.onnx', 'curves.svg', 'metrics.jsonl'];
    expect(lines[6].files).toEqual(names.map((name) => join(out, name)));
    // The same lines stay in the folder, whatever is shown; the curves are made of them.
    const kept = readFileSync(join(out, 'metrics.jsonl'), 'utf8');
    expect(
      kept
        .trimEnd()
        .split('\n')
        .map((l) => JSON.parse(l)),
    ).toEqual(lines.slice(0, 6));
    expect(readFileSync(join(out, 'curves.svg'), 'utf8')).toMatch(
      /<svg[\s\S]*>loss<[\s\S]*<polyline points="\d[\s\S]*<\/svg>/,
    );
  });

  it('takes a preset in place of what was compiled in, says what the artifact lacks, and prints all settings', async () => {
    const { code, out, err } = await spngdc(
      ...[
        'run',
        writeTiny(),
        '--data',
        csv(1, 3),
        '--preset',
        'sp-ngd-64k',
        '--epochs',
        '1',
        '--out',
        temporaryFolder(),
      ],
    );
    expect(code).toBe(0);
    expect(out).toContain('preset sp-ngd-64k');
    expect(out).toContain('lr 0.04: polynomial, power 2.9, from epoch 2 to 64.5');
    expect(out).toContain('momentum 0.95 (tied)');
    expect(out).toContain('damping 0.00015 (constant), KL clip off, weight rescaling off');
    expect(err).toBe(
      'note: the preset sp-ngd-64k wants what this artifact lacks: weight rescaling always, not off (compile --weight-rescaling always)\n',
    );
  });

  it('is quiet but for the end', async () => {
    const { out } = await spngdc('run', writeTiny(), '--data', csv(1), '--quiet', '--out', temporaryFolder());
    expect(out).toMatch(/^trained 2 steps in .*\n(wrote .*\n){4}$/);
  });

  it('shows where the time goes with --profile', async () => {
    const folder = temporaryFolder();
    const args = ['run', writeTiny(), '--data', csv(1, 3), '--profile', '--device', 'cpu', '--out', folder];
    const { out } = await spngdc(...args, '--quiet');
    expect(out).toMatch(/\nprofile: 3 x train \(.* ms each\); 1 thread, .*% of their time in kernels\n/);
    expect(out).toMatch(/\none thread reaches \S+ GFLOP\/s in a register tile and \S+ GB\/s copying\n/);
    expect(out).toMatch(/\n {2}copy2 +copy +3 +\S+ ms +\S+% +0\.0 +\S+ +\d+% of GB\/s +-\n/);
    expect(out).toContain(`wrote ${join(folder, 'trace.json')}\n`);
    const trace = JSON.parse(readFileSync(join(folder, 'trace.json'), 'utf8'));
    const trained = trace.traceEvents.filter((e: { ph: string; name: string }) => e.ph === 'X' && e.name === 'train');
    expect(trained).toHaveLength(4);
    const json = (await spngdc(...args, '--json', '--quiet')).out
      .trimEnd()
      .split('\n')
      .map((l) => JSON.parse(l));
    expect(json.map((l) => l.event)).toEqual(['done', 'profile', 'written']);
    expect(json[1].kernels.map((k: { kernel: string }) => k.kernel).sort()).toEqual(['copy1', 'copy2']);
  });

  const results = (): string => join(temporaryFolder(), 'results');
  it.each([
    ['501', 'a loss that is not finite', () => ['run', writeTiny(), '--data', csv(1, 2), '--normalize', '0,1e-45']],
    ['401', 'no artifact', () => ['run', temporaryFolder(), '--data', csv(1)]],
    ['402', 'a broken manifest', () => ['run', writeTiny((m) => delete m.loss), '--data', csv(1)]],
    ['301', 'no data', () => ['run', writeTiny(), '--data', '/nowhere.csv']],
    ['313', 'data of another shape', () => ['run', writeTiny(), '--data', fileOf('1,2,3,4,0\n')]],
    ['316', 'NaN in the data', () => ['run', writeTiny(), '--data', csv(Number.NaN)]],
    ['319', 'a split that leaves nothing', () => ['run', writeTiny(), '--data', csv(1), '--split', '0.1']],
    ['318', 'a bad normalisation', () => ['run', writeTiny(), '--data', csv(1), '--normalize', 'much']],
    ['602', 'epochs and steps', () => ['run', writeTiny(), '--data', csv(1), '--epochs', '1', '--steps', '1']],
    [
      '603',
      'damping for sgd',
      () => ['run', writeTiny((m) => (m.optimizer = 'sgd')), '--data', csv(1), '--damping', '1'],
    ],
    ['603', 'an interval where nothing goes stale', () => ['run', writeTiny(), '--data', csv(1), '--interval', '3']],
    [
      '603',
      'alpha at fixed intervals',
      () => ['run', writeTiny((m) => (m.defaults.staleness = 'fixed')), '--data', csv(1), '--alpha', '0.1'],
    ],
    ['602', 'alpha and an interval', () => ['run', writeTiny(), '--data', csv(1), '--alpha', '0.1', '--interval', '3']],
    ['603', 'a trust coefficient for spngd', () => ['run', writeTiny(), '--data', csv(1), '--trust-coefficient', '1']],
    [
      '603',
      'weight decay that was not compiled in',
      () => ['run', writeTiny(), '--data', csv(1), '--weight-decay', '1'],
    ],
    [
      '603',
      'a KL clip that was not compiled in',
      () => ['run', writeTiny((m) => (m.defaults.kl_clip = 0)), '--data', csv(1), '--kl-clip', '1'],
    ],
    [
      '603',
      'threads of the processor on a GPU',
      () => ['run', writeTiny(), '--data', csv(1), '--threads', '2', '--device', 'gpu'],
    ],
    ['600', 'no threads', () => ['run', writeTiny(), '--data', csv(1), '--threads', '0']],
    [
      '605',
      'the paper for sgd',
      () => ['run', writeTiny((m) => (m.optimizer = 'sgd')), '--data', csv(1), '--preset', 'sp-ngd-4k'],
    ],
  ] as [string, string, () => string[]][])('E%s: %s; exit 1, nothing written', async (code, _what, args) => {
    const out = results();
    const outcome = await spngdc(...args(), '--out', out);
    expect(outcome.err).toMatch(new RegExp(`^error E${code}: `));
    expect(outcome.code).toBe(1);
    expect(existsSync(out)).toBe(false);
  });

  it('continues with --resume, and says of options what hinders', async () => {
    const out = temporaryFolder();
    const args = ['run', writeTiny(), '--data', csv(1, 3), '--out', out];
    expect((await spngdc(...args, '--checkpoint-every', '3', '--keep', '1')).code).toBe(0);
    expect(readdirSync(join(out, 'checkpoints'))).toEqual(['step-00000003.ckpt']);
    const resumed = await spngdc(...args, '--resume');
    expect(resumed.out).toContain('continued after step 3');
    expect(resumed.code).toBe(0);
    expect((await spngdc(...args, '--checkpoint-every', 'epoch')).err).toMatch(/^error E525: /);
    expect((await spngdc(...args, '--resume', '--lr', '2')).err).toMatch(/^error E524: .*--lr was 0.5, now 2/);
    const other = ['run', args[1], '--data', csv(1, 4), '--out', out];
    expect((await spngdc(...other, '--resume')).err).toMatch(/^error E524: .*--data/);
    expect((await spngdc(...args, '--keep', '2')).err).toMatch(/^error E603: /);
  });

  it('E503 where checkpoints cannot be written', async () => {
    const out = temporaryFolder();
    writeFileSync(join(out, 'checkpoints'), '');
    const { code, err } = await spngdc('run', writeTiny(), '--data', csv(1), '--out', out, '--resume');
    expect(err).toMatch(/^error E503: /);
    expect(code).toBe(1);
    expect(readdirSync(out)).toEqual(['checkpoints']);
  });

  it('E503 where the results cannot be written', async () => {
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    const outcome = await spngdc('run', writeTiny(), '--data', csv(1), '--quiet', '--out', join(file, 'x'));
    expect(outcome.err).toMatch(/^error E503: /);
    expect(outcome.code).toBe(1);
    expect(readFileSync(file, 'utf8')).toBe('');
  });
});

it('a kernel that leaves its memory is a numbered error: E424', async () => {
  const dir = writeTiny((m) => (m.programs[0].kernels[1].grid = 2 ** 30));
  const { code, err } = await spngdc('run', dir, '--data', csv(1), '--quiet');
  expect(err).toMatch(/^error E424: .*\n {2}at train\.s0 \(copy2\)\n/);
  expect(code).toBe(1);
});

describe('faults of our own', () => {
  async function broken(): Promise<Outcome> {
    const [terminal, text] = collecting();
    const add = (program: Command): void => {
      program.command('break').action(() => {
        throw new Error('a pass broke the graph');
      });
    };
    const code = await runCommands({ description: '', examples: '', add: [add] }, ['break'], terminal);
    return { code, ...text };
  }
  it('are one line and exit 70', async () => {
    const { code, err } = await broken();
    expect(code).toBe(70);
    expect(err).toMatch(/^fault: a pass broke the graph: .*this is a fault of spngdc.*\n$/);
  });
  it('show where with SPNGDC_DEBUG', async () => {
    process.env.SPNGDC_DEBUG = '1';
    try {
      expect((await broken()).err).toContain('command-line.test.ts');
    } finally {
      delete process.env.SPNGDC_DEBUG;
    }
  });
});

describe('spngdc inspect', () => {
  it('shows settings, layers, kernels and memory', async () => {
    const { code, out } = await spngdc('inspect', writeTiny());
    expect(code).toBe(0);
    for (const text of [
      'tiny',
      'spngd',
      'kl_clip',
      '0.001',
      'plain gradient',
      'a made-up model',
      'copy2',
      'nothing to fuse',
    ])
      expect(out).toContain(text);
    expect(out).toMatch(/planned peak +1\.5 KiB/);
    expect(out).toMatch(/state: parameter +4 B/);
  });
  it('shows one part, as text or JSON', async () => {
    const { out } = await spngdc('inspect', writeTiny(), '--parameters');
    expect(out).toMatch(/^parameters\n.*\n +w +\[1\] +1 +yes/);
    expect(out).not.toContain('kernels');
    const json = JSON.parse((await spngdc('inspect', writeTiny(), '--json')).out);
    expect(Object.keys(json)).toEqual(['summary', 'layers', 'kernels', 'memory']);
    expect(json.summary.defaults.damping).toBe(0.01);
    expect(json.kernels[1].dispatches).toEqual({ train: 1, eval: 1 });
  });
});

describe('the grammar', () => {
  it('helps', async () => {
    const { code, out } = await spngdc('--help');
    expect(code).toBe(0);
    for (const text of ['compile', 'run', 'inspect', 'Examples:', 'Exit codes:']) expect(out).toContain(text);
    for (const command of ['compile', 'run', 'inspect']) {
      const help = await spngdc(command, '--help');
      expect(help.code).toBe(0);
      expect(help.out).toContain('Usage: spngdc');
    }
    expect((await spngdc('--version')).out.trim()).toBe(VERSION);
  });
  it.each([
    [['frobnicate'], 'unknown command'],
    [['inspect'], "missing required argument 'artifact'"],
    [['run', 'x'], 'required option'],
    [['run', 'x', '--data', 'd', '--lr', 'fast'], "option '--lr <x>'"],
    [['run', 'x', '--data', 'd', '--split', '2'], 'between 0 and 1'],
    [['run', 'x', '--data', 'd', '--steps', '1.5'], 'whole number'],
    [['run', 'x', '--data', 'd', '--checkpoint-every', 'day'], 'whole number'],
    [['run', 'x', '--data', 'd', '--what'], "unknown option '--what'"],
    [['compile', 'm.onnx', '--optimizer', 'adam'], 'Allowed choices are spngd, sgd'],
    [['compile', 'm.onnx', '--seed', '-1'], "option '--seed <n>'"],
    [['compile', 'm.onnx', '--batch', '0'], "option '--batch <n>'"],
  ])('refuses %j with exit 1', async (args, why) => {
    const { code, err } = await spngdc(...args);
    expect(code).toBe(1);
    expect(err).toMatch(/^error E600: /);
    expect(err).toContain(why);
  });
});

describe('writing an artifact', async () => {
  const { ArtifactFolder, writeArtifact } = await import('../../cli/artifact-folder.js');
  const files = new Map([
    ['manifest.json', Buffer.from('{"generator":"spngdc 0.1.0"}')],
    ['kernels/a', Buffer.from('a')],
  ]);
  it('makes the folder, replaces one of ours, and leaves nothing else behind', () => {
    const parent = temporaryFolder();
    const dir = join(parent, 'deep', 'net.spngd');
    writeArtifact(dir, files);
    writeArtifact(dir, new Map([['manifest.json', files.get('manifest.json')!]]));
    expect(readdirSync(dir)).toEqual(['manifest.json']);
    expect(readdirSync(join(parent, 'deep'))).toEqual(['net.spngd']);
  });
  it('takes files that were begun before, and leaves nothing of them where it is not finished', async () => {
    const parent = temporaryFolder();
    const folder = new ArtifactFolder(join(parent, 'net.spngd'));
    expect(await folder.begin('kernels/a', files.get('kernels/a')!)).toBe(true);
    // Something lies there already: nothing is written over.
    expect(await folder.begin('kernels/a', Buffer.from('b'))).toBe(false);
    folder.finish(files, new Set(['kernels/a']));
    folder.discard();
    expect(readFileSync(join(parent, 'net.spngd', 'kernels', 'a'), 'utf8')).toBe('a');

    const given = new ArtifactFolder(join(parent, 'other.spngd'));
    const begun = given.begin('program.spn', Buffer.alloc(1 << 24));
    given.discard();
    await begun;
    expect(readdirSync(parent)).toEqual(['net.spngd']);
  });
  it('leaves a folder that is not ours alone, and takes an empty one', async () => {
    const dir = temporaryFolder();
    writeArtifact(dir, files);
    const other = temporaryFolder();
    writeFileSync(join(other, 'thesis.txt'), 'precious');
    expect(() => writeArtifact(other, files)).toThrow('not an artifact');
    expect(readdirSync(other)).toEqual(['thesis.txt']);
  });
  it.runIf(existsSync('/proc'))('gives up where folders above cannot be made', () => {
    expect(() => writeArtifact('/proc/none/net.spngd', files)).toThrow(expect.objectContaining({ code: 503 }));
  });
  it('is a numbered error where that cannot be done', () => {
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    for (const dir of [file, join(file, 'x')]) {
      let error: { code?: number } = {};
      try {
        writeArtifact(dir, files);
      } catch (e) {
        error = e as { code?: number };
      }
      expect([503, 504]).toContain(error.code);
    }
    expect(readFileSync(file, 'utf8')).toBe('');
  });
});

/**
 * A run of the digits by the command line that is killed (SIGKILL) at random moments and resumed each time, and the same run
 * without interruption.
 */
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Rng } from '../fuzz/rng.js';
import { temporaryFolder } from '../runtime/tiny-artifact.js';

const command = 'dist/bin/spngdc.js';

/** What must not depend on interruptions: every reported number but times, and the trained weights. */
export interface Course {
  readonly curve: readonly object[];
  readonly weights: Buffer;
  readonly model: Buffer;
}

/** An artifact of the digits; the arguments are compile's. */
export function compiledDigits(...options: string[]): string {
  const artifact = join(temporaryFolder(), 'digits.spngd');
  const fixed = ['-o', artifact, '--init', 'he-normal', '--target', 'wasm'];
  execFileSync(process.execPath, [command, 'compile', 'examples/digits/digits.onnx', ...fixed, ...options]);
  return artifact;
}

const runArguments = (artifact: string, out: string, options: readonly string[]): string[] => [
  ...[command, 'run', artifact, '--data', 'examples/digits/digits.csv.gz', '--split', '0.2', '--normalize', '0,16'],
  ...['--out', out, '--device', 'cpu', '--json', ...options],
];

function courseIn(out: string): Course {
  const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
  const curve = lines.map((l) => JSON.parse(l)).filter((e) => e.event !== 'done');
  for (const event of curve) delete event.seconds;
  return {
    curve,
    weights: readFileSync(join(out, 'weights.safetensors')),
    model: readFileSync(join(out, 'digits.onnx')),
  };
}

export function uninterrupted(artifact: string, options: readonly string[]): Course {
  const out = temporaryFolder();
  execFileSync(process.execPath, runArguments(artifact, out, options), { maxBuffer: 1 << 28 });
  return courseIn(out);
}

/** Each life but the last ends after a random number of steps, at most `longest`, and a random part of the next ones. */
export async function killed(
  artifact: string,
  options: readonly string[],
  kills: number,
  longest: number,
  rng: Rng,
): Promise<Course> {
  const out = temporaryFolder();
  for (let i = 0; i < kills; i++) {
    const signal = await oneLife(
      runArguments(artifact, out, [...options, '--resume']),
      rng.int(0, longest),
      rng.real() * 30,
    );
    expect(signal, `life ${i + 1} ended before it was killed`).toBe('SIGKILL');
  }
  execFileSync(process.execPath, runArguments(artifact, out, [...options, '--resume']), { maxBuffer: 1 << 28 });
  return courseIn(out);
}

/** With 0 steps it dies somewhere between its start and its first step. */
function oneLife(args: readonly string[], steps: number, milliseconds: number): Promise<NodeJS.Signals | null> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let seen = 0;
    let complaint = '';
    const kill = (after: number): void => {
      setTimeout(() => child.kill('SIGKILL'), after);
    };
    if (steps === 0) kill(10 * milliseconds);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const before = seen;
      seen += text.split('"event":"step"').length - 1;
      if (before < steps && seen >= steps) kill(milliseconds);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
    child.on('error', reject);
    child.on('close', (code, signal) => (code ? reject(new Error(complaint)) : resolve(signal)));
  });
}

/**
 * PyTorch in a process of its own, spoken to by lines of JSON (peer.py); each run is timed over there. Its Python environment is made from
 * PyPI beside the other peers; where that fails the machine's own PyTorch is taken, if it has one.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { benchFolder, peerFile, used } from '../harness/peers.js';
import type { Contender } from '../harness/timing.js';

const VERSION = '2.15.0';
const knows = (python: string): boolean => spawnSync(python, ['-c', 'import torch'], { stdio: 'ignore' }).status === 0;

function findPython(note: (text: string) => void): string | undefined {
  const python = peerFile('venv/bin/python');
  if (existsSync(python) && knows(python)) return python;
  note('installing PyTorch from PyPI (several gigabytes) ...');
  const steps = [
    ['python3', '-m', 'venv', peerFile('venv')],
    [python, '-m', 'pip', 'install', '--quiet', '--no-cache-dir', `torch==${VERSION}`, 'numpy'],
  ];
  for (const [command, ...args] of steps) if (spawnSync(command, args, { stdio: 'inherit' }).status !== 0) break;
  if (existsSync(python) && knows(python)) return python;
  if (knows('/usr/bin/python3')) {
    note("PyPI's PyTorch could not be installed; the machine's own is used, whose matrix products may be slow");
    return '/usr/bin/python3';
  }
  note('PyTorch is left out: neither PyPI nor the machine has it');
  return undefined;
}

type Answer = Readonly<Record<string, unknown>>;
let opened: Promise<Torch | undefined> | undefined;

/** One process for all cases; undefined where there is no PyTorch. */
export function torch(note: (text: string) => void): Promise<Torch | undefined> {
  opened ??= open(note);
  return opened;
}

async function open(note: (text: string) => void): Promise<Torch | undefined> {
  const python = findPython(note);
  if (!python) return undefined;
  const peer = new Torch(spawn(python, [join(benchFolder, 'peers', 'peer.py')], { stdio: ['pipe', 'pipe', 'pipe'] }));
  const about = await peer.ask({});
  used.set('PyTorch', `${about.version} (Python ${about.python})`);
  return peer;
}

export class Torch {
  private readonly waiting: { resolve: (a: Answer) => void; reject: (e: Error) => void }[] = [];
  private count = 0;
  private trouble = '';

  constructor(private readonly process: ChildProcessWithoutNullStreams) {
    createInterface({ input: process.stdout }).on('line', (line) => this.waiting.shift()?.resolve(JSON.parse(line)));
    process.stderr.on('data', (d) => {
      this.trouble += d;
    });
    process.on('exit', () => {
      for (const w of this.waiting) w.reject(new Error(`PyTorch ended: ${this.trouble}`));
    });
  }

  ask(request: object): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.process.stdin.write(`${JSON.stringify(request)}\n`);
    });
  }

  /** @param what `make` of peer.py and its options */
  async contender(name: string, what: object, threads: number): Promise<Contender> {
    const id = String(this.count++);
    await this.ask({ ...what, as: id });
    return { name, threads, run: (times) => this.ask({ run: id, times, threads }) };
  }
}

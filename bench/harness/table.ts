/** The table of results: printed row by row as cases end, written with what a reader needs to judge it. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import type { Case, Context, Row } from './case.js';
import { benchFolder, peerVersions } from './peers.js';

export interface Section {
  readonly title: string;
  readonly expected: string;
  readonly rows: readonly Row[];
  /** Load of the machine before and after. */
  readonly load: readonly [number, number];
  readonly notes: readonly string[];
  /** Peers that took part, with their versions. */
  readonly peers: readonly string[];
}

const verdict = ({ goal, met }: Row): string =>
  goal === undefined ? '' : met === undefined ? '?' : met ? 'yes' : 'no';

/** Runs a case and prints its rows. */
export async function runCase(c: Case, context: Context): Promise<Section> {
  const before = loadavg()[0];
  const notes = new Set<string>();
  console.log(`\n${c.title}\n  expected: ${c.expected}`);
  const note = (text: string): void => {
    notes.add(text);
    context.note(text);
  };
  const rows = await c.run({ ...context, note });
  for (const r of rows)
    console.log(
      `  ${r.what.padEnd(44)} ${r.measured.padStart(10)}  ${(r.goal ?? '').padEnd(28)} ${verdict(r).padEnd(4)} ${r.detail ?? ''}`,
    );
  const load: [number, number] = [before, loadavg()[0]];
  console.log(`  load ${load.map((l) => l.toFixed(1)).join(' -> ')}`);
  const peers = [...peerVersions()].map(([n, v]) => `${n} ${v}`);
  return { title: c.title, expected: c.expected, rows, load, notes: [...notes], peers };
}

/** @returns the file's path */
export function writeTable(sections: readonly Section[], clock: Context['clock']): string {
  const now = new Date().toISOString();
  const folder = join(benchFolder, 'results');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${now.slice(0, 10)}-cpu.md`);
  writeFileSync(path, textOf(sections, clock, now));
  return path;
}

function textOf(sections: readonly Section[], clock: Context['clock'], now: string): string {
  const { stdout } = spawnSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' });
  const peers = [...new Set(sections.flatMap((s) => s.peers))];
  const lines = [
    '# Benchmarks of the wasm target',
    '',
    `${now.slice(0, 16).replace('T', ' ')} UTC; spngdc ${stdout.trim()}; ${cpus()[0].model}, ${cpus().length} cores; Node ${process.versions.node} (V8 ${process.versions.v8});`,
    `peers: ${peers.join(', ') || 'none'}.`,
    '',
    `Contenders take turns in one run; times and ratios are medians over the rounds, by ${clock === 'processor' ? 'processor time where one thread works, else by the clock' : 'the clock'};`,
    'by the clock, rounds count in which every contender had the processor to itself, where there are three or more.',
    'The load is that of the whole machine (1 minute), before and after the case. Read ratios, not times.',
  ];
  for (const s of sections) {
    const load = s.load.map((l) => l.toFixed(1)).join(' -> ');
    lines.push('', `## ${s.title}`, '', `Expected: ${s.expected}. Load ${load}.`);
    for (const n of s.notes) lines.push('', `Note: ${n}.`);
    lines.push('', '| case | measured | goal | met | details |', '|---|---|---|---|---|');
    for (const r of s.rows)
      lines.push(`| ${[r.what, r.measured, r.goal ?? '', verdict(r), r.detail ?? ''].join(' | ')} |`);
  }
  return `${lines.join('\n')}\n`;
}

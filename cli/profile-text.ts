/**
 * A profile as a table for a terminal: the kernels that take most of the time, with the layers that they work for.
 */
import type { KernelRow, ProfileReport } from '../runtime/profile/profile.js';
import { percent, table } from './terminal.js';

const MOST_ROWS = 16;
const MOST_OPS = 2;

const milliseconds = (seconds: number): string => `${(1000 * seconds).toFixed(1)} ms`;
const giga = (rate: number): string => (rate / 1e9).toFixed(1);

export function profileText({ threads, ceilings, functions, busy, kernels }: ProfileReport): string {
  const runs = functions.map((f) => `${f.runs} x ${f.name} (${milliseconds(f.seconds / f.runs)} each)`);
  const on = threads === 1 ? '1 thread' : `${threads} threads`;
  const rows = kernels
    .slice(0, MOST_ROWS)
    .map((k) => [
      k.kernel,
      opsOf(k),
      String(k.calls),
      milliseconds(k.seconds),
      percent(k.share),
      giga(k.flops),
      giga(k.bytes),
      `${Math.round(100 * k.reached)}% ${k.bound === 'flops' ? 'of GFLOP/s' : 'of GB/s'}`,
      layersOf(k),
    ]);
  const rest = kernels.slice(MOST_ROWS);
  const others = rest.reduce((n, k) => n + k.share, 0);
  return [
    `profile: ${runs.join(', ')}; ${on}, ${percent(busy)} of their time in kernels`,
    `one thread reaches ${giga(ceilings.flops)} GFLOP/s in a register tile and ${giga(ceilings.bytes)} GB/s copying${threads === 1 ? '' : `, while ${threads} do`}`,
    table(
      ['kernel', 'computes', 'calls', 'time', 'share', 'GFLOP/s', 'GB/s', 'nearest limit', 'for'],
      rows,
      [2, 3, 4, 5, 6, 7],
    ),
    ...(rest.length > 0 ? [`  and ${rest.length} kernels more, ${percent(others)}`] : []),
  ].join('\n');
}

/** The op that the kernel is made for is the one in its name. */
function opsOf({ kernel, computes }: KernelRow): string {
  const main = kernel.replace(/^k\d+_/, '');
  const others = computes.filter((op) => op !== main);
  const more = others.length > MOST_OPS ? ` and ${others.length - MOST_OPS} more` : '';
  return others.length === 0 ? '-' : `${others.slice(0, MOST_OPS).join(', ')}${more}`;
}

function layersOf({ layers }: KernelRow): string {
  if (layers.length === 0) return '-';
  return layers.length === 1 ? layers[0] : `${layers[0]} and ${layers.length - 1} more`;
}

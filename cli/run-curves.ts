/**
 * The curves of one run out of its metrics.jsonl: loss of each step and of the validation, accuracies where there are classes, and
 * when each statistic was refreshed where they go stale.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { EpochReport, StartReport, StepReport } from '../runtime/training/report.js';
import { curvesSvg, type Panel } from './curves-svg.js';
import type { Series } from './plot.js';
import type { RefreshHistory } from './staleness-svg.js';
import { percent } from './terminal.js';

/** More points than a panel has pixels show nothing more. */
const MOST_POINTS = 400;

type Point = readonly [x: number, y: number];
type Event =
  | (StepReport & { readonly event: 'step' })
  | (EpochReport & { readonly event: 'epoch' })
  | (StartReport & { readonly event: 'start' });
const kinds: readonly unknown[] = ['step', 'epoch', 'start'];

/** An SVG of what the file holds; undefined where that is no step. */
export function runCurves(file: string): Uint8Array | undefined {
  if (!existsSync(file)) return undefined;
  const events = readFileSync(file, 'utf8').split('\n').flatMap(parse);
  const steps = events.filter((e) => e.event === 'step');
  const epochs = events.filter((e) => e.event === 'epoch');
  if (steps.length === 0) return undefined;
  const validated = (what: 'loss' | 'accuracy'): Point[] =>
    epochs.flatMap((e) => (Number.isFinite(e.validation?.[what]) ? [[e.step, e.validation![what]!] as const] : []));
  const loss = present([
    { name: 'training', mark: '.', points: thinned(steps.map((s) => [s.step, s.loss])) },
    { name: 'validation', mark: '#', points: validated('loss') },
  ]);
  const log = loss.every((s) => s.points.every(([, y]) => y > 0));
  const panels: Panel[] = [
    { series: loss, options: { title: 'loss', xLabel: 'step', log, formatY: (y) => y.toPrecision(2) } },
  ];
  const accuracy = present([
    {
      name: 'training',
      mark: '.',
      points: epochs.flatMap((e) => (e.train.accuracy === undefined ? [] : [[e.step, e.train.accuracy] as const])),
    },
    { name: 'validation', mark: '#', points: validated('accuracy') },
  ]);
  if (accuracy.length > 0)
    panels.push({ series: accuracy, options: { title: 'accuracy', xLabel: 'step', formatY: (y) => percent(y) } });
  return new TextEncoder().encode(curvesSvg(panels, historyOf(events, steps)));
}

/** Undefined where no statistic goes stale. */
function historyOf(events: readonly Event[], steps: readonly StepReport[]): RefreshHistory | undefined {
  const names = events.find((e) => e.event === 'start')?.statistics?.map((s) => s.name);
  const told = steps.flatMap(({ step, staleness }) =>
    names && staleness?.length === names.length ? [{ step, staleness }] : [],
  );
  return names && told.length > 0 ? { names, steps: told } : undefined;
}

const present = (all: readonly Series[]): Series[] => all.filter((s) => s.points.length > 0);

function parse(line: string): Event[] {
  try {
    const event = JSON.parse(line);
    return kinds.includes(event?.event) ? [event] : [];
  } catch {
    return [];
  }
}

/** Means over as many neighbours as leave MOST_POINTS. */
function thinned(points: readonly Point[]): Point[] {
  const n = Math.ceil(points.length / MOST_POINTS);
  const out: Point[] = [];
  for (let at = 0; at < points.length; at += n) {
    const part = points.slice(at, at + n);
    out.push([part[part.length - 1][0], part.reduce((sum, [, y]) => sum + y, 0) / part.length]);
  }
  return out;
}

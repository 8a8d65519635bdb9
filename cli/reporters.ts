/**
 * How a run is shown: a progress bar on a terminal, plain lines elsewhere, JSON lines for programs.
 */
import { describeAugmentation } from '../runtime/data/augmentation.js';
import type { ProfileReport } from '../runtime/profile/profile.js';
import { jsonLines } from '../runtime/training/metrics-log.js';
import type { EpochReport, Evaluation, Reporter, StartReport } from '../runtime/training/report.js';
import { settingsInFull } from '../runtime/training/settings.js';
import { profileText } from './profile-text.js';
import { duration, percent, type Terminal } from './terminal.js';

export interface RunReporter extends Reporter {
  /** What `--profile` found. */
  profile?(report: ProfileReport): void;
  /** The results lie in these files. */
  written?(files: readonly string[]): void;
  /** Clears what would be in the way of a message. */
  close?(): void;
}

export function chooseReporter(
  terminal: Terminal,
  how: { readonly json?: boolean; readonly quiet?: boolean },
): RunReporter {
  if (how.json) return jsonReporter(terminal, how.quiet ?? false);
  return textReporter(terminal, how.quiet ?? false);
}

function jsonReporter({ stdout }: Terminal, quiet: boolean): RunReporter {
  const { start, step, epoch, done } = jsonLines((line) => stdout.write(line));
  const always: RunReporter = {
    done,
    profile: (report) => stdout.write(`${JSON.stringify({ event: 'profile', ...report })}\n`),
    written: (files) => stdout.write(`${JSON.stringify({ event: 'written', files })}\n`),
  };
  return quiet ? always : { ...always, start, step, epoch };
}

/** Tells all of them of everything. */
export function together(...all: readonly Reporter[]): Required<Reporter> {
  return {
    start: (r) => all.forEach((one) => void one.start?.(r)),
    step: (r) => all.forEach((one) => void one.step?.(r)),
    epoch: (r) => all.forEach((one) => void one.epoch?.(r)),
    done: (r) => all.forEach((one) => void one.done?.(r)),
  };
}

/** A long epoch says that it lives at least this often where there is no bar, in milliseconds. */
const LINE_INTERVAL = 10_000;
const BAR_INTERVAL = 100;

function textReporter({ stdout, stderr }: Terminal, quiet: boolean): RunReporter {
  let total = 0;
  let first = 0;
  let started = 0;
  let shown = 0;
  let bar = false;
  const clear = (): void => {
    if (bar) stderr.write('\r\x1b[2K');
    bar = false;
  };
  const end: RunReporter = {
    done: (r) => {
      clear();
      const last = r.epochs.at(-1);
      const result = last ? `, ${describeEpoch(last)}` : '';
      const { dispatches, submissions } = r.perStep;
      const device = submissions > 0 ? ` (${dispatches} dispatches, ${submissions} submission a step)` : '';
      stdout.write(`trained ${r.steps} steps in ${duration(r.seconds)}${device}${result}\n`);
      if (r.refreshedShares) {
        const { all, A, others } = r.refreshedShares;
        stdout.write(
          `refreshed ${percent(all)} of the statistics' elements (A ${percent(A)}, G and F ${percent(others)})\n`,
        );
      }
    },
    profile: (report) => stdout.write(`${profileText(report)}\n`),
    written: (files) => {
      for (const f of files) stdout.write(`wrote ${f}\n`);
    },
    close: clear,
  };
  if (quiet) return end;
  return {
    ...end,
    start: (r) => {
      total = r.settings.totalSteps;
      first = r.continuedAfter;
      started = performance.now();
      shown = started;
      stdout.write(
        `${r.model}: ${r.optimizer}, preset ${r.settings.preset}, seed ${r.settings.seed}\n` +
          settingsInFull(r.settings, r.optimizer)
            .map((line) => `  ${line}\n`)
            .join('') +
          (r.augmentation && Object.keys(r.augmentation).length > 0
            ? `  examples are changed: ${describeAugmentation(r.augmentation)}\n`
            : '') +
          `  ${r.trainExamples} examples, ${r.validationExamples} to validate; ` +
          `${total} steps of ${examplesInStep(r)} on ${r.device}\n${first > 0 ? `  continued after step ${first}\n` : ''}`,
      );
    },
    step: (r) => {
      const now = performance.now();
      const every = stderr.isTTY ? BAR_INTERVAL : LINE_INTERVAL;
      if (now - shown < every) return;
      shown = now;
      const left = ((now - started) / 1000 / (r.step - first)) * (total - r.step);
      const text = `step ${r.step}/${total}  loss ${r.loss.toFixed(4)}  ${duration(left)} left`;
      if (!stderr.isTTY) {
        stderr.write(`${text}\n`);
        return;
      }
      const width = Math.max(10, Math.min(40, (stderr.columns ?? 80) - text.length - 4));
      const filled = Math.round((width * r.step) / total);
      stderr.write(`\r\x1b[2K[${'='.repeat(filled)}${' '.repeat(width - filled)}] ${text}`);
      bar = true;
    },
    epoch: (r) => {
      clear();
      stdout.write(`epoch ${r.epoch}  ${describeEpoch(r)}  ${duration(r.seconds)}\n`);
      if (r.failedInversions > 0)
        stdout.write(`  ${r.failedInversions} factors could not be inverted; their previous inverses were kept\n`);
      if (r.notFinite > 0)
        stdout.write(`  ${r.notFinite} directions were not finite; their parameters were left as they were\n`);
    },
  };
}

function describeEpoch(r: EpochReport): string {
  const share = (name: string, fraction: number | undefined): string =>
    fraction === undefined ? '' : ` ${name} ${percent(fraction)}`;
  const part = (name: string, e: Evaluation): string =>
    `${name} loss ${e.loss.toFixed(4)}${share('accuracy', e.accuracy)}${share('top-5', e.top5)}`;
  return part('train', r.train) + (r.validation ? `  ${part('validation', r.validation)}` : '');
}

const examplesInStep = ({ batch, settings: { accumulate } }: StartReport): string =>
  accumulate === 1 ? `${batch}` : `${batch * accumulate} (${accumulate} batches of ${batch})`;

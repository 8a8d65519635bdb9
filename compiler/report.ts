/**
 * What a user sees after a compilation: what will be trained and how, what runs, what it takes.
 */
import { ACCUMULATE, type Manifest } from '../ir/artifact.js';
import type { Program } from '../ir/program.js';
import { product } from '../ir/types.js';

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 2 : 1)} MiB`;
}

/** `3 kfac-conv, 1 kfac-dense`: how many parameters each rule trains. */
function countRules(manifest: Manifest): string {
  const counts = new Map<string, number>();
  for (const p of manifest.parameters) {
    const rule = p.trainable ? p.rule || 'plain' : 'frozen';
    counts.set(rule, (counts.get(rule) ?? 0) + 1);
  }
  return [...counts].map(([rule, n]) => `${n} ${rule}`).join(', ');
}

/** Names of the parameters that no rule of curvature covers. */
function plain(manifest: Manifest): string[] {
  const names = manifest.parameters.filter((p) => p.trainable && p.rule === 'plain').map((p) => p.name);
  return names.length > 0 ? [`  by plain gradient, since no rule covers them: ${names.join(', ')}`] : [];
}

const thousands = (n: number): string => String(n).replace(/\B(?=(\d{3})+$)/g, ',');

export function summary(manifest: Manifest, files: ReadonlyMap<string, Uint8Array>): string {
  const { batch, defaults } = manifest;
  const { accumulate } = defaults;
  const trained = manifest.parameters.filter((p) => p.trainable);
  const elements = trained.reduce((n, p) => n + product(p.shape), 0);
  let bytes = 0;
  for (const f of files.values()) bytes += f.length;
  return [
    `${manifest.model.name}: ${manifest.optimizer}, batch ${accumulate === undefined ? '' : `${batch.train * accumulate} = ${accumulate} x `}${batch.train}, ${manifest.loss.kind}`,
    `  ${thousands(elements)} trainable elements in ${trained.length} parameters: ${countRules(manifest)}`,
    ...plain(manifest),
    ...manifest.programs.flatMap(programSummary),
    `  artifact ${megabytes(bytes)}`,
  ].join('\n');
}

function programSummary({ target, kernels, functions, plan }: Program): string[] {
  const steps = (name: string): number => {
    const f = functions.find((fn) => fn.name === name);
    return f ? f.segments.reduce((n, s) => n + s.steps.length, 0) : 0;
  };
  const accumulates = functions.some((f) => f.name === ACCUMULATE)
    ? `${steps(ACCUMULATE)} dispatches a batch that is accumulated, `
    : '';
  return [
    `  ${target}: ${kernels.length} kernels; ${accumulates}${steps('train')} dispatches a training step, ${steps('eval')} an evaluation; memory ${megabytes(plan.peak)} planned (live-set bound ${megabytes(plan.liveBound)})`,
  ];
}

/**
 * `spngdc inspect`: what an artifact will do, from its manifest alone: settings, how each parameter is trained and why, the
 * kernels and why each stopped growing, the memory.
 */
import { type Command, Option } from 'commander';
import { ACCUMULATE, type Manifest, type Target } from '../ir/artifact.js';
import { dispatchesOf, type KernelInfo, type Program } from '../ir/program.js';
import { printShape, product, storedBytes } from '../ir/types.js';
import { memorySize, quantity, type Terminal, table } from './terminal.js';

interface Flags {
  readonly target?: Target;
  readonly json?: boolean;
  readonly layers?: boolean;
  readonly kernels?: boolean;
  readonly memory?: boolean;
  readonly parameters?: boolean;
}

export function addInspect(program: Command, terminal: Terminal): void {
  program
    .command('inspect')
    .description('show what an artifact will do; without options: the summary, layers, kernels and memory')
    .argument('<artifact>', 'the folder that compile wrote')
    .option('--layers', 'only how each trained parameter is preconditioned, and why')
    .option('--parameters', 'only the parameters: shape, trained or not, and why')
    .option('--kernels', 'only the kernels: what each computes, its cost, why it stopped growing')
    .option('--memory', 'only the memory: planned peak, lower bound, sums by role')
    .addOption(
      new Option('--target <name>', 'which program of the artifact (default: its first)').choices(['wasm', 'webgpu']),
    )
    .option('--json', 'as one JSON object')
    .action(async (dir: string, flags: Flags) => {
      // Loaded here, so that `compile` starts without the runtime.
      const { loadArtifact, programFor } = await import('../runtime/artifact.js');
      const { manifest } = loadArtifact(dir);
      const shown = programFor(manifest, flags.target ?? manifest.programs[0].target);
      const chosen = sectionNames.filter((n) => n !== 'summary' && flags[n]);
      const names = chosen.length > 0 ? chosen : defaultSections;
      const text = flags.json
        ? JSON.stringify(Object.fromEntries(names.map((n) => [n, sections[n].data(manifest, shown)])), null, 2)
        : names.map((n) => sections[n].text(manifest, shown)).join('\n\n');
      terminal.stdout.write(`${text}\n`);
    });
}

interface Section {
  data(m: Manifest, p: Program): unknown;
  text(m: Manifest, p: Program): string;
}

const sections = {
  summary: { data: summaryData, text: summaryText },
  layers: { data: layers, text: layersText },
  parameters: { data: (m) => m.parameters, text: parametersText },
  kernels: { data: (_, p) => kernels(p), text: kernelsText },
  memory: { data: memory, text: memoryText },
} satisfies Record<string, Section>;
type SectionName = keyof typeof sections;
const sectionNames = Object.keys(sections) as SectionName[];
const defaultSections: readonly SectionName[] = ['summary', 'layers', 'kernels', 'memory'];

// ---- Summary ----

function dispatches(p: Program): Record<string, number> {
  return Object.fromEntries(p.functions.map((f) => [f.name, dispatchesOf(f)]));
}

function summaryData(m: Manifest, p: Program): object {
  const { target } = p;
  const { generator, model, optimizer, batch, seed, loss, inputs, outputs, defaults } = m;
  const trained = m.parameters.filter((p) => p.trainable).reduce((n, p) => n + product(p.shape), 0);
  const work = trainWork(m, p);
  return {
    ...{ generator, model, target, optimizer, batch, seed, loss, inputs, outputs, trained, defaults },
    ...{ dispatches: dispatches(p), flopsPerStep: work.flops, bytesPerStep: work.bytes },
  };
}

/** Of a whole step: its update, and all batches that are accumulated. */
function trainWork({ defaults }: Manifest, p: Program): { flops: number; bytes: number } {
  const sum = { flops: 0, bytes: 0 };
  for (const k of kernels(p)) {
    const calls = (k.dispatches.train ?? 0) + (k.dispatches[ACCUMULATE] ?? 0) * (defaults.accumulate ?? 0);
    sum.flops += k.flops * calls;
    sum.bytes += k.bytes * calls;
  }
  return sum;
}

function summaryText(m: Manifest, p: Program): string {
  const tensors = (list: Manifest['inputs']): string =>
    list.map((t) => `${t.name}: ${t.dtype}${printShape(t.shape)}`).join(', ') || 'none';
  const { target } = m.loss;
  const trained = m.parameters.filter((p) => p.trainable);
  const work = trainWork(m, p);
  const calls = Object.entries(dispatches(p)).map(([f, n]) => `${f} ${n}`);
  const { accumulate } = m.defaults;
  const classes = target?.classes === undefined ? '' : `, ${target.classes} classes`;
  const rows: [string, string][] = [
    ['model', `${m.model.file} (sha256 ${m.model.sha256.slice(0, 12)}...)`],
    ['compiled by', `${m.generator} for ${m.programs.map((q) => q.target).join(' and ')}; shown: ${p.target}`],
    ['optimizer', m.optimizer],
    ['batch', `${m.batch.train} in training, ${m.batch.eval} in evaluation`],
    ...(accumulate === undefined
      ? []
      : ([['a step', `${accumulate} batches, accumulated: ${accumulate * m.batch.train} examples`]] as [
          string,
          string,
        ][])),
    ['inputs', tensors(m.inputs)],
    ['outputs', tensors(m.outputs)],
    ['loss', m.loss.kind + (target ? `; target ${target.dtype}${printShape(target.shape)}${classes}` : '')],
    ['trained', `${trained.reduce((n, p) => n + product(p.shape), 0)} elements in ${trained.length} parameters`],
    ['dispatches', calls.join(', ')],
    ['a training step', `${quantity(work.flops, 'FLOP')}, ${quantity(work.bytes, 'B')} moved`],
    ['seed', String(m.seed)],
  ];
  const waves = p.functions.flatMap((f) => (f.waves === undefined ? [] : [`${f.name} ${f.waves}`]));
  if (waves.length > 0) rows.push(['waves', `${waves.join(', ')} (dispatches between two waits)`]);
  const settings = Object.entries(m.defaults).map(([k, v]) => [k, String(v)] as [string, string]);
  const pad = Math.max(...[...rows, ...settings].map(([k]) => k.length));
  const lines = (list: [string, string][]): string => list.map(([k, v]) => `  ${k.padEnd(pad)}  ${v}`).join('\n');
  return `${m.model.name}\n${lines(rows)}\n\nhyper-parameters\n${lines(settings)}`;
}

// ---- Layers and parameters ----

interface Factor {
  readonly name: string;
  readonly layout: 'dense' | 'packed-lower';
  readonly shape: readonly number[];
}

interface Layer {
  readonly name: string;
  readonly rule: string;
  readonly shape: readonly number[];
  readonly factors: readonly Factor[];
  readonly why: string;
}

function layers(m: Manifest): Layer[] {
  const factors = m.state.filter((s) => s.role === 'factor' || s.role === 'inverse');
  return m.parameters
    .filter((p) => p.trainable)
    .map(({ name, rule, shape, why }) => {
      const own = factors.filter((f) => f.of === name);
      // Statistics that live within a step only leave their inverses as state, of the same sizes.
      const kept = own.some((f) => f.role === 'factor') ? own.filter((f) => f.role === 'factor') : own;
      return { name, rule, shape, factors: kept.map(({ name, layout, shape }) => ({ name, layout, shape })), why };
    });
}

/** `785x785`, or `32 of 9x9` where each group of a convolution has one. */
function factorText({ layout, shape }: Factor): string {
  const groups = layout === 'packed-lower' ? shape.slice(0, -2) : [];
  return [...groups.map((g) => `${g} of`), shape.slice(groups.length).join('x')].join(' ');
}

function layersText(m: Manifest): string {
  const rows = layers(m).map((l) => [
    l.name,
    printShape(l.shape),
    l.rule,
    l.factors.map(factorText).join(', ') || '-',
    l.why,
  ]);
  return `layers: how each parameter is trained\n${table(['parameter', 'shape', 'rule', 'factors', 'why'], rows)}`;
}

function parametersText(m: Manifest): string {
  const rows = m.parameters.map((p) => [
    p.name,
    printShape(p.shape),
    String(product(p.shape)),
    p.trainable ? 'yes' : 'no',
    p.rule || '-',
    p.why,
  ]);
  return `parameters\n${table(['name', 'shape', 'elements', 'trained', 'rule', 'why'], rows, [2])}`;
}

// ---- Kernels ----

type KernelRow = KernelInfo & { readonly dispatches: Readonly<Record<string, number>> };

function kernels(p: Program): KernelRow[] {
  const used = new Map<string, Record<string, number>>();
  for (const f of p.functions)
    for (const step of f.segments.flatMap((s) => s.steps)) {
      const [kernel] = step.variants;
      const counts = used.get(kernel) ?? {};
      counts[f.name] = (counts[f.name] ?? 0) + 1;
      used.set(kernel, counts);
    }
  return p.kernels.map((k) => ({ ...k, dispatches: used.get(k.name) ?? {} }));
}

function kernelsText(_: Manifest, p: Program): string {
  const rows = kernels(p).map((k) => [
    k.name,
    Object.entries(k.dispatches)
      .map(([f, n]) => `${f} ${n}`)
      .join(', ') || '-',
    quantity(k.flops, ''),
    quantity(k.bytes, ''),
    k.computes.join(' ') || '-',
    k.source || '-',
    k.stopped || '-',
  ]);
  const head = ['kernel', 'dispatches', 'flop', 'bytes', 'computes', 'first from', 'stopped growing because'];
  return `kernels\n${table(head, rows, [2, 3])}`;
}

// ---- Memory ----

interface MemoryReport {
  readonly planned: number;
  readonly liveBound: number;
  readonly state: Readonly<Record<string, number>>;
  readonly buffers: Readonly<Record<string, number>>;
  readonly scratch: number;
  readonly largest: readonly { readonly name: string; readonly bytes: number; readonly role: string }[];
}

function memory(m: Manifest, p: Program): MemoryReport {
  const state: Record<string, number> = {};
  for (const s of m.state) state[s.role] = (state[s.role] ?? 0) + storedBytes(s);
  const buffers: Record<string, number> = {};
  for (const b of p.buffers) if (b.role !== 'window') buffers[b.role] = (buffers[b.role] ?? 0) + b.bytes;
  const largest = p.buffers
    .filter((b) => b.role !== 'window')
    .sort((a, b) => b.bytes - a.bytes || (a.name < b.name ? -1 : 1))
    .slice(0, 8)
    .map(({ name, bytes, role }) => ({ name, bytes, role }));
  const { peak, liveBound } = p.plan;
  const scratch = Math.max(0, ...p.kernels.map((k) => k.scratch));
  return { planned: peak, liveBound, state, buffers, scratch, largest };
}

function memoryText(m: Manifest, p: Program): string {
  const r = memory(m, p);
  const over = r.liveBound > 0 ? ` (${((100 * (r.planned - r.liveBound)) / r.liveBound).toFixed(1)}% above)` : '';
  const rows = [
    ['planned peak', memorySize(r.planned)],
    ['live-set bound', `${memorySize(r.liveBound)}${over}`],
    ['scratch of kernels', memorySize(r.scratch)],
    ...Object.entries(r.state).map(([role, n]) => [`state: ${role}`, memorySize(n)]),
    ...Object.entries(r.buffers)
      .filter(([role]) => role !== 'state' && role !== 'constant')
      .map(([role, n]) => [`buffers: ${role}`, `${memorySize(n)} before reuse`]),
  ];
  const largest = r.largest.map((b) => [b.name, memorySize(b.bytes), b.role]);
  return `memory\n${table(['what', 'size'], rows)}\n\nlargest buffers\n${table(['buffer', 'size', 'role'], largest)}`;
}

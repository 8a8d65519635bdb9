/**
 * Seconds that `spngdc compile` takes, each time in a fresh process, start-up and writing included: three ResNet-50 of the
 * shared data, and generated chains of convolution, BatchNorm and relu, whose time should grow in line with their nodes.
 * Needs dist/ (npm run build). Arguments: parts of case names to run (default: all but the longest chain), and
 *   --runs N            of each model (default: 5; the median counts)
 *   --target NAME       wasm, webgpu or both (default: both)
 *   --against COMMAND   the dist/bin/spngdc.js of another build, run in turns with this one: gives the ratio, which says more
 *                       than seconds where others use the machine. An older one may know no targets: --against-options ''
 *   --against-options O its options in place of --target NAME
 *   --plot FILE.svg     a picture of processor seconds over the models' nodes
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import onnxProto from 'onnx-proto';
import { curvesSvg } from '../cli/curves-svg.js';
import { chain } from '../test/chain.js';

const { onnx } = onnxProto;
const CLI = 'dist/bin/spngdc.js';
const MODELS = '../shared/data/models';

const { values, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '5' },
    target: { type: 'string', default: 'both' },
    against: { type: 'string' },
    'against-options': { type: 'string' },
    plot: { type: 'string' },
  },
});
const runs = Number(values.runs);
const out = mkdtempSync(join(tmpdir(), 'spngdc-bench-'));

interface Build {
  readonly command: string;
  readonly options: readonly string[];
}
const own: Build = { command: CLI, options: ['--target', values.target] };
const others: readonly Build[] = values.against
  ? [
      {
        command: values.against,
        options: values['against-options']?.split(' ').filter((o) => o !== '') ?? own.options,
      },
    ]
  : [];

/** Run by the compiler's process before all else: tells at its end what it used, last on standard error. */
const tellUsage = `data:text/javascript,process.on('exit',()=>{const{user,system}=process.cpuUsage();console.error('\\n'+user+' '+system)})`;

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Seconds. */
interface Sample {
  readonly wall: number;
  readonly user: number;
}

function compileOnce({ command, options }: Build, model: string, more: readonly string[]): Sample {
  const artifact = join(out, 'model.spngd');
  const begin = performance.now();
  const args = ['--import', tellUsage, command, 'compile', model, ...more, ...options, '-o', artifact];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const wall = (performance.now() - begin) / 1000;
  if (status !== 0) throw new Error(`compiling ${model} failed: ${stderr}`);
  rmSync(artifact, { recursive: true });
  return { wall, user: Number(stderr.trimEnd().split('\n').at(-1)!.split(' ')[0]) / 1e6 };
}

/** Nodes and processor seconds of what has been compiled, for the picture. */
const measured: { readonly name: string; readonly nodes: number; readonly user: number }[] = [];

function report(name: string, model: string, options: readonly string[]): void {
  const rounds = Array.from({ length: runs }, () => [own, ...others].map((b) => compileOnce(b, model, options)));
  const [wall, user] = [median(rounds.map(([s]) => s.wall)), median(rounds.map(([s]) => s.user))];
  const nodes = onnx.ModelProto.decode(readFileSync(model)).graph!.node!.length;
  measured.push({ name, nodes, user });
  const ratio = others.map((_, i) => {
    const of = (key: keyof Sample): string => median(rounds.map((r) => r[0][key] / r[i + 1][key])).toFixed(2);
    return `   of the other build's: wall ${of('wall')}, user ${of('user')}`;
  });
  const each = `${((1e6 * user) / nodes).toFixed(0)} us a node`;
  console.log(`${name.padEnd(28)} wall ${wall.toFixed(2)} s   user ${user.toFixed(2)} s   ${each}${ratio.join('')}`);
}

/** Processor seconds over nodes: a line for the chains, a dot for each other model. */
function plot(): string {
  const point = ({ nodes, user }: (typeof measured)[number]): readonly [number, number] => [nodes, user];
  const chains = measured.filter((m) => m.name.startsWith('chain'));
  const models = measured
    .filter((m) => !chains.includes(m))
    .map((m) => ({ name: m.name.split(' ')[0], mark: 'o', points: [point(m)] }));
  return curvesSvg([
    {
      series: [{ name: 'chains', mark: '*', points: chains.map(point) }, ...models],
      options: {
        title: 'processor seconds',
        xLabel: 'nodes of the ONNX model',
        range: [0, Math.max(...measured.map((m) => m.user))],
        formatY: (y) => y.toFixed(1),
      },
    },
  ]);
}

/** Whether a case is to be run; `long`: only where it is asked for. */
const chosen = (name: string, long = false): boolean =>
  wanted.length > 0 ? wanted.some((w) => name.includes(w)) : !long;

// ---- Cases ----

if (!existsSync(CLI)) throw new Error(`there is no ${CLI}: npm run build`);
console.log(`median of ${runs} runs; load ${loadavg()[0].toFixed(1)}`);
try {
  const anew = ['--init', 'he-normal', '--batch', '4'];
  for (const [name, file, data] of [
    ['resnet50 opset 13, 64x64', 'torchvision/resnet50_train_op13.onnx', ['--input', 'x:Nx3x64x64']],
    ['resnet50 opset 16, 224x224', 'torchvision/resnet50_train_op16.onnx', []],
    ['light_resnet50', 'onnx-light/light_resnet50.onnx', []],
  ] as const) {
    if (!chosen(name)) continue;
    const model = join(MODELS, file);
    if (!existsSync(model)) console.log(`${name.padEnd(28)} left out: there is no ${model}`);
    else report(name, model, [...anew, ...data]);
  }
  for (const nodes of [5, 1000, 2000, 4000, 10_000]) {
    const name = `chain of ${nodes} nodes`;
    if (!chosen(name, nodes > 4000)) continue;
    const model = join(out, `chain${nodes}.onnx`);
    writeFileSync(model, chain(nodes));
    report(name, model, anew);
  }
  if (values.plot) writeFileSync(values.plot, plot());
} finally {
  rmSync(out, { recursive: true, force: true });
}
console.log(`load ${loadavg()[0].toFixed(1)}`);

/**
 * An artifact small enough to be made by hand. Its one kernel copies f32 values: `train` copies the data row [loss, count]
 * to its metrics and the learning rate to the weight `w`; `eval` copies the row to its metrics. So data decide what a run reports.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import onnxProto from 'onnx-proto';
import { encodeManifest, type Manifest, SCHEMA_VERSION } from '../../ir/artifact.js';
import type { KernelInfo, Buffer as ProgramBuffer, Segment } from '../../ir/program.js';
import { writeSafetensors } from '../../ir/safetensors.js';
import { tensor } from '../../ir/types.js';

const { onnx } = onnxProto;
const section = (id: number, ...content: number[]): number[] => [id, content.length, ...content];
const text = (s: string): number[] => [s.length, ...Buffer.from(s)];

/** for (i = begin; i < end; i++) f32[b + 4i] = f32[a + 4i], with parameters a, b, scratch, begin, end. */
const copyBody = [
  ...[0x00, 0x02, 0x40, 0x03, 0x40, 0x20, 3, 0x20, 4, 0x4e, 0x0d, 1],
  ...[0x20, 1, 0x20, 3, 0x41, 2, 0x74, 0x6a, 0x20, 0, 0x20, 3, 0x41, 2, 0x74, 0x6a, 0x2a, 2, 0, 0x38, 2, 0],
  ...[0x20, 3, 0x41, 1, 0x6a, 0x21, 3, 0x0c, 0, 0x0b, 0x0b, 0x0b],
];

/** `parameters`: how many the kernel declares; 5 is right. `from`: the module that memory is imported from. */
export function copyModule({
  parameters = 5,
  from = 'env',
  name = 'memory',
  body = parameters === 5 ? copyBody : [0x00, 0x0b],
}: {
  readonly parameters?: number;
  readonly from?: string;
  readonly name?: string;
  readonly body?: readonly number[];
} = {}): Uint8Array {
  const i32 = 0x7f;
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, 1, 0x60, parameters, ...new Array<number>(parameters).fill(i32), 0),
    // A shared memory of at most 65,536 pages.
    ...section(2, 1, ...text(from), ...text(name), 2, 3, 0, 0x80, 0x80, 0x04),
    ...section(3, 1, 0),
    ...section(7, 2, ...text('copy1'), 0, 0, ...text('copy2'), 0, 0),
    ...section(10, 1, body.length, ...body),
  ]);
}

const kernel = (name: string, grid: number): KernelInfo => ({
  ...{ name, grid, scratch: 16, flops: 0, bytes: 8 * grid, computes: ['copy'], source: 'onnx:Copy_0(Copy)' },
  ...{ access: ['read', 'readwrite'], cost: 0, requires: { features: ['simd128'], limits: {} } },
  stopped: 'nothing to fuse',
});
const step = (slot: string, name: string, args: string[]): Segment => ({
  name: `always.${slot}`,
  steps: [{ slot, variants: [name], args, source: '' }],
});
const buffer = (name: string, index: number, shape: number[], role: ProgramBuffer['role']): ProgramBuffer => ({
  ...{ name, memory: 'main', offset: 256 * index, dtype: 'f32', layout: 'dense', shape, role },
  bytes: 4 * shape.reduce((a, b) => a * b, 1),
});

export type Files = Map<string, Uint8Array>;

export function tinyFiles(): Files {
  const graph = {
    name: 'tiny',
    node: [{ opType: 'Mul', name: 'mul', input: ['x', 'w'], output: ['y'] }],
    input: [{ name: 'x', type: { tensorType: { elemType: 1, shape: { dim: [{ dimParam: 'N' }, { dimValue: 2 }] } } } }],
    output: [
      { name: 'y', type: { tensorType: { elemType: 1, shape: { dim: [{ dimParam: 'N' }, { dimValue: 2 }] } } } },
    ],
  };
  const model = onnx.ModelProto.fromObject({ irVersion: 7, opsetImport: [{ domain: '', version: 13 }], graph });
  return new Map([
    ['program.spn', Buffer.from('module @tiny\n')],
    ['kernels/program.wasm', copyModule()],
    ['weights.safetensors', writeSafetensors(new Map([['w', { type: tensor('f32', [1]), data: Float32Array.of(7) }]]))],
    ['model.onnx', new Uint8Array(onnx.ModelProto.encode(model).finish())],
  ]);
}

export function tinyManifest(files: Files): Manifest {
  return {
    schema: SCHEMA_VERSION,
    generator: 'spngdc 0.1.0',
    model: { name: 'tiny', file: 'tiny.onnx', sha256: '0'.repeat(64) },
    optimizer: 'spngd',
    batch: { train: 1, eval: 1 },
    seed: 3,
    loss: { kind: 'mean-squared-error', target: { dtype: 'f32', shape: [1, 1] } },
    inputs: [{ name: 'x', dtype: 'f32', shape: [1, 2] }],
    outputs: [{ name: 'y', dtype: 'f32', shape: [1, 2] }],
    parameters: [{ name: 'w', trainable: true, rule: 'plain gradient', why: 'a made-up model', shape: [1] }],
    state: [
      {
        ...{ name: 'w', dtype: 'f32', shape: [1], layout: 'dense', role: 'parameter', owner: 'all' },
        ...{ lifetime: 'training', checkpoint: true, init: { kind: 'weights' } },
      } as Manifest['state'][number],
    ],
    defaults: {
      ...{ preset: 'default', lr: 0.5, lr_schedule: 'polynomial', lr_power: 1, momentum: 0.9, momentum_rule: 'tied' },
      ...{ damping: 0.01, kl_clip: 0.001, kl_decay: true, weight_rescaling: 'off', weight_decay: 0, epochs: 2 },
    } as Manifest['defaults'],
    functions: { init: {}, train: { metrics: ['loss', 'count'] }, eval: { metrics: ['loss_sum', 'count'] } },
    programs: [
      {
        name: 'tiny',
        target: 'wasm',
        memories: [{ name: 'main', bytes: 256 * 6 }],
        buffers: [
          buffer('w', 0, [1], 'state'),
          buffer('train.x', 1, [1, 2], 'input'),
          buffer('train.lr', 2, [], 'input'),
          buffer('train.metrics', 3, [2], 'output'),
          buffer('eval.x', 4, [1, 2], 'input'),
          buffer('eval.metrics', 5, [2], 'output'),
        ],
        kernels: [kernel('copy1', 1), kernel('copy2', 2)],
        functions: [
          {
            name: 'train',
            inputs: [
              { name: 'x', buffer: 'train.x' },
              { name: 'lr', buffer: 'train.lr' },
            ],
            outputs: [{ name: 'metrics', buffer: 'train.metrics' }],
            segments: [
              step('s0', 'copy2', ['train.x', 'train.metrics']),
              { ...step('s1', 'copy1', ['train.lr', 'w']), name: 'refresh', guard: 'due(w)' },
            ],
          },
          {
            name: 'eval',
            inputs: [{ name: 'x', buffer: 'eval.x' }],
            outputs: [{ name: 'metrics', buffer: 'eval.metrics' }],
            segments: [step('s0', 'copy2', ['eval.x', 'eval.metrics'])],
          },
          { name: 'init', inputs: [], outputs: [], segments: [] },
        ],
        plan: { peak: 1536, liveBound: 1536 },
      },
    ],
    files: Object.fromEntries(
      [...files].map(([p, b]) => [p, { bytes: b.length, sha256: createHash('sha256').update(b).digest('hex') }]),
    ),
  };
}

export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), 'spngdc-test-'));
}

/** Writes the artifact to a new folder; `change` edits the manifest's JSON (any mutation) after the hashes are taken. */
// biome-ignore lint/suspicious/noExplicitAny: tests break the manifest in ways that its type forbids
export function writeTiny(change: (manifest: any) => void = () => {}, files: Files = tinyFiles()): string {
  const dir = join(temporaryFolder(), 'tiny.spngd');
  const manifest = JSON.parse(Buffer.from(encodeManifest(tinyManifest(files))).toString());
  change(manifest);
  for (const [path, bytes] of [...files, ['manifest.json', Buffer.from(JSON.stringify(manifest))] as const]) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), bytes);
  }
  return dir;
}

/**
 * Writes an artifact whose kernels are slow where the scratch memory is at `firstScratch`, and trap elsewhere. By default it is
 * where the first thread's is: behind the six buffers of 256 bytes.
 */
export function writeTrapping(firstScratch = 6 * 256): string {
  const leb = (n: number): number[] => (n < 64 ? [n] : [(n & 127) | 128, ...leb(n >> 7)]);
  const body = [
    // One local: a counter.
    ...[0x01, 0x01, 0x7f],
    // if (scratch != firstScratch) unreachable
    ...[0x20, 2, 0x41, ...leb(firstScratch), 0x47, 0x04, 0x40, 0x00, 0x0b],
    // counter = 2^22; do counter -= 1 while (counter)
    ...[0x41, ...leb(2 ** 22), 0x21, 5, 0x03, 0x40, 0x20, 5, 0x41, 1, 0x6b, 0x22, 5, 0x0d, 0, 0x0b, 0x0b],
  ];
  return writeTiny(
    ({ programs: [program] }) => {
      // Worth a thread.
      for (const k of program.kernels) Object.assign(k, { grid: 64, cost: 1 });
    },
    tinyFiles().set('kernels/program.wasm', copyModule({ body })),
  );
}

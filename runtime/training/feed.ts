/**
 * Puts a batch into the input buffers of a function: examples, targets, and which rows are real. Rows that a short batch
 * lacks have `valid` 0, so that they count in no mean. Scalars are written where the function takes them.
 */
import type { Manifest } from '../../ir/artifact.js';
import type { Batch } from '../data/batch.js';
import { dataInput } from '../data/dataset.js';
import { type Device, everyGuard } from '../devices/device.js';

export type Scalars = Readonly<Record<string, number>>;

export class Feed {
  private readonly inputs: ReadonlyMap<string, string>;
  private readonly valid: Float32Array;
  private readonly dataName: string;
  private readonly metricsBuffer: string;
  private readonly metricNames: readonly string[];

  constructor(
    private readonly device: Device,
    manifest: Manifest,
    private readonly func: 'train' | 'eval',
  ) {
    const f = device.program.functions.find((fn) => fn.name === func)!;
    this.inputs = new Map(f.inputs.map((i) => [i.name, i.buffer]));
    this.dataName = dataInput(manifest).name;
    this.valid = new Float32Array(manifest.batch[func]);
    this.metricsBuffer = f.outputs.find((o) => o.name === 'metrics')!.buffer;
    this.metricNames = manifest.functions[func].metrics!;
  }

  /** Writes a batch and the scalars, runs what is on of the function, and returns its metrics by name. */
  async run(batch: Batch, rng: Int32Array, scalars: Scalars, guards = everyGuard): Promise<Record<string, number>> {
    this.valid.fill(0).fill(1, 0, batch.count);
    this.write(this.dataName, batch.examples);
    this.write('target', batch.targets);
    this.write('valid', this.valid);
    this.write('rng', rng);
    for (const [name, value] of Object.entries(scalars)) this.write(name, Float32Array.of(value));
    await this.device.run(this.func, guards);
    const values = await this.device.read(this.metricsBuffer);
    return Object.fromEntries(this.metricNames.map((name, i) => [name, Number(values[i])]));
  }

  /** A function lists only the inputs that it uses. */
  private write(name: string, data: Float32Array | Int32Array | Uint8Array): void {
    const buffer = this.inputs.get(name);
    if (buffer !== undefined) this.device.write(buffer, data);
  }
}

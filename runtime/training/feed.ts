/**
 * A function of the program from the host's side: what goes into its inputs, and its metrics. Rows that a short batch lacks have
 * `valid` 0, so that they count in no mean. A function lists only the inputs that it uses; others are not written.
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
  private readonly metricsBuffer: string | undefined;
  private readonly metricNames: readonly string[];

  constructor(
    private readonly device: Device,
    manifest: Manifest,
    private readonly func: 'train' | 'accumulate' | 'eval',
  ) {
    const f = device.program.functions.find((fn) => fn.name === func)!;
    this.inputs = new Map(f.inputs.map((i) => [i.name, i.buffer]));
    this.dataName = dataInput(manifest).name;
    this.valid = new Float32Array(manifest.batch[func === 'eval' ? 'eval' : 'train']);
    this.metricsBuffer = f.outputs.find((o) => o.name === 'metrics')?.buffer;
    this.metricNames = manifest.functions[func].metrics ?? [];
  }

  /** Examples, targets, which rows are real, and where the draws of random numbers are. */
  batch({ examples, targets, count }: Batch, rng: Int32Array): void {
    this.valid.fill(0).fill(1, 0, count);
    this.write(this.dataName, examples);
    this.write('target', targets);
    this.write('valid', this.valid);
    this.write('rng', rng);
  }

  scalars(scalars: Scalars): void {
    for (const [name, value] of Object.entries(scalars)) this.write(name, Float32Array.of(value));
  }

  /** Runs what is on of the function. */
  run(guards = everyGuard): void | Promise<void> {
    return this.device.run(this.func, guards);
  }

  /** The metrics of the last run, by name. */
  async metrics(): Promise<Record<string, number>> {
    if (this.metricsBuffer === undefined) return {};
    const values = await this.device.read(this.metricsBuffer);
    return Object.fromEntries(this.metricNames.map((name, i) => [name, Number(values[i])]));
  }

  private write(name: string, data: Float32Array | Int32Array | Uint8Array): void {
    const buffer = this.inputs.get(name);
    if (buffer !== undefined) this.device.write(buffer, data);
  }
}

/**
 * What `run --profile` gathers: each run of the device is summed up and traced.
 */
import type { Device } from '../runtime/devices/device.js';
import { measureCeilings } from '../runtime/devices/wasm/ceilings.js';
import { WasmDevice } from '../runtime/devices/wasm/device.js';
import type { ProfiledRun } from '../runtime/devices/wasm/records.js';
import { Profile, type ProfileReport } from '../runtime/profile/profile.js';
import { Trace } from '../runtime/profile/trace.js';

export class RunProfile {
  private constructor(
    private readonly sums: Profile,
    private readonly spans: Trace,
    private readonly notice: (text: string) => void,
  ) {}

  /** Measures what the machine reaches; undefined, and a notice, where the device is not the processor. */
  static async begin(device: Device, notice: (text: string) => void): Promise<RunProfile | undefined> {
    if (!(device instanceof WasmDevice)) {
      notice(`--profile times the kernels of the processor only, and this run is on ${device.description}`);
      return undefined;
    }
    const { program, threads } = device;
    const ceilings = await measureCeilings(program, { threads });
    return new RunProfile(new Profile(program, threads, ceilings), new Trace(program, threads), notice);
  }

  add(run: ProfiledRun): void {
    this.sums.add(run);
    this.spans.add(run);
  }

  report(): ProfileReport {
    return this.sums.report();
  }

  /** The trace file. */
  trace(): Uint8Array {
    if (this.spans.left > 0) this.notice(`the trace ends ${this.spans.left} calls of the program before the run does`);
    return new TextEncoder().encode(this.spans.json());
  }
}

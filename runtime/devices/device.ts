/**
 * What the training loop asks of a device. A device is loaded once with an artifact's program and keeps all its buffers;
 * a step on it is: write the inputs, run a function, read one small vector.
 */
import type { TensorData } from '../../ir/graph.js';
import type { Program } from '../../ir/program.js';

/** Stored elements of a buffer; f16 as bits, bool as bytes 0 and 1. */
export type ArrayData = TensorData['data'] | Uint16Array;

/** Says of each guard whether it is on in this call; segments whose guard is off are not dispatched. */
export type Guards = (guard: string) => boolean;
export const everyGuard: Guards = () => true;

export interface Device {
  /** What it was loaded with. */
  readonly program: Program;
  /** For people: 'WebAssembly SIMD, 1 thread'. */
  readonly description: string;
  /** Dispatches, and submissions of work to a queue, since the device was loaded. A CPU has no queue. */
  readonly dispatches: number;
  readonly submissions: number;
  /** Sets a buffer; `data` has its element type and its stored number of elements. */
  write(buffer: string, data: ArrayData): void;
  /** A copy of a buffer's stored elements (symmetric state is packed). */
  read(buffer: string): ArrayData | Promise<ArrayData>;
  /** Gives back what the device holds. */
  close(): void;
  /** Runs a function's segments in order. Inputs must have been written since the last call: their bytes may be reused. */
  run(name: string, guards?: Guards): void | Promise<void>;
}

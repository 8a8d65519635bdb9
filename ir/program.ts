/**
 * Program IR: what a device executes. Buffers have their place in a memory; a function is a list of segments;
 * a segment is skipped by the host while its guard is off; a step names a slot with one or more kernels for it,
 * of which the runtime takes the first that the device can run.
 */
export interface Memory {
  readonly name: string;
  readonly bytes: number;
}

export interface Buffer {
  /** Unique; state buffers have the name of their state entry, input buffers `function.input`. */
  readonly name: string;
  readonly memory: string;
  /** Bytes from the memory's beginning; a multiple of 256. */
  readonly offset: number;
  readonly dtype: 'f32' | 'f16' | 'i32' | 'u8' | 'bool' | 'i64';
  readonly layout: 'dense' | 'packed-lower';
  readonly shape: readonly number[];
  /** Bytes that it takes. */
  readonly bytes: number;
  /** `window`: a range of a memory that a step takes whole, with other buffers in it. */
  readonly role: 'state' | 'input' | 'output' | 'constant' | 'transient' | 'window';
}

export interface Requirement {
  readonly features: readonly string[];
  /** Smallest acceptable value of a device limit. */
  readonly limits: Readonly<Record<string, number>>;
}

export interface Step {
  /** Position in the function's text, for example `s12`. */
  readonly slot: string;
  /** Names of kernels that all compute it. */
  readonly variants: readonly string[];
  /** Buffers, in the order of the kernel's parameters. */
  readonly args: readonly string[];
  /** The user's source of what it computes; a kernel's own is that of the first step that needed it. */
  readonly source: string;
}

export interface Segment {
  readonly name: string;
  /** Absent: always runs. */
  readonly guard?: string;
  /** How many times its steps run, one row behind the other; absent: once. */
  readonly repeat?: number;
  readonly steps: readonly Step[];
}

/** Work under several guards in common steps: they are dispatched where any of the guards is on, and look up which. */
export interface Batch {
  /** Of its segments: on where one of `of` is. */
  readonly guard: string;
  readonly of: readonly string[];
  /** i32, one element for each of `of`: 1 where that is on, else 0. Set by the device before the function runs. */
  readonly buffer: string;
}

export interface ProgramFunction {
  readonly name: string;
  /** Groups of steps between which a GPU waits; absent on other targets. */
  readonly waves?: number;
  readonly inputs: readonly { readonly name: string; readonly buffer: string }[];
  readonly outputs: readonly { readonly name: string; readonly buffer: string }[];
  /** Absent: none. */
  readonly batches?: readonly Batch[];
  readonly segments: readonly Segment[];
}

export interface KernelInfo {
  readonly name: string;
  /** Extent of the outermost grid loop: what a device may split. */
  readonly grid: number;
  /** Bytes of group and register memory that one worker needs. */
  readonly scratch: number;
  /** For each parameter, whether the kernel leaves it as it is. */
  readonly access: readonly ('read' | 'readwrite')[];
  readonly flops: number;
  readonly bytes: number;
  /** Modelled seconds on the target's reference device. */
  readonly cost: number;
  /** What a device must have to run it. */
  readonly requires: Requirement;
  /** The graph values that it computes, and the user's source they came from. */
  readonly computes: readonly string[];
  readonly source: string;
  /** Why fusion stopped here. */
  readonly stopped: string;
  /** How a GPU runs it; absent on other targets. */
  readonly dispatch?: {
    /** Workgroups in each dimension. */
    readonly workgroups: readonly [number, number];
  };
}

export interface Program {
  readonly name: string;
  readonly target: 'wasm' | 'webgpu';
  readonly memories: readonly Memory[];
  readonly buffers: readonly Buffer[];
  readonly kernels: readonly KernelInfo[];
  readonly functions: readonly ProgramFunction[];
  readonly plan: {
    /** Bytes of all memories as planned. */
    readonly peak: number;
    /** Lower bound: largest sum of the sizes of values that are alive at one step, state included. */
    readonly liveBound: number;
  };
}

/** Dispatches of a function in which every guard is on. */
export const dispatchesOf = (f: ProgramFunction): number =>
  f.segments.reduce((n, s) => n + s.steps.length * (s.repeat ?? 1), 0);

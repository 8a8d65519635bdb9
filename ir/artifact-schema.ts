/**
 * The schema of an artifact's manifest.json. A manifest is untrusted input: the schema settles every type, and forbids
 * unknown keys and names that could leave the folder; bounds between parts (buffers inside memories, arguments of steps)
 * are the runtime's to check.
 */
import { z } from 'zod';
import { SCHEMA_VERSION } from './artifact.js';
import { fishers } from './fisher.js';
import { learningRateKinds, momentumRules, optimizers, weightRescalings } from './presets.js';
import type { Program } from './program.js';
import { stalenessKinds } from './staleness.js';
import { dtypes } from './types.js';

const size = z.int().nonnegative();
const name = z.string().min(1);
const dtype = z.enum(dtypes);
const shape = z.array(size);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'not a SHA-256 in lower-case hex');
const layout = z.enum(['dense', 'packed-lower']);

/** A name that is also the beginning of a file's name: no separators, no control characters, not `.` or `..`. */
const fileStem = z.string().regex(/^(?!\.{1,2}$)[^/\\\p{Cc}]+$/u, 'not usable as a file name');
/** A relative path of plain segments: cannot leave the folder. */
const path = z
  .string()
  .regex(/^(?!\.{1,2}(\/|$))[\w.+-]+(\/(?!\.{1,2}(\/|$))[\w.+-]+)*$/, 'not a plain relative path inside the artifact');

export const tensorInfo = z.strictObject({ name, dtype, shape });

export const programSchema: z.ZodType<Program> = z.strictObject({
  name,
  target: z.enum(['wasm', 'webgpu']),
  memories: z.array(z.strictObject({ name, bytes: size })),
  buffers: z.array(
    z.strictObject({
      name,
      memory: name,
      offset: size,
      dtype,
      layout,
      shape,
      bytes: size,
      role: z.enum(['state', 'input', 'output', 'constant', 'transient', 'window']),
    }),
  ),
  kernels: z.array(
    z.strictObject({
      name,
      grid: size,
      scratch: size,
      access: z.array(z.enum(['read', 'readwrite'])),
      flops: z.number().nonnegative(),
      bytes: z.number().nonnegative(),
      cost: z.number(),
      requires: z.strictObject({ features: z.array(z.string()), limits: z.record(z.string(), z.number()) }),
      computes: z.array(z.string()),
      source: z.string(),
      stopped: z.string(),
      dispatch: z
        .strictObject({
          workgroups: z.tuple([z.int().min(1).max(65535), z.int().min(1).max(65535)]),
        })
        .optional(),
    }),
  ),
  functions: z.array(
    z.strictObject({
      name,
      waves: size.optional(),
      inputs: z.array(z.strictObject({ name, buffer: name })),
      outputs: z.array(z.strictObject({ name, buffer: name })),
      batches: z.array(z.strictObject({ guard: name, of: z.array(name).min(1), buffer: name })).optional(),
      segments: z.array(
        z.strictObject({
          name,
          guard: name.optional(),
          repeat: z.int().min(1).max(65_536).optional(),
          steps: z.array(
            z.strictObject({
              slot: name,
              variants: z.array(name).min(1),
              args: z.array(name),
              source: z.string(),
            }),
          ),
        }),
      ),
    }),
  ),
  plan: z.strictObject({ peak: size, liveBound: size }),
});

/** Hyper-parameters as the compiler resolved them; `run` uses each unless an option replaces it. Further keys are reported, not read. */
export const defaultsSchema = z
  .object({
    preset: z.string(),
    /** Learning rate eta0 at the first step. */
    lr: z.number().nonnegative(),
    lr_schedule: z.enum(learningRateKinds),
    /** Exponent p_decay of the polynomial schedule. */
    lr_power: z.number().nonnegative(),
    /** e_start and e_end, in epochs; a run that ends later than e_end (absent: 0) moves it to its own end. */
    lr_start: z.number().nonnegative().optional(),
    lr_end: z.number().nonnegative().optional(),
    /** Epochs in which the learning rate rises linearly, from this fraction of eta0. */
    warmup_epochs: z.number().nonnegative().optional(),
    warmup_from: z.number().min(0).max(1).optional(),
    momentum: z.number().min(0),
    momentum_rule: z.enum(momentumRules),
    /** lambda; absent where no curvature is used. */
    damping: z.number().nonnegative().optional(),
    /** What lambda begins with, and the epochs in which it comes to its value; 0: it is constant. */
    damping_from: z.number().nonnegative().optional(),
    damping_warmup: z.number().nonnegative().optional(),
    /** kappa of the KL clip; absent or 0: the program has no clip. */
    kl_clip: z.number().nonnegative().optional(),
    /** Whether kappa decays with (lr/lr0)^2. */
    kl_decay: z.boolean().optional(),
    weight_rescaling: z.enum(weightRescalings).optional(),
    /** eta of LARS. */
    trust_coefficient: z.number().nonnegative().optional(),
    /** 0: the program has none. */
    weight_decay: z.number().nonnegative(),
    epochs: z.number().positive(),
    /** Micro-batches in a step; absent: the program does not accumulate, a step is one batch. */
    accumulate: z.int().positive().optional(),
    /** alpha of running mixup; absent or 0: none. */
    mixup: z.number().nonnegative().optional(),
    /** Which labels the curvature is by; absent: where no curvature is used. */
    fisher: z.enum(fishers).optional(),
    /** Absent: off. */
    staleness: z.enum(stalenessKinds).optional(),
    /** Bound on the relative change of a statistic that counts as similar; adaptive only. */
    staleness_alpha: z.number().nonnegative().optional(),
    /** Steps from one refresh to the next; fixed only. */
    staleness_interval: z.int().positive().optional(),
  })
  .catchall(z.union([z.string(), z.number(), z.boolean(), z.null()]));

export const manifestSchema = z.strictObject({
  schema: z.literal(SCHEMA_VERSION),
  generator: z.string(),
  model: z.strictObject({ name: fileStem, file: z.string(), sha256 }),
  optimizer: z.enum(optimizers),
  batch: z.strictObject({ train: z.int().positive(), eval: z.int().positive() }),
  seed: z.int(),
  loss: z.strictObject({
    kind: z.enum(['softmax-cross-entropy', 'mean-squared-error', 'output']),
    /** Absent where the model computes its own loss and takes no target. */
    target: z.strictObject({ dtype, shape, classes: z.int().positive().optional() }).optional(),
  }),
  /** Data inputs, shapes with the training batch first. */
  inputs: z.array(tensorInfo),
  /** What `predict` returns, shapes with the evaluation batch. */
  outputs: z.array(tensorInfo),
  parameters: z.array(z.strictObject({ name, trainable: z.boolean(), rule: z.string(), why: z.string(), shape })),
  state: z.array(
    z.strictObject({
      name,
      dtype,
      shape,
      layout,
      role: z.enum([
        'parameter',
        'constant',
        'velocity',
        'running-statistic',
        'factor',
        'inverse',
        'history',
        'accumulator',
        'schedule',
        'counter',
      ]),
      owner: z.union([z.literal('all'), size]),
      lifetime: z.enum(['artifact', 'training']),
      checkpoint: z.boolean(),
      init: z.discriminatedUnion('kind', [
        z.strictObject({ kind: z.literal('weights') }),
        z.strictObject({ kind: z.literal('fill'), value: z.number() }),
      ]),
      of: name.optional(),
    }),
  ),
  defaults: defaultsSchema,
  /** For each function, what the elements of its output `metrics` are. */
  functions: z.record(z.string(), z.strictObject({ metrics: z.array(name).optional() })),
  /** One for each target that it was compiled for. */
  programs: z.array(programSchema).min(1),
  files: z.record(path, z.strictObject({ bytes: size, sha256 })),
});

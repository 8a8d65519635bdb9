/**
 * Presets: hyper-parameters by name, resolved for an optimizer and a batch size. Pure data, seen by the compiler (which writes
 * them into the manifest) and by the runtime (`run --preset` takes another one): a change of numbers needs no compilation.
 */
import type { Defaults } from './artifact.js';
import { presetNotForOptimizer } from './diagnostics/command-line.js';
import type { Staleness } from './staleness.js';

export const optimizers = ['spngd', 'sgd', 'lars'] as const;
export type Optimizer = (typeof optimizers)[number];
export const learningRateKinds = ['polynomial', 'constant'] as const;
export const momentumRules = ['tied', 'corrected', 'constant'] as const;
export type MomentumRule = (typeof momentumRules)[number];
export const weightRescalings = ['off', 'shrink', 'always'] as const;
export type WeightRescaling = (typeof weightRescalings)[number];

type Paper = readonly [
  mixup: number,
  power: number,
  start: number,
  end: number,
  lr: number,
  momentum: number,
  damping: number,
  epochs: number,
  staleness: Staleness,
];

/**
 * SP-NGD Table 2, ResNet-50 on ImageNet: alpha_mixup, p_decay, e_start, e_end, eta0, m0, lambda; epochs after Table 1 (steps times
 * batch by 1,281,167 images, whole); staleness as in Table 1, whose two largest batches ran without it.
 */
const paper = {
  'sp-ngd-4k': [0.4, 11, 1, 53, 8.18e-3, 0.997, 2.5e-4, 35, 'adaptive'],
  'sp-ngd-8k': [0.4, 8, 1, 53.5, 1.25e-2, 0.993, 2.5e-4, 35, 'adaptive'],
  'sp-ngd-16k': [0.4, 8, 1, 53.5, 2.5e-2, 0.985, 2.5e-4, 35, 'adaptive'],
  'sp-ngd-32k': [0.6, 3.5, 1.5, 49.5, 3e-2, 0.97, 2e-4, 45, 'adaptive'],
  'sp-ngd-64k': [0.6, 2.9, 2, 64.5, 4e-2, 0.95, 1.5e-4, 60, 'off'],
  'sp-ngd-128k': [1, 2.9, 3, 100, 7e-2, 0.93, 1e-4, 90, 'off'],
} as const satisfies Record<string, Paper>;

export type PresetName = 'default' | keyof typeof paper;
export const presetNames = ['default', ...Object.keys(paper)] as readonly PresetName[];

/** Learning rate of natural gradient up to a batch size: our own study of small nets at batch 64 to 16,384. */
const spngdRates: readonly (readonly [number, number])[] = [
  [64, 0.02],
  [256, 0.05],
  [4096, 0.1],
  [Number.POSITIVE_INFINITY, 0.25],
];

/**
 * Bound of its steps in KL divergence. The last: MNIST in 20 steps of 16,384 reaches 97.6% with it, and 96.7% with 1e-2, whatever the
 * learning rate, since the clip holds in every step.
 */
const spngdClips: typeof spngdRates = [
  [256, 1e-3],
  [4096, 1e-2],
  [Number.POSITIVE_INFINITY, 3e-2],
];

const EPOCHS = 10;
const constantLambda = { damping_from: 0, damping_warmup: 0 } as const;

/**
 * Hyper-parameters in the order of the manifest's schema. `default` has a meaning for each optimizer; the presets of the paper
 * are for spngd.
 * @param batch examples in a step
 * @throws UserError E605 where the preset is for another optimizer
 */
export function resolvePreset(name: PresetName, optimizer: Optimizer, batch: number): Defaults {
  if (name !== 'default') {
    if (optimizer !== 'spngd') throw presetNotForOptimizer(name, optimizer);
    return paperPreset(name);
  }
  return { spngd, sgd, lars }[optimizer](batch);
}

function paperPreset(name: keyof typeof paper): Defaults {
  const [mixup, power, start, end, lr, momentum, damping, epochs, staleness] = paper[name];
  return {
    preset: name,
    lr,
    lr_schedule: 'polynomial',
    lr_power: power,
    lr_start: start,
    lr_end: end,
    warmup_epochs: 0,
    warmup_from: 1,
    momentum,
    momentum_rule: 'tied',
    damping,
    ...constantLambda,
    kl_clip: 0,
    kl_decay: true,
    weight_rescaling: 'always',
    weight_decay: 0,
    epochs,
    mixup,
    staleness,
  };
}

/** What trained small nets: damping, learning rate and clip of our own study. */
function spngd(batch: number): Defaults {
  return {
    preset: 'default',
    lr: spngdRates.find(([upTo]) => batch <= upTo)![1],
    lr_schedule: 'polynomial',
    lr_power: 1,
    lr_start: 0,
    lr_end: 0,
    warmup_epochs: 0,
    warmup_from: 1,
    momentum: 0.9,
    momentum_rule: 'tied',
    damping: 1e-2,
    ...constantLambda,
    kl_clip: spngdClips.find(([upTo]) => batch <= upTo)![1],
    kl_decay: true,
    // Never changes weights that came trained; 'shrink' did as well in the study.
    weight_rescaling: 'off',
    weight_decay: 0,
    epochs: EPOCHS,
  };
}

/**
 * Goyal et al., "Accurate, Large Minibatch SGD" (arXiv 1706.02677): 0.1 for each 256 examples (linear scaling), reached by a
 * gradual warm-up from 0.1, momentum corrected where the rate changes. Their warm-up is 5 of 90 epochs; here 1 of 10. Scaled no
 * further than 0.8; nets without BatchNorm may want less still: the MNIST net of the tests does not train with 0.4 at batch 4,096.
 */
function sgd(batch: number): Defaults {
  const lr = Math.min((0.1 * batch) / 256, 0.8);
  return {
    preset: 'default',
    lr,
    lr_schedule: 'polynomial',
    lr_power: 1,
    lr_start: 0,
    lr_end: 0,
    warmup_epochs: batch > 256 ? 1 : 0,
    warmup_from: Math.min(1, 0.1 / lr),
    momentum: 0.9,
    momentum_rule: 'corrected',
    weight_decay: 1e-4,
    epochs: EPOCHS,
  };
}

/**
 * You et al., "Large Batch Training of Convolutional Networks" (arXiv 1708.03888): polynomial decay of power 2, and a warm-up for
 * large batches. Steps are relative to weights, so the learning rate does not grow with the batch; it is small enough for what has
 * no trust ratio (biases, scales, shifts), and the trust coefficient, theirs being 0.001 for 90 epochs of ImageNet, what trains small
 * nets in tens of steps.
 */
function lars(batch: number): Defaults {
  const large = batch > 256;
  return {
    preset: 'default',
    lr: 0.4,
    lr_schedule: 'polynomial',
    lr_power: 2,
    lr_start: 0,
    lr_end: 0,
    warmup_epochs: large ? 1 : 0,
    warmup_from: large ? 0.1 : 1,
    momentum: 0.9,
    momentum_rule: 'constant',
    trust_coefficient: 0.05,
    weight_decay: 1e-4,
    epochs: EPOCHS,
  };
}

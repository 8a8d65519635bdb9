/**
 * What changes from step to step without the device's knowledge: learning rate (SP-NGD eq 21), momentum (eq 22), damping, the bound
 * of the KL clip. All are functions of the fractional epoch e = step / steps per epoch.
 */
import type { MomentumRule } from '../../ir/presets.js';

export interface Schedule {
  readonly kind: 'polynomial' | 'constant';
  /** eta0. */
  readonly lr: number;
  /** p_decay. */
  readonly power: number;
  /** e_start and e_end, in epochs. */
  readonly start: number;
  readonly end: number;
  /** Epochs of the gradual warm-up, and the fraction of eta0 that it begins with. */
  readonly warmup: number;
  readonly warmupFrom: number;
}

/**
 * eta(e) = eta0 (1 - (e - e_start) / (e_end - e_start))^p (eq 21), held at eta0 before e_start, where the formula would
 * exceed it, and at 0 after e_end. During a warm-up it rises linearly to eta0 instead (Goyal et al., 2.2), and e_start is not before
 * its end.
 */
export function learningRate(s: Schedule, epoch: number): number {
  if (epoch < s.warmup) return s.lr * (s.warmupFrom + (1 - s.warmupFrom) * (epoch / s.warmup));
  const start = Math.max(s.start, s.warmup);
  if (s.kind === 'constant' || epoch <= start) return s.lr;
  if (epoch >= s.end) return 0;
  return s.lr * (1 - (epoch - start) / (s.end - start)) ** s.power;
}

/**
 * `tied`: m(e) = (m0 / eta0) eta(e) (eq 22). `corrected`: m0 eta(e) / eta(e of the step before), as the authors' code has it and Goyal
 * et al. (remark 2): a velocity that holds the learning rate goes on as if it had been built up with today's. `constant`: m0.
 * @param before the epoch of the step before; negative where this is the first
 */
export function momentumAt(rule: MomentumRule, m0: number, s: Schedule, epoch: number, before: number): number {
  if (rule === 'constant' || s.lr === 0) return m0;
  if (rule === 'tied') return (m0 / s.lr) * learningRate(s, epoch);
  const previous = before < 0 ? 0 : learningRate(s, before);
  return previous === 0 ? m0 : (m0 * learningRate(s, epoch)) / previous;
}

export interface Damping {
  /** lambda. */
  readonly value: number;
  /** Where it begins, and the epochs in which it comes to its value; 0 epochs: it is constant. */
  readonly from: number;
  readonly warmup: number;
}

/**
 * lambda, or on its way there: a recursion of every step, lambda <- (1 - alpha) lambda + alpha lambda_target with
 * alpha = 2 log10(lambda_0 / lambda_target) / (steps of the warm-up) (Osawa et al., CVPR 2019), in closed form.
 */
export function dampingAt(d: Damping, epoch: number, stepsPerEpoch: number): number {
  if (d.warmup === 0 || d.from <= 0 || d.value <= 0) return d.value;
  const alpha = Math.min(1, Math.abs(2 * Math.log10(d.from / d.value)) / (d.warmup * stepsPerEpoch));
  return d.value + (d.from - d.value) * (1 - alpha) ** (epoch * stepsPerEpoch);
}

/** kappa, or kappa (eta/eta0)^2: a constant bound that is always active would cancel the learning rate's decay. */
export function klBound(kappa: number, decays: boolean, s: Schedule, epoch: number): number {
  if (!decays || s.lr === 0) return kappa;
  return kappa * (learningRate(s, epoch) / s.lr) ** 2;
}

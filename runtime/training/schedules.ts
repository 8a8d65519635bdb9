/**
 * What changes from step to step without the device's knowledge: learning rate (sp-ngd eq 21), momentum (eq 22), the bound of the
 * KL clip. All are functions of the fractional epoch e = step / steps per epoch.
 */

export interface Schedule {
  readonly kind: 'polynomial' | 'constant';
  /** eta0. */
  readonly lr: number;
  /** p_decay. */
  readonly power: number;
  /** e_start and e_end, in epochs. */
  readonly start: number;
  readonly end: number;
}

/**
 * eta(e) = eta0 (1 - (e - e_start) / (e_end - e_start))^p (eq 21), held at eta0 before e_start, where the formula would
 * exceed it, and at 0 after e_end.
 */
export function learningRate(s: Schedule, epoch: number): number {
  if (s.kind === 'constant' || epoch <= s.start) return s.lr;
  if (epoch >= s.end) return 0;
  return s.lr * (1 - (epoch - s.start) / (s.end - s.start)) ** s.power;
}

/** `tied`: m(e) = (m0 / eta0) eta(e) (eq 22). `constant`: m0. */
export function momentumAt(rule: 'tied' | 'constant', m0: number, s: Schedule, epoch: number): number {
  if (rule === 'constant' || s.lr === 0) return m0;
  return (m0 / s.lr) * learningRate(s, epoch);
}

/** kappa, or kappa (eta/eta0)^2: a constant bound that is always active would cancel the learning rate's decay. */
export function klBound(kappa: number, decays: boolean, s: Schedule, epoch: number): number {
  if (!decays || s.lr === 0) return kappa;
  return kappa * (learningRate(s, epoch) / s.lr) ** 2;
}

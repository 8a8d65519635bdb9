/**
 * Which Fisher matrix the statistics are of, and the names that the passes agree on. `empirical`: of the gradients for the
 * training labels (SP-NGD eq 13), which the backward pass gives for nothing. `1mc`: of those for one label an example, drawn from the
 * model's own distribution (SP-NGD 3.2), which takes a second backward pass.
 */
export const fishers = ['empirical', '1mc'] as const;
export type Fisher = (typeof fishers)[number];

/** The loss against drawn labels, an output of `train` until curvature has read its gradients. */
export const SAMPLED_LOSS = 'sampled_loss';
/** Its gradient with respect to a parameter. */
export const sampledGradient = (parameter: string): string => `sampled_gradient(${parameter})`;

/** The guard of the second backward pass. It is on where any guard of a statistic is that reads it. */
export const SAMPLED = 'sampled';

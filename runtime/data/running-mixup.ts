/**
 * Running mixup (SP-NGD eq 18-20): a batch is mixed with the one before, as that was mixed: x~(t) = lambda x(t) + (1 - lambda) x~(t-1),
 * and the labels alike; lambda is drawn from Beta(alpha, alpha) for each example, the larger of lambda and 1 - lambda. What
 * stands in a row before its first example is nothing: that one stays as it is.
 */
import { rowKey, uniform } from '../../ir/random.js';
import type { Batch } from './batch.js';

/** Key of these draws among those of a run. */
const MIXUP = 0x3147;

export class RunningMixup {
  /** x~ and labels of the last batch, and for each row whether it has had an example: it outlives a batch that is shorter. */
  private readonly examples: Float32Array;
  private readonly targets: Float32Array;
  private readonly begun: Float32Array;

  constructor(
    private readonly alpha: number,
    private readonly seed: number,
    private readonly size: number,
    { examples, targets }: Omit<Batch, 'count'>,
  ) {
    this.examples = new Float32Array(examples.length);
    this.targets = new Float32Array(targets.length);
    this.begun = new Float32Array(size);
  }

  /** Mixes batch `t`, in place; `rows` are its examples' numbers in the set. */
  mix(t: number, rows: ArrayLike<number>, batch: Batch): void {
    for (let r = 0; r < batch.count; r++) {
      const own = this.begun[r] === 1 ? mixingShare(this.alpha, rowKey(this.seed, t, MIXUP, rows[r])) : 1;
      blend(batch.examples as Float32Array, this.examples, this.size, r, own);
      blend(batch.targets as Float32Array, this.targets, this.size, r, own);
      this.begun[r] = 1;
    }
  }

  /** The arrays themselves: what a checkpoint reads and sets. */
  carried(): ReadonlyMap<string, Float32Array> {
    return new Map([
      ['mixup.examples', this.examples],
      ['mixup.targets', this.targets],
      ['mixup.begun', this.begun],
    ]);
  }
}

function blend(now: Float32Array, before: Float32Array, rows: number, row: number, own: number): void {
  const width = now.length / rows;
  const other = 1 - own;
  for (let i = row * width; i < (row + 1) * width; i++) now[i] = before[i] = own * now[i] + other * before[i];
}

/** max(lambda, 1 - lambda) for lambda ~ Beta(alpha, alpha), out of the numbers of `key`. */
export function mixingShare(alpha: number, key: number): number {
  let element = 0;
  // In (0, 1].
  const draw = (): number => 1 - uniform(key, element++);
  for (;;) {
    const [u, v] = [draw(), draw()];
    if (alpha > 1) {
      // Rejection from the uniform density: the density is highest at 1/2.
      if (v > (4 * u * (1 - u)) ** (alpha - 1)) continue;
      return Math.max(u, 1 - u);
    }
    // Johnk: x = u^(1/alpha), y = v^(1/alpha); given that x + y <= 1, x / (x + y) is beta-distributed. By logarithms, since a
    // small alpha underflows both.
    if (u ** (1 / alpha) + v ** (1 / alpha) > 1) continue;
    return 1 / (1 + Math.exp(-Math.abs(Math.log(u) - Math.log(v)) / alpha));
  }
}

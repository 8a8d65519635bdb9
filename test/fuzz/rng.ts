/**
 * Seeded choices for generated tests: the same seed gives the same test on every machine.
 */
import { mix32 } from '../../ir/random.js';

export class Rng {
  private counter = 0;

  constructor(private readonly seed: number) {}

  /** Uniform in [0, 1). */
  real(): number {
    return mix32(mix32(this.seed) ^ this.counter++) * 2 ** -32;
  }

  /** Uniform integer in [least, most]. */
  int(least: number, most: number): number {
    return least + Math.floor(this.real() * (most - least + 1));
  }

  pick<T>(list: readonly T[]): T {
    return list[this.int(0, list.length - 1)];
  }

  chance(probability: number): boolean {
    return this.real() < probability;
  }

  list<T>(least: number, most: number, make: (i: number) => T): T[] {
    return Array.from({ length: this.int(least, most) }, (_, i) => make(i));
  }
}

/**
 * Which bytes are taken during which steps: the question of a memory plan, answered without looking at every value. Steps are
 * grouped into spans, spans into larger ones, and so on; each span knows, as disjoint runs of bytes, what is taken in any of
 * its steps, and what is taken in all of them by values that last at least as long. Runs that touch become one, so there are
 * few.
 */

/** Numbers behind a place from which on `splice`, which makes an array of what it removes, moves them faster than a loop. */
const FAR = 24;

/** Disjoint runs of bytes, in order; no two touch. */
class Runs {
  /** Where each begins and where it ends. */
  private readonly bounds: number[] = [];
  /** The run at which the last search ended. */
  private at = 0;

  add(begin: number, end: number): void {
    const { bounds } = this;
    const first = this.firstEndingAt(begin);
    if (first === bounds.length || bounds[first] > end) {
      this.insert(first, begin, end);
      return;
    }
    let last = first;
    while (last + 2 < bounds.length && bounds[last + 2] <= end) last += 2;
    bounds[first] = Math.min(begin, bounds[first]);
    bounds[first + 1] = Math.max(end, bounds[last + 1]);
    if (last > first) bounds.splice(first + 2, last - first);
  }

  private insert(place: number, begin: number, end: number): void {
    const { bounds } = this;
    const { length } = bounds;
    if (length - place > FAR) {
      bounds.splice(place, 0, begin, end);
      return;
    }
    bounds.push(begin, end);
    if (place === length) return;
    for (let i = length - 1; i >= place; i--) bounds[i + 2] = bounds[i];
    bounds[place] = begin;
    bounds[place + 1] = end;
  }

  /** Before a row of calls of `fit`. */
  rewind(): void {
    this.at = 0;
  }

  /** The lowest offset, from `offset` on, at which `size` bytes are free here; `offset` does not fall from call to call. */
  fit(offset: number, size: number): number {
    const { bounds } = this;
    const { length } = bounds;
    let i = this.at;
    if (i < length && bounds[length - 1] <= offset) i = length;
    else if (i < length && bounds[i + 1] <= offset) {
      // Steps that double, then halve again, to the last run that ends at `offset` or before it.
      let step = 2;
      for (; i + step < length && bounds[i + step + 1] <= offset; step *= 2) i += step;
      for (; step >= 2; step >>= 1) if (i + step < length && bounds[i + step + 1] <= offset) i += step;
      i += 2;
    }
    let fit = offset;
    for (; i < length && bounds[i] < fit + size; i += 2) fit = bounds[i + 1];
    this.at = i;
    return fit;
  }

  /** The first run that ends at `place` or behind it. */
  private firstEndingAt(place: number): number {
    const { bounds } = this;
    let low = 0;
    let high = bounds.length >> 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (bounds[2 * middle + 1] < place) low = middle + 1;
      else high = middle;
    }
    return 2 * low;
  }
}

/** Eight spans in a span. Most values last a few steps: the flatter the tree, the fewer spans hold them. */
const BITS = 3;
const LAST = (1 << BITS) - 1;

export class Occupancy {
  /** By level, then by place, of a span: what is taken in any of its steps. The first level is single steps. Absent: nothing is. */
  private readonly any: (Runs | undefined)[][] = [];
  /** What values that last at least as long as the span take in all of its steps: of a single step the same. */
  private readonly all: (Runs | undefined)[][] = [];
  /** Those that a question is about. */
  private readonly runs: Runs[] = [];

  /** @param steps how many there are: 0 to steps - 1 */
  constructor(steps: number) {
    for (let count = Math.max(1, steps); ; count = (count + LAST) >> BITS) {
      const any = new Array(count).fill(undefined);
      this.all.push(this.any.length === 0 ? any : new Array(count).fill(undefined));
      this.any.push(any);
      if (count === 1) break;
    }
  }

  /** The lowest offset at which `size` bytes are free from step `from` to step `to`. */
  lowest(from: number, to: number, size: number): number {
    const { runs, all } = this;
    runs.length = 0;
    this.cover(from, to, false);
    // What lasts longer than the spans that cover these steps is kept by larger ones.
    for (let level = 1, a = from >> BITS, b = to >> BITS; level < all.length; level++, a >>= BITS, b >>= BITS) {
      const first = all[level][a];
      const last = all[level][b];
      if (first) runs.push(first);
      if (last && last !== first) runs.push(last);
    }
    for (let i = 0; i < runs.length; i++) runs[i].rewind();
    let offset = 0;
    // Until all agree, what lasts longest first. Who raised it is asked first from then on: often a few take turns.
    for (let i = runs.length - 1; i >= 0; i--) {
      const asked = runs[i];
      const fit = asked.fit(offset, size);
      if (fit === offset) continue;
      offset = fit;
      for (; i + 1 < runs.length; i++) runs[i] = runs[i + 1];
      runs[i] = asked;
    }
    return offset;
  }

  /** Takes the bytes [begin, end) from step `from` to step `to`. */
  take(from: number, to: number, begin: number, end: number): void {
    if (begin === end) return;
    const { runs, any } = this;
    runs.length = 0;
    this.cover(from, to, true);
    // Larger spans that are covered in part.
    for (let level = 1, a = from >> BITS, b = to >> BITS; level < any.length; level++, a >>= BITS, b >>= BITS) {
      this.make(any[level], a);
      if (a !== b) this.make(any[level], b);
    }
    for (let i = 0; i < runs.length; i++) runs[i].add(begin, end);
  }

  /**
   * Finds the fewest spans that hold exactly the steps `from` to `to`: what is taken in any step of them, or, to `take`, all that
   * is known of them, which is made where it is absent.
   */
  private cover(from: number, to: number, take: boolean): void {
    for (let level = 0, a = from, b = to; a <= b; level++, a >>= BITS, b = ((b + 1) >> BITS) - 1) {
      for (; a <= b && (a & LAST) !== 0; a++) this.visit(level, a, take);
      for (; a <= b && (b & LAST) !== LAST; b--) this.visit(level, b, take);
    }
  }

  private visit(level: number, place: number, take: boolean): void {
    const any = this.any[level];
    if (take) {
      this.make(any, place);
      if (level > 0) this.make(this.all[level], place);
    } else if (any[place]) this.runs.push(any[place]);
  }

  private make(list: (Runs | undefined)[], place: number): void {
    let own = list[place];
    if (!own) {
      own = new Runs();
      list[place] = own;
    }
    this.runs.push(own);
  }
}

/**
 * Which bytes are taken during which steps: the question of a memory plan, answered without looking at every value. Steps are
 * grouped into spans, spans into larger ones, and so on; each span knows, as disjoint runs of bytes, what is taken in any of
 * its steps, and what is taken in all of them by values that last at least as long. Runs that touch become one, so there are
 * few.
 */

/** As `splice`, which makes an array of what it removes. */
function insert(list: number[], at: number, value: number): void {
  list.push(value);
  for (let i = list.length - 1; i > at; i--) list[i] = list[i - 1];
  list[at] = value;
}

/** Disjoint runs of bytes, in order; no two touch. */
class Runs {
  private readonly begins: number[] = [];
  private readonly ends: number[] = [];

  add(begin: number, end: number): void {
    const { begins, ends } = this;
    const first = this.firstEndingAt(begin);
    if (first === begins.length || begins[first] > end) {
      insert(begins, first, begin);
      insert(ends, first, end);
      return;
    }
    begins[first] = Math.min(begins[first], begin);
    ends[first] = Math.max(ends[first], end);
    let after = first + 1;
    for (; after < begins.length && begins[after] <= end; after++) ends[first] = Math.max(ends[first], ends[after]);
    if (after === first + 1) return;
    begins.splice(first + 1, after - first - 1);
    ends.splice(first + 1, after - first - 1);
  }

  /** The lowest offset, from `offset` on, at which `size` bytes are free here. */
  fit(offset: number, size: number): number {
    const { begins, ends } = this;
    let at = offset;
    for (let i = this.firstEndingAt(offset + 1); i < begins.length && begins[i] < at + size; i++) at = ends[i];
    return at;
  }

  /** Index of the first run that ends at `place` or behind it. */
  private firstEndingAt(place: number): number {
    let low = 0;
    let high = this.ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ends[middle] < place) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Spans in a span. Most values last a few steps: the flatter the tree, the fewer spans hold them. */
const FAN_OUT = 8;

/** What is taken in any of its steps; and, by values that last at least as long, in all of them: of a single step the same. */
interface Span {
  readonly any: Runs;
  readonly all: Runs;
}

export class Occupancy {
  /** By level, then by place: spans[0] are single steps. Absent: nothing is taken there. */
  private readonly spans: (Span | undefined)[][] = [];
  /** What was looked up last. */
  private readonly covering: Span[] = [];
  private readonly runs: Runs[] = [];

  /** @param steps how many there are: 0 to steps - 1 */
  constructor(steps: number) {
    for (let count = Math.max(1, steps); ; count = Math.ceil(count / FAN_OUT)) {
      this.spans.push(new Array(count).fill(undefined));
      if (count === 1) break;
    }
  }

  /** The lowest offset at which `size` bytes are free from step `from` to step `to`. */
  lowest(from: number, to: number, size: number): number {
    const { runs, covering } = this;
    this.cover(from, to, false);
    runs.length = 0;
    for (let i = 0; i < covering.length; i++) runs.push(covering[i].any);
    // What lasts longer than the spans that cover these steps is kept by larger ones.
    let a = Math.floor(from / FAN_OUT);
    let b = Math.floor(to / FAN_OUT);
    for (let level = 1; level < this.spans.length; level++) {
      const first = this.spans[level][a];
      const last = this.spans[level][b];
      if (first) runs.push(first.all);
      if (last && last !== first) runs.push(last.all);
      a = Math.floor(a / FAN_OUT);
      b = Math.floor(b / FAN_OUT);
    }
    let offset = 0;
    // Until all agree.
    for (let i = 0, agreed = 0; agreed < runs.length; i = i + 1 === runs.length ? 0 : i + 1) {
      const fit = runs[i].fit(offset, size);
      agreed = fit === offset ? agreed + 1 : 1;
      offset = fit;
    }
    return offset;
  }

  /** Takes the bytes [begin, end) from step `from` to step `to`. */
  take(from: number, to: number, begin: number, end: number): void {
    if (begin === end) return;
    this.cover(from, to, true);
    for (const { any, all } of this.covering) {
      any.add(begin, end);
      if (all !== any) all.add(begin, end);
    }
    // Larger spans that are covered in part.
    let a = Math.floor(from / FAN_OUT);
    let b = Math.floor(to / FAN_OUT);
    for (let level = 1; level < this.spans.length; level++) {
      this.span(level, a).any.add(begin, end);
      if (a !== b) this.span(level, b).any.add(begin, end);
      a = Math.floor(a / FAN_OUT);
      b = Math.floor(b / FAN_OUT);
    }
  }

  private span(level: number, place: number): Span {
    let span = this.spans[level][place];
    if (!span) {
      const any = new Runs();
      span = { any, all: level === 0 ? any : new Runs() };
      this.spans[level][place] = span;
    }
    return span;
  }

  /** Finds the fewest spans that hold exactly the steps `from` to `to`; those that are absent are made, or left out. */
  private cover(from: number, to: number, make: boolean): void {
    this.covering.length = 0;
    let a = from;
    let b = to;
    for (let level = 0; a <= b; level++) {
      for (; a <= b && a % FAN_OUT !== 0; a++) this.visit(level, a, make);
      for (; a <= b && b % FAN_OUT !== FAN_OUT - 1; b--) this.visit(level, b, make);
      a /= FAN_OUT;
      b = (b + 1) / FAN_OUT - 1;
    }
  }

  private visit(level: number, place: number, make: boolean): void {
    const span = make ? this.span(level, place) : this.spans[level][place];
    if (span) this.covering.push(span);
  }
}

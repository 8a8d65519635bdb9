/**
 * A region's structure as a number: equal keys mean equal kernels, whatever the values are called. ResNet-50 repeats its
 * blocks, so about a third of its regions need a kernel of their own; of a deep chain hardly any. A structure is a row of
 * numbers, written in one place for every region, and kept where it is new.
 */
import type { Attrs, Value } from '../../ir/graph.js';
import { shared } from '../../ir/types.js';
import { ValueMap } from '../../ir/value-map.js';
import type { Region } from '../kernels/region.js';

/** Makes keys that can be compared with each other: 0, 1, and so on as new structures come by. */
export class RegionKeys {
  /** By key. */
  private readonly rows: Int32Array[] = [];
  /** Keys by the hash of their rows. */
  private readonly byHash = new Map<number, number[]>();
  /** Numbers of ops, of attributes' names and of what they may be. */
  private readonly words = new Map<unknown, number>();
  private readonly places = new ValueMap<number>();
  /** Places from here on are of this region. */
  private first = 0;
  private next = 0;
  private row = new Int32Array(1024);
  private length = 0;

  keyOf(region: Region): number {
    this.write(region);
    const { row, length } = this;
    let hash = length;
    for (let i = 0; i < length; i++) hash = Math.imul(hash ^ row[i], 0x9e3779b1) ^ (hash >>> 15);
    const alike = this.byHash.get(hash);
    if (alike) for (let i = 0; i < alike.length; i++) if (this.isRow(alike[i])) return alike[i];
    const key = this.rows.length;
    this.rows.push(row.slice(0, length));
    if (alike) alike.push(key);
    else this.byHash.set(hash, [key]);
    return key;
  }

  private isRow(key: number): boolean {
    const { row, length } = this;
    const known = this.rows[key];
    if (known.length !== length) return false;
    for (let i = 0; i < length; i++) if (known[i] !== row[i]) return false;
    return true;
  }

  private write({ anchor, nodes, parts, inputs, outputs }: Region): void {
    this.length = 0;
    this.first = this.next;
    this.values(inputs, true);
    const count = parts?.length ?? 1;
    this.add(count);
    for (let p = 0; p < count; p++) {
      const part = parts ? parts[p] : nodes;
      this.add(part.length);
      for (let n = 0; n < part.length; n++) {
        const node = part[n];
        this.add(2 * this.numberOf(node.op) + Number(node === anchor));
        this.values(node.results, true);
        this.values(node.operands, false);
        this.attributes(node.attrs);
      }
    }
    this.values(outputs, false);
  }

  private values(values: readonly Value[], typed: boolean): void {
    this.add(values.length);
    for (let i = 0; i < values.length; i++) {
      this.add(this.placeOf(values[i]));
      if (typed) this.add(shared(values[i].type).number);
    }
  }

  /** Each attribute's name is above 0, which ends them. */
  private attributes(attrs: Attrs): void {
    for (const name in attrs) {
      const value = attrs[name];
      this.add(1 + this.numberOf(name));
      if (typeof value !== 'object') {
        this.add(-1);
        this.add(this.numberOf(value));
        continue;
      }
      this.add(value.length);
      for (let i = 0; i < value.length; i++) this.add(this.numberOf(value[i]));
    }
    this.add(0);
  }

  /** Values of a region are counted as they appear. */
  private placeOf(v: Value): number {
    let n = this.places.get(v);
    if (n === undefined || n < this.first) {
      n = this.next++;
      this.places.set(v, n);
    }
    return n - this.first;
  }

  private numberOf(word: unknown): number {
    let n = this.words.get(word);
    if (n === undefined) {
      n = this.words.size;
      this.words.set(word, n);
    }
    return n;
  }

  private add(n: number): void {
    if (this.length === this.row.length) {
      const larger = new Int32Array(2 * this.length);
      larger.set(this.row);
      this.row = larger;
    }
    this.row[this.length++] = n;
  }
}

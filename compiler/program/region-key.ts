/**
 * A region's structure as a string: equal keys mean equal kernels, whatever the values are called. ResNet-50 repeats its
 * blocks, so about a third of its regions need a kernel of their own. A key is a row of numbers, each written as one or two
 * characters: it is made for every region, and printed nowhere.
 */
import type { Attrs, Value } from '../../ir/graph.js';
import { shared } from '../../ir/types.js';
import { ValueMap } from '../../ir/value-map.js';
import type { Region } from '../kernels/region.js';

/** Makes keys that can be compared with each other. */
export class RegionKeys {
  /** Numbers of ops and of lists of attributes. */
  private readonly texts = new Map<string, number>();
  private readonly places = new ValueMap<number>();
  /** Places from here on are of this region. */
  private first = 0;
  private next = 0;
  private codes = new Uint16Array(1024);
  private length = 0;

  keyOf({ anchor, nodes, parts = [nodes], inputs, outputs }: Region): string {
    // Begins as no other key of a kernel does.
    this.length = 0;
    this.add(0);
    this.first = this.next;
    this.values(inputs, true);
    this.add(parts.length);
    for (let p = 0; p < parts.length; p++) {
      const part = parts[p];
      this.add(part.length);
      for (let n = 0; n < part.length; n++) {
        const node = part[n];
        this.add(2 * this.numberOf(node.op) + Number(node === anchor));
        this.values(node.results, true);
        this.values(node.operands, false);
        this.add(this.numberOf(textOf(node.attrs)));
      }
    }
    this.values(outputs, false);
    return String.fromCharCode.apply(null, this.codes.subarray(0, this.length) as unknown as number[]);
  }

  private values(values: readonly Value[], typed: boolean): void {
    this.add(values.length);
    for (let i = 0; i < values.length; i++) {
      this.add(this.placeOf(values[i]));
      if (typed) this.add(shared(values[i].type).number);
    }
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

  private numberOf(text: string): number {
    let n = this.texts.get(text);
    if (n === undefined) {
      n = this.texts.size;
      this.texts.set(text, n);
    }
    return n;
  }

  private add(n: number): void {
    if (this.length + 2 > this.codes.length) {
      const larger = new Uint16Array(2 * this.codes.length);
      larger.set(this.codes);
      this.codes = larger;
    }
    if (n < 0x8000) this.codes[this.length++] = n;
    else {
      this.codes[this.length++] = 0x8000 | (n & 0x7fff);
      this.codes[this.length++] = n >>> 15;
    }
  }
}

function textOf(attrs: Attrs): string {
  let text = '';
  for (const k in attrs) text += ` ${k}=${attrs[k]}`;
  return text;
}

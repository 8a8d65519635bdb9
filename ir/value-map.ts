/**
 * What a pass knows of values, by the numbers that builders give them, in pages of an array: at tens of thousands of values half the
 * price of a Map, which hashes objects and grows by copying itself. Values that no builder made are kept in a Map.
 */
import type { Value } from './graph.js';
import type { Loc } from './loc.js';
import { type SharedType, shared, type TensorType } from './types.js';
import { type Name, type NameParts, nameOf } from './value-names.js';

let made = 0;

/** A value with a number that no other has, and a name whose parts are known. */
export class NumberedValue implements Value, NameParts {
  readonly #number = made++;
  readonly #stem: string;
  readonly #ordinal: number;
  readonly name: string;
  readonly type: SharedType;

  constructor(
    name: string | Name,
    type: TensorType,
    readonly loc: Loc,
  ) {
    const { text, stem, ordinal } = typeof name === 'string' ? nameOf(name) : name;
    this.name = text;
    this.#stem = stem;
    this.#ordinal = ordinal;
    this.type = shared(type);
  }

  get stem(): string {
    return this.#stem;
  }
  get ordinal(): number {
    return this.#ordinal;
  }

  get number(): number {
    return this.#number;
  }
}

const PAGE_BITS = 10;
const IN_PAGE = (1 << PAGE_BITS) - 1;

export class ValueMap<T> {
  private readonly pages: (T | undefined)[][] = [];
  private readonly others = new Map<Value, T>();

  get(value: Value): T | undefined {
    if (!(value instanceof NumberedValue)) return this.others.get(value);
    const n = value.number;
    return this.pages[n >> PAGE_BITS]?.[n & IN_PAGE];
  }

  has(value: Value): boolean {
    return this.get(value) !== undefined;
  }

  set(value: Value, known: T): void {
    if (!(value instanceof NumberedValue)) {
      this.others.set(value, known);
      return;
    }
    const n = value.number;
    let page = this.pages[n >> PAGE_BITS];
    if (!page) {
      page = new Array(IN_PAGE + 1);
      this.pages[n >> PAGE_BITS] = page;
    }
    page[n & IN_PAGE] = known;
  }
}

/**
 * Tensor types: element type, shape, layout and placement, each a field of its own, so that a pass can settle
 * one concern without touching the others.
 */
export const dtypes = ['f32', 'f16', 'i32', 'u8', 'bool', 'i64'] as const;
export type DType = (typeof dtypes)[number];

/** A dimension: a size, or `factor` times a symbol that is bound at compile time (the batch `N`). */
export type Dim = number | SymbolicDim;
export interface SymbolicDim {
  readonly symbol: string;
  readonly factor: number;
}
export type Shape = readonly Dim[];

/**
 * How the elements lie in memory. `dense`: row-major. `packed-lower`: the last two dimensions are a symmetric
 * matrix of which only the lower triangle is stored, row by row (element (i, j), j <= i, at i(i+1)/2 + j).
 */
export type Layout = 'dense' | 'packed-lower';

/** Who holds the value. One device holds everything until the partition pass says otherwise. */
export type Placement = { readonly kind: 'replicated' } | { readonly kind: 'owner'; readonly rank: number };
export const replicated: Placement = { kind: 'replicated' };

export interface TensorType {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly layout: Layout;
  readonly placement: Placement;
}

export function tensor(dtype: DType, shape: Shape): TensorType {
  return { dtype, shape, layout: 'dense', placement: replicated };
}

/** A symmetric n x n matrix in f32, or a batch of them; stored as packed lower triangles. */
export function symmetric(n: number, batch: readonly number[] = []): TensorType {
  return { dtype: 'f32', shape: [...batch, n, n], layout: 'packed-lower', placement: replicated };
}

export const bytesPerElement: Record<DType, number> = { f32: 4, f16: 2, i32: 4, u8: 1, bool: 1, i64: 8 };

export function isConcrete(shape: Shape): shape is readonly number[] {
  for (let i = 0; i < shape.length; i++) if (typeof shape[i] !== 'number') return false;
  return true;
}

/** The shape as plain numbers. Throws when a symbol is unbound: a compiler fault, since binding runs first. */
export function concrete(shape: Shape): readonly number[] {
  if (!isConcrete(shape)) throw new Error(`shape ${printShape(shape)} still has an unbound symbol`);
  return shape;
}

export function product(dims: readonly number[]): number {
  let n = 1;
  for (let i = 0; i < dims.length; i++) n *= dims[i];
  return n;
}

/** Logical number of elements (a symmetric matrix counts n * n). */
export function elementCount(type: TensorType): number {
  return product(concrete(type.shape));
}

/** What says how many elements lie in memory. */
type Stored = Pick<TensorType, 'shape' | 'layout'>;

/** Number of elements in memory (a symmetric matrix counts n(n+1)/2). */
export function storedCount(type: Stored): number {
  return type instanceof SharedType ? type.count : countStored(type);
}

function countStored(type: Stored): number {
  const shape = concrete(type.shape);
  if (type.layout === 'dense') return product(shape);
  const n = shape[shape.length - 1];
  return product(shape.slice(0, -2)) * ((n * (n + 1)) / 2);
}

export function storedBytes(type: Stored & Pick<TensorType, 'dtype'>): number {
  return storedCount(type) * bytesPerElement[type.dtype];
}

/** Row-major strides, in elements. */
export function strides(shape: readonly number[]): number[] {
  const out = new Array<number>(shape.length);
  let s = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    out[i] = s;
    s *= shape[i];
  }
  return out;
}

export function dimEquals(a: Dim, b: Dim): boolean {
  if (typeof a === 'number' || typeof b === 'number') return a === b;
  return a.symbol === b.symbol && a.factor === b.factor;
}

export function shapeEquals(a: Shape, b: Shape): boolean {
  return a === b || (a.length === b.length && a.every((d, i) => dimEquals(d, b[i])));
}

export function typeEquals(a: TensorType, b: TensorType): boolean {
  if (a === b) return true;
  if (a instanceof SharedType && b instanceof SharedType) return false;
  return (
    a.dtype === b.dtype &&
    a.layout === b.layout &&
    shapeEquals(a.shape, b.shape) &&
    a.placement.kind === b.placement.kind &&
    (a.placement.kind !== 'owner' || (b.placement.kind === 'owner' && a.placement.rank === b.placement.rank))
  );
}

/** Product of two dimensions; undefined where it would need two symbols. */
export function dimMul(a: Dim, b: Dim): Dim | undefined {
  if (typeof a === 'number') {
    if (typeof b === 'number') return a * b;
    return a === 0 ? 0 : { symbol: b.symbol, factor: a * b.factor };
  }
  if (typeof b === 'number') return b === 0 ? 0 : { symbol: a.symbol, factor: a.factor * b };
  return undefined;
}

/** Exact quotient of two dimensions; undefined where it is not one. */
export function dimDiv(a: Dim, b: Dim): Dim | undefined {
  if (typeof b === 'number') {
    if (b === 0) return undefined;
    if (typeof a === 'number') return a % b === 0 ? a / b : undefined;
    return a.factor % b === 0 ? { symbol: a.symbol, factor: a.factor / b } : undefined;
  }
  if (typeof a === 'number') return undefined;
  return a.symbol === b.symbol && a.factor % b.factor === 0 ? a.factor / b.factor : undefined;
}

/** Replaces bound symbols by their sizes. */
export function bindShape(shape: Shape, sizes: Readonly<Record<string, number>>): Shape {
  return shape.map((d) => (typeof d === 'number' || !(d.symbol in sizes) ? d : d.factor * sizes[d.symbol]));
}

/** NumPy's broadcasting rule; undefined where the shapes do not fit. */
export function broadcastShapes(a: Shape, b: Shape): Shape | undefined {
  const rank = Math.max(a.length, b.length);
  const out: Dim[] = [];
  for (let i = 0; i < rank; i++) {
    const da = i < rank - a.length ? 1 : a[i - (rank - a.length)];
    const db = i < rank - b.length ? 1 : b[i - (rank - b.length)];
    if (dimEquals(da, db)) out.push(da);
    else if (da === 1) out.push(db);
    else if (db === 1) out.push(da);
    else return undefined;
  }
  return out;
}

export function printDim(d: Dim): string {
  if (typeof d === 'number') return String(d);
  return d.factor === 1 ? d.symbol : `${d.factor}*${d.symbol}`;
}

export function printShape(shape: Shape): string {
  let text = '';
  for (let i = 0; i < shape.length; i++) text += i > 0 ? `,${printDim(shape[i])}` : printDim(shape[i]);
  return `[${text}]`;
}

/** `f32[N,784]`, `sym[785]`, `sym[4,9]` (a batch of four), `f32[10]@owner(3)`. */
export function printType(t: TensorType): string {
  return t instanceof SharedType ? t.text : textOf(t);
}

function textOf(t: TensorType): string {
  const owner = t.placement.kind === 'owner' ? `@owner(${t.placement.rank})` : '';
  if (t.layout === 'packed-lower') return `sym${printShape(t.shape.slice(0, -1))}${owner}`;
  return `${t.dtype}${printShape(t.shape)}${owner}`;
}

/**
 * A type that is equal to no other of its kind. Values are many and their types few: each is one object, which remembers what
 * is asked of it for every value.
 */
export class SharedType implements TensorType {
  static #made = 0;
  readonly #number = SharedType.#made++;
  #count: number | undefined;
  #text: string | undefined;

  constructor(
    readonly dtype: DType,
    readonly shape: Shape,
    readonly layout: Layout,
    readonly placement: Placement,
  ) {}

  /** That no other has. */
  get number(): number {
    return this.#number;
  }
  get count(): number {
    this.#count ??= countStored(this);
    return this.#count;
  }
  get text(): string {
    this.#text ??= textOf(this);
    return this.#text;
  }
}

/** By hash. */
const sharedTypes = new Map<number, SharedType[]>();

function hashOf({ dtype, shape, layout, placement }: TensorType): number {
  let h = dtype.charCodeAt(0) + 31 * dtype.charCodeAt(1) + (layout === 'dense' ? 0 : 7);
  if (placement.kind === 'owner') h += 961 * (placement.rank + 1);
  for (let i = 0; i < shape.length; i++) {
    const d = shape[i];
    h = Math.imul(h, 0x9e3779b1) + (typeof d === 'number' ? d : ~d.factor);
  }
  return h | 0;
}

/** The type's one object. */
export function shared(type: TensorType): SharedType {
  if (type instanceof SharedType) return type;
  const hash = hashOf(type);
  const alike = sharedTypes.get(hash) ?? [];
  for (let i = 0; i < alike.length; i++) if (typeEquals(alike[i], type)) return alike[i];
  const own = new SharedType(type.dtype, type.shape, type.layout, type.placement);
  sharedTypes.set(hash, [...alike, own]);
  return own;
}

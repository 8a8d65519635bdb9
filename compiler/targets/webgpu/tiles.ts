/**
 * Tiles in WGSL. With f32 operands a tile is a thread's own: variables of four columns each, unrolled in the text. With f16
 * operands it is one or more subgroup matrices, which the threads of a subgroup hold together and none can look into.
 */
import { add, type Expr, i32, mul, type Stmt } from '../../../ir/kernel.js';
import { bare, type ExpressionPrinter } from './expression.js';
import { identifier } from './names.js';

type TileStmt = Extract<Stmt, { readonly tile: string }>;
type Mma = Extract<Stmt, { kind: 'tileMma' }>;
type Move = Extract<Stmt, { kind: 'tileLoad' | 'tileStore' }>;

/** Rows, columns and depth of one subgroup matrix product: what NVIDIA's devices offer for f16 operands. */
export const MATRIX = 16;

export interface Tile {
  readonly rows: number;
  readonly cols: number;
  readonly matrix: boolean;
  readonly accumulator: 'f32' | 'f16';
}

/** Names of tiles that f16 products go into. */
export function matrixTiles(body: readonly Stmt[]): Set<string> {
  const found = new Set<string>();
  const visit = (s: Stmt): void => {
    if (s.kind === 'tileMma' && s.operand === 'f16') found.add(s.tile);
    if (s.kind === 'for' || s.kind === 'tileEach') s.body.forEach(visit);
    if (s.kind === 'if') [...s.then, ...s.else].forEach(visit);
  };
  body.forEach(visit);
  return found;
}

export class TilePrinter {
  private readonly tiles = new Map<string, Tile>();

  constructor(
    private readonly expressions: ExpressionPrinter,
    private readonly line: (text: string) => void,
    private readonly matrices: ReadonlySet<string>,
  ) {}

  tile(name: string): Tile {
    const t = this.tiles.get(name);
    if (!t) throw new Error(`tile ${name} is not defined`);
    return t;
  }

  private width(t: Tile): number {
    return t.cols % 4 === 0 ? 4 : 1;
  }

  private part(name: string, i: number, c: number): string {
    return `${identifier(name)}_${i}_${c}`;
  }

  print(s: Exclude<TileStmt, { kind: 'tileEach' }>): void {
    if (s.kind === 'tileZero') this.zero(s);
    else if (s.kind === 'tileMma') this.tile(s.tile).matrix ? this.multiplyMatrices(s) : this.multiply(s);
    else this.tile(s.tile).matrix ? this.moveMatrices(s) : this.move(s);
  }

  private zero(s: Extract<Stmt, { kind: 'tileZero' }>): void {
    const matrix = this.matrices.has(s.tile);
    if (matrix && (s.rows % MATRIX !== 0 || s.cols % MATRIX !== 0))
      throw new Error(`tile ${s.tile} is ${s.rows} x ${s.cols}, no multiple of ${MATRIX} x ${MATRIX}`);
    const { rows, cols, accumulator } = s;
    const tile: Tile = { rows, cols, accumulator, matrix };
    this.tiles.set(s.tile, tile);
    if (matrix) {
      for (const [i, j] of this.fragments(tile))
        this.line(`var ${this.part(s.tile, i, j)} = subgroup_matrix_result<${accumulator}, ${MATRIX}, ${MATRIX}>();`);
      return;
    }
    // Said, not left to the declaration: in a loop SwiftShader keeps what the last iteration left.
    const zero = this.width(tile) === 4 ? 'vec4<f32>()' : '0.0f';
    for (let i = 0; i < rows; i++)
      for (let c = 0; c < cols / this.width(tile); c++) this.line(`var ${this.part(s.tile, i, c)} = ${zero};`);
  }

  private fragments(t: Tile): [number, number][] {
    const out: [number, number][] = [];
    for (let i = 0; i < t.rows / MATRIX; i++) for (let j = 0; j < t.cols / MATRIX; j++) out.push([i, j]);
    return out;
  }

  private bind(prefix: string, e: Expr): string {
    const name = this.expressions.fresh(prefix);
    this.line(`let ${name}: i32 = ${bare(this.expressions.text(e))};`);
    return name;
  }

  /** A multiple of `by` after a name, as text. */
  private plus(base: string, by: number): string {
    return by === 0 ? base : by < 0 ? `${base} - ${-by}` : `${base} + ${by}`;
  }

  private multiply(s: Mma): void {
    const t = this.tile(s.tile);
    const width = this.width(t);
    const { expressions: x } = this;
    const depth = this.bind('depth', s.depth);
    const a = x.fresh('a');
    const b = x.fresh('b');
    const k = x.fresh('k');
    this.line(`var ${a}: i32 = ${bare(x.text(s.a.index))};`);
    this.line(`var ${b}: i32 = ${bare(x.text(s.b.index))};`);
    this.line(`for (var ${k}: i32 = 0; ${k} < ${depth}; ${k}++) {`);
    for (let c = 0; c < t.cols / width; c++) {
      const at = (j: number): string => x.element(s.b.memory, this.plus(b, (width * c + j) * s.b.col));
      const value = width === 1 ? at(0) : `vec4<f32>(${[0, 1, 2, 3].map(at).join(', ')})`;
      this.line(`  let ${b}_${c} = ${value};`);
    }
    for (let i = 0; i < t.rows; i++) {
      this.line(`  let ${a}_${i} = ${x.element(s.a.memory, this.plus(a, i * s.a.row))};`);
      for (let c = 0; c < t.cols / width; c++) this.line(`  ${this.part(s.tile, i, c)} += ${a}_${i} * ${b}_${c};`);
    }
    this.line(`  ${a} = ${this.plus(a, s.a.depth)};`);
    this.line(`  ${b} = ${this.plus(b, s.b.depth)};`);
    this.line('}');
  }

  private move(s: Move): void {
    const t = this.tile(s.tile);
    const width = this.width(t);
    const index = this.bind('index', s.index);
    const row = this.bind('row', s.row);
    for (let i = 0; i < t.rows; i++)
      for (let j = 0; j < t.cols; j++) {
        const part = this.part(s.tile, i, Math.floor(j / width)) + (width === 4 ? `[${j % 4}]` : '');
        const at = this.plus(i === 0 ? index : `${index} + ${i} * ${row}`, j * s.col);
        if (s.kind === 'tileLoad') this.line(`${part} = ${this.expressions.element(s.memory, at)};`);
        else for (const text of this.expressions.assignment(s.memory, at, part)) this.line(text);
      }
  }

  /** All elements in a thread's own array, which is named. */
  spill(name: string): string {
    const t = this.tile(name);
    if (t.matrix)
      throw new Error(`tile ${name} is a subgroup matrix: its elements are reached by a store to group memory`);
    const width = this.width(t);
    const array = this.expressions.fresh(`${identifier(name)}_elements`);
    const n = t.rows * t.cols;
    this.line(`var ${array} = array<f32, ${n}>(`);
    for (let i = 0; i < t.rows; i++) {
      const row = Array.from({ length: t.cols }, (_, j) => {
        const part = this.part(name, i, Math.floor(j / width));
        return width === 4 ? `${part}[${j % 4}]` : part;
      });
      this.line(`  ${row.join(', ')},`);
    }
    this.line(');');
    return array;
  }

  /** How a matrix lies in memory: by rows or by columns, and from one to the next. */
  private order(memory: string, row: number, col: number): { columns: boolean; stride: number } {
    if (col === 1) return { columns: false, stride: row };
    if (row === 1) return { columns: true, stride: col };
    throw new Error(`a subgroup matrix in ${memory} must be contiguous in rows or columns`);
  }

  private loadMatrix(type: string, memory: string, at: string, columns: boolean, stride: string): string {
    const order = columns ? 'column_major' : 'row_major';
    return `subgroupMatrixLoad<${type}, ${order}>(&${identifier(memory)}, u32(${at}), ${stride})`;
  }

  private multiplyMatrices(s: Mma): void {
    const t = this.tile(s.tile);
    const { expressions: x } = this;
    for (const m of [s.a.memory, s.b.memory])
      if (x.memory(m).type !== 'f16') throw new Error(`subgroup matrices are read from f16 memory, not from ${m}`);
    if (s.depth.kind !== 'const' || s.depth.value % MATRIX !== 0)
      throw new Error(`the depth of a subgroup matrix product must be a known multiple of ${MATRIX}`);
    const orderA = this.order(s.a.memory, s.a.row, s.a.depth);
    const orderB = this.order(s.b.memory, s.b.depth, s.b.col);
    const a = this.bind('a', s.a.index);
    const b = this.bind('b', s.b.index);
    for (let k = 0; k < s.depth.value; k += MATRIX) {
      const step = x.fresh('k');
      for (let i = 0; i < t.rows; i += MATRIX) {
        const at = this.plus(a, i * s.a.row + k * s.a.depth);
        const type = `subgroup_matrix_left<f16, ${MATRIX}, ${MATRIX}>`;
        const value = this.loadMatrix(type, s.a.memory, at, orderA.columns, `${orderA.stride}`);
        this.line(`let ${step}_left_${i / MATRIX} = ${value};`);
      }
      for (let j = 0; j < t.cols; j += MATRIX) {
        const at = this.plus(b, k * s.b.depth + j * s.b.col);
        const type = `subgroup_matrix_right<f16, ${MATRIX}, ${MATRIX}>`;
        const value = this.loadMatrix(type, s.b.memory, at, orderB.columns, `${orderB.stride}`);
        this.line(`let ${step}_right_${j / MATRIX} = ${value};`);
      }
      for (const [i, j] of this.fragments(t)) {
        const part = this.part(s.tile, i, j);
        this.line(`${part} = subgroupMatrixMultiplyAccumulate(${step}_left_${i}, ${step}_right_${j}, ${part});`);
      }
    }
  }

  private moveMatrices(s: Move): void {
    const t = this.tile(s.tile);
    const { expressions: x } = this;
    if (x.memory(s.memory).type !== t.accumulator)
      throw new Error(`tile ${s.tile} holds ${t.accumulator}, ${s.memory} does not`);
    if (s.col !== 1) throw new Error(`a subgroup matrix in ${s.memory} must be contiguous in rows`);
    const row = this.bind('row', s.row);
    for (const [i, j] of this.fragments(t)) {
      const at = this.bind('at', add(s.index, add(mul(s.row, i32(i * MATRIX)), i32(j * MATRIX))));
      const part = this.part(s.tile, i, j);
      const type = `subgroup_matrix_result<${t.accumulator}, ${MATRIX}, ${MATRIX}>`;
      if (s.kind === 'tileLoad') this.line(`${part} = ${this.loadMatrix(type, s.memory, at, false, `u32(${row})`)};`);
      else this.line(`subgroupMatrixStore<row_major>(&${identifier(s.memory)}, u32(${at}), ${part}, u32(${row}));`);
    }
  }
}

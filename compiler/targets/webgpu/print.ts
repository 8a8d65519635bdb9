/**
 * Kernel IR in, one WGSL compute shader out, entry point `main`, parameters bound in their order in group 0. A workgroup runs
 * a grid iteration: its threads share group loops, each takes its lane, everything else they all run alike, and one of them
 * stores. Barriers follow from what they touch. A kernel without lane and group loops runs a grid iteration in each thread.
 */
import type { Expr, Kernel, Stmt } from '../../../ir/kernel.js';
import { expandMath } from '../../kernels/math.js';
import { type By, type Effects, effectsOf, Pending } from './barriers.js';
import { bare, ExpressionPrinter, supportText } from './expression.js';
import { type For, type Grid, gridOf, MOST_GROUPS, tripsOf, workgroupsOf } from './grid.js';
import { identifier } from './names.js';
import { assigns, carries, freeNames, usesHalves } from './registers.js';
import { matrixTiles, TilePrinter } from './tiles.js';
import { Uniformity } from './uniformity.js';

export { workgroupsOf };

/**
 * The shader's text. `workgroupsOf(kernel)` says how many workgroups to dispatch.
 * @throws Error for what the IR forbids or WGSL has no form for: unaligned subgroup matrices, a barrier where threads diverge
 */
export function printWgsl(kernel: Kernel): string {
  return new ShaderPrinter(expandMath(kernel)).print();
}

/** Who runs the statements that are being printed, and whether all of them come by together. */
interface Region {
  readonly by: By;
  readonly together: boolean;
}

const matrixHeader = [
  'enable chromium_experimental_subgroup_matrix;',
  // That a place is the same for a whole subgroup follows from the lane number, which the analysis does not look into.
  'diagnostic(off, chromium.subgroup_matrix_uniformity);',
];

/** `lo + of * step`, short where that is short. */
const progression = (lo: string, of: string, step: number): string => {
  const steps = step === 1 ? of : `${of} * ${step}`;
  return lo === '0' ? steps : `${lo} + ${steps}`;
};

const storageType = { f32: 'f32', f16: 'f16', i32: 'i32', u8: 'u32', bool: 'u32' } as const;
const ownType = { f32: 'f32', f16: 'f16', i32: 'i32', u8: 'i32', bool: 'bool' } as const;

class ShaderPrinter {
  private readonly lines: string[] = [];
  private readonly shared: string[] = [];
  private readonly expressions = new ExpressionPrinter((text) => this.line(text));
  private readonly tiles: TilePrinter;
  private readonly grid: Grid;
  private indent = 1;
  private region: Region;
  private pending = new Pending();
  private readonly uniformity: Uniformity;
  /** Group memories and written parameters: where threads can meet. */
  private readonly meeting = new Set<string>();
  private readonly groupMemories = new Set<string>();
  private lanes = 0;
  private readonly f16: boolean;
  private readonly matrices: boolean;

  constructor(private readonly kernel: Kernel) {
    this.grid = gridOf(kernel);
    this.uniformity = new Uniformity(kernel);
    const matrices = matrixTiles(kernel.body);
    this.matrices = matrices.size > 0;
    this.tiles = new TilePrinter(this.expressions, (text) => this.line(text), matrices);
    this.region = this.grid.perWorkgroup ? { by: 'all', together: true } : { by: 0, together: false };
    this.f16 = usesHalves(kernel);
    for (const p of kernel.params) {
      const packed = p.type === 'u8' || p.type === 'bool';
      const written = p.access !== 'read';
      this.expressions.memories.set(p.name, { type: p.type, packed, atomic: packed && written });
      if (written) this.meeting.add(p.name);
    }
  }

  print(): string {
    this.start();
    this.block(this.kernel.body);
    const { kernel, grid } = this;
    const params = kernel.params.map((p, n) => {
      const { packed, atomic } = this.expressions.memory(p.name);
      const element = atomic ? 'atomic<u32>' : packed ? 'u32' : storageType[p.type];
      const access = p.access === 'read' ? 'read' : 'read_write';
      return `@group(0) @binding(${n}) var<storage, ${access}> ${identifier(p.name)}: array<${element}>;`;
    });
    return [
      ...(this.f16 ? ['enable f16;'] : []),
      ...(this.matrices ? matrixHeader : []),
      `// ${kernel.name}: ${workgroupsOf(kernel).join(' x ')} workgroups of ${grid.threads}`,
      ...params,
      ...this.shared,
      ...supportText(this.expressions.used),
      '',
      `@compute @workgroup_size(${grid.threads})`,
      'fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {',
      ...this.lines,
      '}',
      '',
    ].join('\n');
  }

  private start(): void {
    const { iterations, perWorkgroup, threads, loops } = this.grid;
    if (loops.length === 0) return;
    const folded = workgroupsOf(this.kernel)[1] > 1;
    const group = folded ? `(workgroup.x + workgroup.y * ${MOST_GROUPS}u)` : 'workgroup.x';
    this.line(`let iteration: i32 = i32(${perWorkgroup ? group : `${group} * ${threads}u + lane`});`);
    if (folded || !perWorkgroup) this.line(`if (iteration >= ${iterations}) { return; }`);
  }

  private line(text: string): void {
    this.lines.push('  '.repeat(this.indent) + text);
  }

  private braces(head: string, body: () => void): void {
    this.line(`${head}{`);
    this.indent++;
    body();
    this.indent--;
    this.line('}');
  }

  private within(region: Region, body: () => void): void {
    const before = this.region;
    this.region = region;
    body();
    this.region = before;
  }

  private assigned({ name, value }: Extract<Stmt, { kind: 'set' | 'accumulate' }>): void {
    if (this.region.together) this.uniformity.set(name, value);
    else this.uniformity.vary(name);
  }

  private effects(body: readonly Stmt[]): Effects {
    return effectsOf(body, (m) => this.meeting.has(m));
  }

  /** Puts a barrier here if these accesses need one, and remembers them. */
  private access(effects: Effects, by: By): void {
    const conflicts = this.pending.conflicts(effects, by);
    if (conflicts.length > 0) {
      // Each barrier orders memory of its own kind.
      const isGroup = (m: string): boolean => this.groupMemories.has(m);
      if (!conflicts.every(isGroup)) {
        this.line('storageBarrier();');
        this.pending.clear((m) => !isGroup(m));
      }
      if (conflicts.some(isGroup)) {
        this.line('workgroupBarrier();');
        this.pending.clear(isGroup);
      }
    }
    this.pending.add(effects, by);
  }

  private block(body: readonly Stmt[]): void {
    for (const s of body) this.statement(s);
  }

  private statement(s: Stmt): void {
    if (s.kind === 'alloc') {
      this.allocate(s);
      return;
    }
    if (s.kind === 'for') {
      this.loop(s);
      return;
    }
    if (s.kind === 'if' && this.region.together && !this.uniformity.differs(s.cond)) {
      this.condition(s);
      return;
    }
    if (!this.region.together) {
      this.plain(s);
      return;
    }
    if (s.kind === 'let' && this.sharedValue(s)) return;
    const effects = this.effects([s]);
    const stores = [...effects.writes].length > 0;
    const matrix = s.kind === 'tileStore' && this.tiles.tile(s.tile).matrix;
    const by =
      matrix && this.region.by === 'all' ? 'shared' : this.region.by === 'all' && stores ? 'single' : this.region.by;
    if (s.kind === 'if' || s.kind === 'tileEach') {
      this.access(effects, by);
      if (by === 'single') this.alone([s]);
      else this.within({ by, together: false }, () => this.plain(s));
      return;
    }
    this.access(effects, by);
    if (by === 'single') this.alone([s]);
    else this.plain(s);
  }

  /** A value that all threads read at one place in group memory is the same for all of them, said so in WGSL's own way. */
  private sharedValue(s: Extract<Stmt, { kind: 'let' }>): boolean {
    const { value } = s;
    if (value.kind !== 'load' || this.region.by !== 'all' || !this.groupMemories.has(value.memory)) return false;
    if (this.uniformity.differs(value.index)) return false;
    this.access(this.effects([s]), this.region.by);
    this.expressions.types.set(s.name, s.type);
    this.uniformity.unite(s.name);
    const place = `${identifier(value.memory)}[${bare(this.expressions.text(value.index))}]`;
    this.line(`let ${identifier(s.name)}: ${s.type} = workgroupUniformLoad(&${place});`);
    return true;
  }

  /** Statements that one thread runs for all. */
  private alone(body: readonly Stmt[]): void {
    if (body.some((s) => assigns(s)))
      throw new Error(`kernel ${this.kernel.name}: threads diverge where a register is set and memory is written`);
    this.braces('if (lane == 0u) ', () => this.within({ by: 'single', together: false }, () => this.block(body)));
  }

  private allocate(s: Extract<Stmt, { kind: 'alloc' }>): void {
    const group = s.space === 'group' && this.grid.perWorkgroup;
    this.expressions.memories.set(s.name, { type: s.type, packed: false, atomic: false });
    const declaration = `${identifier(s.name)}: array<${ownType[s.type]}, ${s.size}>;`;
    if (!group) {
      this.line(`var ${declaration}`);
      return;
    }
    this.groupMemories.add(s.name);
    this.shared.push(`var<workgroup> ${declaration}`);
    this.meeting.add(s.name);
  }

  /** A condition under which all threads come or none. */
  private condition(s: Extract<Stmt, { kind: 'if' }>): void {
    this.access(this.effects([{ kind: 'let', name: '', type: 'bool', value: s.cond }]), this.region.by);
    const before = this.pending.copy();
    this.braces(`if (${bare(this.expressions.text(s.cond))}) `, () => this.block(s.then));
    const after = this.pending;
    this.pending = before;
    if (s.else.length > 0) this.braces('else ', () => this.block(s.else));
    this.pending.merge(after);
  }

  private loop(s: For): void {
    const { grid, expressions: x } = this;
    const at = grid.loops.findIndex((l) => l.loop === s);
    x.types.set(s.var, 'i32');
    this.uniformity.unite(s.var);
    if (at >= 0) {
      const inner = grid.loops.slice(at + 1).reduce((n, l) => n * l.trips, 1);
      const quotient = inner === 1 ? 'iteration' : `(iteration / ${inner})`;
      const place = at === 0 ? quotient : `(${quotient} % ${grid.loops[at].trips})`;
      this.line(`let ${identifier(s.var)}: i32 = ${progression(x.text(s.lo), place, s.step)};`);
      this.block(s.body);
      return;
    }
    const { by, together } = this.region;
    if (this.grid.perWorkgroup && by === 'all' && s.bind === 'lane') {
      this.laneLoop(s);
      return;
    }
    const shares = together && (s.bind === 'group' || (s.bind === 'grid' && by === 'all'));
    if (shares && !carries(s) && !this.uniformity.owns(freeNames([s]))) {
      this.access(this.effects([s]), 'shared');
      this.uniformity.vary(s.var);
      this.strided(s, { by: 'shared', together: false });
      return;
    }
    if (!together) {
      this.serialLoop(s);
      return;
    }
    if (this.uniformity.differs(s.lo) || this.uniformity.differs(s.hi)) {
      const effects = this.effects([s]);
      const single = by === 'all' && effects.writes.size > 0;
      this.access(effects, single ? 'single' : by);
      if (single) this.alone([s]);
      else this.within({ by, together: false }, () => this.serialLoop(s));
      return;
    }
    // What the end of an iteration leaves pending meets the beginning of the next.
    const before = this.pending.copy();
    // A lane loop is another one in the next iteration: there a thread may read what another wrote.
    const [printed, shared] = [this.lines.length, this.shared.length];
    this.serialLoop(s);
    this.lines.length = printed;
    this.shared.length = shared;
    this.pending.merge(before);
    this.serialLoop(s);
    this.pending.merge(before);
  }

  private laneLoop(s: For): void {
    const { threads } = this.grid;
    const by = ++this.lanes;
    this.uniformity.vary(s.var);
    if (tripsOf(s) === threads) {
      this.braces('', () => {
        this.line(`let ${identifier(s.var)}: i32 = ${progression(this.expressions.text(s.lo), 'i32(lane)', s.step)};`);
        this.within({ by, together: true }, () => this.block(s.body));
      });
      return;
    }
    this.access(this.effects([s]), by);
    this.strided(s, { by, together: false });
  }

  /** Each thread takes every so many-th iteration. */
  private strided(s: For, region: Region): void {
    const v = identifier(s.var);
    const { expressions: x } = this;
    const [lo, hi] = [x.text(s.lo), x.text(s.hi)];
    const stride = s.step * this.grid.threads;
    const head = `for (var ${v}: i32 = ${progression(lo, 'i32(lane)', s.step)}; ${v} < ${hi}; ${v} += ${stride}) `;
    this.braces(head, () => this.within(region, () => this.block(s.body)));
  }

  private serialLoop(s: For): void {
    const v = identifier(s.var);
    const { expressions: x } = this;
    if (!this.region.together) this.uniformity.vary(s.var);
    const [lo, hi] = [bare(x.text(s.lo)), bare(x.text(s.hi))];
    this.braces(`for (var ${v}: i32 = ${lo}; ${v} < ${hi}; ${v} += ${s.step}) `, () => this.block(s.body));
  }

  /** A statement as it is, for the threads that are here. */
  private plain(s: Stmt): void {
    const { expressions: x } = this;
    switch (s.kind) {
      case 'let':
      case 'var': {
        x.types.set(s.name, s.type);
        if (this.region.together) this.uniformity.define(s.name, s.value, s.kind === 'var');
        else this.uniformity.vary(s.name);
        this.line(`${s.kind} ${identifier(s.name)}: ${s.type} = ${bare(x.text(s.value))};`);
        return;
      }
      case 'set':
        this.assigned(s);
        this.line(`${identifier(s.name)} = ${bare(x.text(s.value))};`);
        return;
      case 'accumulate': {
        this.assigned(s);
        const value: Expr = { kind: 'binary', op: s.op, a: { kind: 'ref', name: s.name }, b: s.value };
        this.line(`${identifier(s.name)} = ${bare(x.text(value))};`);
        return;
      }
      case 'store':
        for (const text of x.assignment(s.memory, bare(x.text(s.index)), bare(x.text(s.value)))) this.line(text);
        return;
      case 'if':
        this.braces(`if (${bare(x.text(s.cond))}) `, () => this.block(s.then));
        if (s.else.length > 0) this.braces('else ', () => this.block(s.else));
        return;
      case 'tileEach':
        this.each(s);
        return;
      case 'for':
      case 'alloc':
        this.statement(s);
        return;
      default:
        this.tiles.print(s);
        return;
    }
  }

  private each(s: Extract<Stmt, { kind: 'tileEach' }>): void {
    const { expressions: x } = this;
    const { rows, cols } = this.tiles.tile(s.tile);
    const elements = this.tiles.spill(s.tile);
    const [row, col, element] = [s.row, s.col, s.element].map(identifier);
    for (const name of [s.row, s.col]) x.types.set(name, 'i32');
    x.types.set(s.element, 'f32');
    for (const name of [s.row, s.col, s.element]) this.uniformity.vary(name);
    const limit = (e: Expr, extent: number): string =>
      e.kind === 'const' ? `${Math.min(e.value, extent)}` : `min(${extent}, ${bare(x.text(e))})`;
    const [rowEnd, colEnd] = [limit(s.rowLimit, rows), limit(s.colLimit, cols)];
    this.braces(`for (var ${row}: i32 = 0; ${row} < ${rowEnd}; ${row}++) `, () =>
      this.braces(`for (var ${col}: i32 = 0; ${col} < ${colEnd}; ${col}++) `, () => {
        this.line(`let ${element}: f32 = ${elements}[${row} * ${cols} + ${col}];`);
        this.within({ by: this.region.by, together: false }, () => this.block(s.body));
      }),
    );
  }
}

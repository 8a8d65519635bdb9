/**
 * WebAssembly's binary format: instruction bytes go into a `Code`, functions and their exports into a module.
 * Source: WebAssembly Core Specification 2.0, chapter 5 (binary format), vector instructions included.
 */

export const I32 = 0x7f;
export const F32 = 0x7d;
export const V128 = 0x7b;
export type ValueType = typeof I32 | typeof F32 | typeof V128;

/** Opcodes of one byte. Blocks here take and give nothing unless a result type follows. */
export const op = {
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  select: 0x1b,
  get: 0x20,
  set: 0x21,
  tee: 0x22,
  i32Load: 0x28,
  f32Load: 0x2a,
  i32Load8U: 0x2d,
  i32Store: 0x36,
  f32Store: 0x38,
  i32Store8: 0x3a,
  i32Eqz: 0x45,
  i32Eq: 0x46,
  i32LtS: 0x48,
  i32GtS: 0x4a,
  i32LeS: 0x4c,
  i32GeS: 0x4e,
  f32Eq: 0x5b,
  f32Lt: 0x5d,
  f32Le: 0x5f,
  i32Add: 0x6a,
  i32Sub: 0x6b,
  i32Mul: 0x6c,
  i32DivS: 0x6d,
  i32RemS: 0x6f,
  i32And: 0x71,
  i32Or: 0x72,
  i32Xor: 0x73,
  i32Shl: 0x74,
  i32ShrS: 0x75,
  i32ShrU: 0x76,
  i64Mul: 0x7e,
  i64ShrU: 0x88,
  f32Abs: 0x8b,
  f32Neg: 0x8c,
  f32Floor: 0x8e,
  f32Nearest: 0x90,
  f32Sqrt: 0x91,
  f32Add: 0x92,
  f32Sub: 0x93,
  f32Mul: 0x94,
  f32Div: 0x95,
  f32Min: 0x96,
  f32Max: 0x97,
  i32WrapI64: 0xa7,
  i64ExtendI32U: 0xad,
  f32ConvertI32S: 0xb2,
  f32ConvertI32U: 0xb3,
  i32ReinterpretF32: 0xbc,
  f32ReinterpretI32: 0xbe,
} as const;

/** Opcodes behind the vector prefix 0xfd. */
export const simd = {
  load: 0,
  load32Splat: 9,
  store: 11,
  const: 12,
  shuffle: 13,
  i32Splat: 17,
  f32Splat: 19,
  i32Extract: 27,
  i32Replace: 28,
  f32Extract: 31,
  f32Replace: 32,
  i32Eq: 55,
  i32Ne: 56,
  i32LtS: 57,
  i32LeS: 61,
  f32Eq: 65,
  f32Lt: 67,
  f32Le: 69,
  not: 77,
  and: 78,
  andNot: 79,
  or: 80,
  xor: 81,
  bitselect: 82,
  anyTrue: 83,
  load32Lane: 86,
  store32Lane: 90,
  load32Zero: 92,
  i8Narrow16U: 102,
  f32Floor: 104,
  f32Nearest: 106,
  i16Narrow32U: 134,
  i16ExtendLow8U: 137,
  i32Abs: 160,
  i32Neg: 161,
  i32AllTrue: 163,
  i32ExtendLow16U: 169,
  i32Shl: 171,
  i32ShrU: 173,
  i32Add: 174,
  i32Sub: 177,
  i32Mul: 181,
  i32MinS: 182,
  i32MaxS: 184,
  i64ShrU: 205,
  i64ExtmulLowU: 222,
  i64ExtmulHighU: 223,
  f32Abs: 224,
  f32Neg: 225,
  f32Sqrt: 227,
  f32Add: 228,
  f32Sub: 229,
  f32Mul: 230,
  f32Div: 231,
  f32Min: 232,
  f32Max: 233,
  i32TruncSatF32S: 248,
  f32ConvertI32S: 250,
  f32ConvertI32U: 251,
  /** Relaxed SIMD: a * b + c, rounded once or twice as the processor likes. */
  f32RelaxedMadd: 261,
} as const;

const scratchBytes = new Uint8Array(4);
const scratchView = new DataView(scratchBytes.buffer);

/** Bytes that are copied as quickly as they are kept as a chunk. */
const SHORT = 64;

/** A growing sequence of bytes, with the encodings that instructions need. What is appended is not copied until the end, but for what is short. */
export class Code {
  private readonly chunks: (readonly number[] | Uint8Array | Code)[] = [];
  private tail: number[] = [];
  /** Bytes of the chunks. */
  private before = 0;

  get length(): number {
    return this.before + this.tail.length;
  }

  get bytes(): Uint8Array {
    const out = new Uint8Array(this.length);
    this.write(out, 0);
    return out;
  }

  /** The same code as one array of bytes: smaller, for what is kept. */
  packed(): Code {
    const code = new Code();
    code.chunks.push(this.bytes);
    code.before = this.length;
    return code;
  }

  private write(out: Uint8Array, from: number): void {
    let at = from;
    for (const c of this.chunks) {
      if (c instanceof Code) c.write(out, at);
      else out.set(c, at);
      at += c.length;
    }
    out.set(this.tail, at);
  }

  /** Bytes as they are. */
  raw(...bytes: readonly number[]): this {
    for (const b of bytes) this.tail.push(b);
    return this;
  }

  /** One or two instructions without immediates. */
  op(first: number, second?: number): this {
    this.tail.push(first);
    if (second !== undefined) this.tail.push(second);
    return this;
  }

  /** One instruction with one unsigned immediate: a local, a branch depth. */
  at(opcode: number, immediate: number): this {
    if (immediate < 128) {
      this.tail.push(opcode, immediate);
      return this;
    }
    this.tail.push(opcode);
    return this.unsigned(immediate);
  }

  /** One or two vector instructions without immediates. */
  simd(first: number, second?: number): this {
    if (first < 128) this.tail.push(0xfd, first);
    else this.tail.push(0xfd, (first & 127) | 128, first >> 7);
    return second === undefined ? this : this.simd(second);
  }

  /** A vector instruction that names a lane. */
  lane(opcode: number, lane: number): this {
    this.simd(opcode);
    this.tail.push(lane);
    return this;
  }

  /** A scalar memory access; `align` is the logarithm of the alignment. */
  memory(opcode: number, align: number, offset: number): this {
    this.tail.push(opcode);
    return this.unsigned(align).unsigned(offset);
  }

  /** A vector memory access. Byte alignment is promised of nothing but the access's own lanes. */
  simdMemory(opcode: number, align: number, offset: number, lane?: number): this {
    this.simd(opcode).unsigned(align).unsigned(offset);
    if (lane !== undefined) this.tail.push(lane);
    return this;
  }

  i32(value: number): this {
    if (value >= -64 && value < 64) {
      this.tail.push(0x41, value & 127);
      return this;
    }
    this.tail.push(0x41);
    return this.signed(value);
  }

  f32(value: number): this {
    this.tail.push(0x43);
    return this.float(value);
  }

  /** The same or four different 32-bit patterns, given as i32. */
  lanes(values: readonly number[]): this {
    this.simd(simd.const);
    for (let i = 0; i < 4; i++) {
      const v = values[i];
      this.tail.push(v & 255, (v >> 8) & 255, (v >> 16) & 255, (v >> 24) & 255);
    }
    return this;
  }

  /** Picks 32-bit lanes: 0 to 3 of the first operand, 4 to 7 of the second. */
  shuffle(...lanes: readonly number[]): this {
    this.simd(simd.shuffle);
    for (const l of lanes) this.tail.push(4 * l, 4 * l + 1, 4 * l + 2, 4 * l + 3);
    return this;
  }

  /** Appends code that is finished. */
  append(other: Code): this {
    if (other.chunks.length === 0 && other.tail.length <= SHORT) {
      for (let i = 0; i < other.tail.length; i++) this.tail.push(other.tail[i]);
      return this;
    }
    this.chunks.push(this.tail, other);
    this.before += this.tail.length + other.length;
    this.tail = [];
    return this;
  }

  /** LEB128. */
  unsigned(value: number): this {
    let rest = value >>> 0;
    while (rest > 127) {
      this.tail.push((rest & 127) | 128);
      rest >>>= 7;
    }
    this.tail.push(rest);
    return this;
  }

  /** LEB128 of an i32. */
  signed(value: number): this {
    let rest = value | 0;
    while (rest < -64 || rest > 63) {
      this.tail.push((rest & 127) | 128);
      rest >>= 7;
    }
    this.tail.push(rest & 127);
    return this;
  }

  name(text: string): this {
    const utf8 = new TextEncoder().encode(text);
    this.unsigned(utf8.length);
    for (const b of utf8) this.tail.push(b);
    return this;
  }

  private float(value: number): this {
    scratchView.setFloat32(0, value, true);
    for (const b of scratchBytes) this.tail.push(b);
    return this;
  }
}

/** The bits of an f32 as an i32. */
export function floatBits(value: number): number {
  scratchView.setFloat32(0, value, true);
  return scratchView.getInt32(0, true);
}

/** A function from i32 parameters to nothing. */
export interface WasmFunction {
  readonly name: string;
  readonly params: number;
  /** Types of the locals that follow the parameters. */
  readonly locals: readonly ValueType[];
  readonly body: Code;
}

export interface MemoryImport {
  /** For several threads; such a memory must state its largest size. */
  readonly shared: boolean;
  /** Pages of 64 KiB that a shared memory has at most. */
  readonly maximumPages: number;
}

function section(out: Code, id: number, items: readonly Code[]): void {
  const body = new Code().unsigned(items.length);
  for (const item of items) body.append(item);
  out.op(id).unsigned(body.length).append(body);
}

function functionBody(f: WasmFunction): Code {
  const { locals } = f;
  const runs = new Code();
  let count = 0;
  for (let from = 0, to = 0; from < locals.length; from = to) {
    while (to < locals.length && locals[to] === locals[from]) to++;
    runs.unsigned(to - from).op(locals[from]);
    count++;
  }
  const code = new Code().unsigned(count).append(runs);
  code.append(f.body).op(op.end);
  return new Code().unsigned(code.length).append(code);
}

/** A module that imports its memory as `env.memory` and exports each function by its name. */
export function encodeModule(functions: readonly WasmFunction[], memory: MemoryImport): Uint8Array {
  const arities = [...new Set(functions.map((f) => f.params))];
  const out = new Code().raw(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00);
  section(
    out,
    1,
    arities.map((n) =>
      new Code()
        .op(0x60)
        .unsigned(n)
        .raw(...new Array<number>(n).fill(I32))
        .unsigned(0),
    ),
  );
  const limits = memory.shared ? new Code().op(3).unsigned(0).unsigned(memory.maximumPages) : new Code().op(0, 0);
  section(out, 2, [new Code().name('env').name('memory').op(2).append(limits)]);
  section(
    out,
    3,
    functions.map((f) => new Code().unsigned(arities.indexOf(f.params))),
  );
  section(
    out,
    7,
    functions.map((f, i) => new Code().name(f.name).op(0).unsigned(i)),
  );
  section(out, 10, functions.map(functionBody));
  return out.bytes;
}

/**
 * One walk over the nodes: each op's handler makes core ops of it, or what it computes is folded. State is read at the start under
 * the names of the model's tensors; what nothing reads in the end is left out.
 */
import { Builder } from '../../../ir/builder.js';
import {
  inputName,
  misfit,
  noOutput,
  quantizedOp,
  undefinedValue,
  unsupportedForm,
  unsupportedOp,
  unsupportedVersion,
} from '../../../ir/diagnostics/onnx.js';
import type { Func, StateEntry, Value } from '../../../ir/graph.js';
import { TypeRuleError } from '../../../ir/ops/declare.js';
import { type Dim, tensor } from '../../../ir/types.js';
import type { OnnxModel, OnnxNode } from './decode.js';
import { handlers } from './handlers.js';
import { type Item, isKnown, KNOWN_LIMIT, type Known, knownFrom, numbers } from './known.js';
import { type Mode, NodeImport, type Pass } from './node-import.js';
import { fold } from './shape-values.js';
import type { PlannedTensor } from './state-plan.js';
import type { Classification } from './weights.js';

export class FunctionImport {
  private readonly b: Builder;
  private readonly items = new Map<string, Item>();
  private readonly states = new Map<string, Value>();
  private readonly moved = new Map<Value, Value>();
  private readonly pass: Pass;
  private readonly extra: Partial<Record<'valid' | 'rng', Value>> = {};
  /** How many nodes and outputs read each ONNX value. */
  private readonly readers = new Map<string, number>();

  constructor(
    private readonly mode: Mode,
    private readonly model: OnnxModel,
    private readonly nodes: readonly OnnxNode[],
    private readonly found: Classification,
    private readonly plan: ReadonlyMap<string, PlannedTensor>,
    private readonly constants: Map<string, PlannedTensor>,
    options: { readonly dropout?: boolean; readonly bnVariance?: 'population' | 'unbiased' },
  ) {
    this.b = new Builder(mode, { kind: 'onnx', node: 'graph', op: 'graph' });
    this.pass = {
      mode,
      b: this.b,
      opset: model.opset,
      dropout: options.dropout ?? true,
      bnVariance: options.bnVariance ?? 'population',
      fixedBatch: found.fixedBatch,
      item: (name) => this.item(name),
      constant: (known, from) => this.constant(known, from),
      valid: () => this.extra.valid!,
      rng: () => this.extra.rng!,
      current: (state) => this.moved.get(state) ?? state,
      replace: (state, by) => this.moved.set(state, by),
    };
  }

  func(): Func {
    this.declare();
    for (const n of this.nodes) this.read(n);
    for (const name of this.outputs()) this.b.output(name, this.output(name));
    if (this.b.outputs.length === 0) throw noOutput();
    for (const [state, value] of this.moved) this.b.update(state.name, value);
    return this.pruned();
  }

  /** Which of the named values are known, having read the nodes; the function itself is not built. */
  known(names: readonly string[]): ReadonlyMap<string, Known> {
    this.declare();
    for (const n of this.nodes) this.read(n);
    const out = new Map<string, Known>();
    for (const name of names) {
      const item = this.items.get(name);
      if (item && isKnown(item)) out.set(name, item);
    }
    return out;
  }

  /** Inputs and all state come first, so that they have their own names; what is not read is taken out again at the end. */
  private declare(): void {
    const N: Dim = { symbol: 'N', factor: 1 };
    for (const v of this.found.inputs) this.items.set(v.name, this.b.input(v.name, v.type, v.loc));
    if (this.mode === 'train')
      for (const [name, type] of [
        ['valid', tensor('f32', [N])],
        ['rng', tensor('i32', [3])],
      ] as const) {
        if (this.items.has(name) || this.plan.has(name)) throw inputName(name);
        this.extra[name] = this.b.input(name, type);
      }
    for (const [name, { tensor: t, entry }] of this.plan) {
      if (this.items.has(name)) continue;
      const count = t.type.shape.reduce<number>((p, d) => p * (d as number), 1);
      const state = this.stateRead(entry);
      const small = entry.role === 'constant' && t.data && count <= KNOWN_LIMIT;
      this.items.set(name, small ? knownFrom(t.data()) : state);
    }
    const count = (name: string): void => {
      this.readers.set(name, (this.readers.get(name) ?? 0) + 1);
    };
    for (const n of this.nodes) n.inputs.forEach(count);
    this.model.outputs.forEach(count);
  }

  /** Builder.read looks through a list; this map makes many reads linear. */
  private stateRead(entry: StateEntry): Value {
    const known = this.states.get(entry.name);
    if (known) return known;
    const value = this.b.read(entry.name, entry.type, entry.loc);
    this.states.set(entry.name, value);
    return value;
  }

  private item(name: string): Item {
    const item = this.items.get(name);
    if (!item) throw undefinedValue(name, this.b.loc);
    return item;
  }

  /** A folded tensor as state; under the name of the model's tensor where it is one. */
  private constant(k: Known, from: string): Value {
    const own = this.plan.get(from);
    if (own && own.entry.role === 'constant' && this.states.has(from)) return this.states.get(from)!;
    let name = `constant/${from}`;
    while (this.plan.has(name) || this.items.has(name)) name += '_';
    let planned = this.constants.get(name);
    if (!planned) {
      const loc = this.b.loc;
      const type = tensor(k.dtype, k.shape);
      const values = numbers(k)!;
      const data =
        k.dtype === 'f32'
          ? Float32Array.from(values)
          : k.dtype === 'i32'
            ? Int32Array.from(values)
            : Uint8Array.from(values);
      planned = {
        tensor: { name, type, source: 'Constant', data: () => ({ type, data }), loc },
        entry: {
          name,
          type,
          role: 'constant',
          owner: 'all',
          lifetime: 'artifact',
          checkpoint: false,
          init: { kind: 'weights' },
          loc,
        },
      };
      this.constants.set(name, planned);
    }
    return this.stateRead(planned.entry);
  }

  private read(node: OnnxNode): void {
    // A Constant or ConstantOfShape that is a weight is state already.
    if (node.outputs.every((o) => o === '' || this.items.has(o))) return;
    const handler = node.domain === '' ? handlers.get(node.op) : undefined;
    const { opset } = this.model;
    if (!handler && quantized.test(node.op)) throw quantizedOp(node.op, opset, node.loc);
    if (!handler) throw unsupportedOp(node.op, node.domain, opset, node.loc);
    const [first, last] = handler.opsets;
    if (opset < first || opset > last) throw unsupportedVersion(node.op, opset, handler.opsets, node.loc);
    this.b.loc = node.loc;
    const results = this.guarded(node, () => {
      const folding = new NodeImport(node, this.pass);
      const folded = fold(folding);
      if (folded) return folded;
      const n = new NodeImport(node, this.pass);
      const read = handler.read(n);
      n.finish();
      return read;
    });
    node.outputs.forEach((name, i) => {
      if (name === '') return;
      const item = results[i];
      if (item) this.items.set(name, item);
      else if (this.readers.has(name)) throw unsupportedForm(node.op, opset, `its result #${i} ("${name}")`, node.loc);
    });
  }

  /** Turns what the core's type rules refuse into an error that names the node. */
  private guarded<T>(node: OnnxNode, f: () => T): T {
    const before = this.b.nodes.length;
    try {
      const result = f();
      for (const made of this.b.nodes.slice(before)) {
        for (const v of made.operands) checkSize(node, this.model.opset, v, 'an operand has');
        for (const v of made.results) checkSize(node, this.model.opset, v, 'the result would have');
      }
      return result;
    } catch (e) {
      if (e instanceof TypeRuleError) throw misfit(node.op, this.model.opset, e.message, node.loc);
      throw e;
    }
  }

  /** Graph outputs but for the running statistics that training forms of BatchNormalization may list. */
  private outputs(): string[] {
    const statistics = new Set(
      this.nodes.filter((n) => n.op === 'BatchNormalization').flatMap((n) => n.outputs.slice(1)),
    );
    return this.model.outputs.filter((o) => !statistics.has(o));
  }

  private output(name: string): Value {
    const item = this.item(name);
    if (!isKnown(item)) return item;
    const n = new NodeImport(
      {
        name,
        index: -1,
        op: 'output',
        domain: '',
        inputs: [name],
        outputs: [name],
        attributes: new Map(),
        loc: this.b.loc,
        proto: {},
      },
      this.pass,
    );
    return n.value(0);
  }

  private pruned(): Func {
    const func = this.b.finish();
    const read = new Set<Value>([...func.outputs, ...func.updates].map((o) => o.value));
    for (const n of func.nodes) for (const v of n.operands) read.add(v);
    const updated = new Set(func.updates.map((u) => u.state));
    return {
      ...func,
      inputs: func.inputs.filter((v) => read.has(v) || (v !== this.extra.valid && v !== this.extra.rng)),
      reads: func.reads.filter((v) => read.has(v) || updated.has(v.name)),
    };
  }
}

/** Ops on integers that stand for floats, in any domain. */
const quantized = /^(Q(Linear|Attention|Gemm)|QuantizeLinear$|DequantizeLinear$|DynamicQuantize)|Integer$/;

/** Broken files can ask for absurd sizes. */
function checkSize(node: OnnxNode, opset: number, v: Value, what: string): void {
  const count = v.type.shape.reduce<number>((p, d) => p * (typeof d === 'number' ? d : d.factor), 1);
  if (!(count >= 1 && count <= 2 ** 40)) throw misfit(node.op, opset, `${what} ${count} elements`, node.loc);
}

/**
 * Handlers against the ONNX project's own node tests: every test of an op that the importer knows either gives the expected
 * outputs or is refused with a numbered error. The first input is data, the others are constants of the model. References are
 * f32, some computed in f32: 1e-4 relative to the largest element leaves room for sums of a few thousand terms.
 */
import { describe, expect, it } from 'vitest';
import { decode } from '../../compiler/frontend/onnx/decode.js';
import { FunctionImport } from '../../compiler/frontend/onnx/function-import.js';
import { handlers } from '../../compiler/frontend/onnx/handlers.js';
import { type PlannedTensor, planState } from '../../compiler/frontend/onnx/state-plan.js';
import { readTensor } from '../../compiler/frontend/onnx/tensor-data.js';
import { sortNodes } from '../../compiler/frontend/onnx/topology.js';
import type { Tensor } from '../../compiler/frontend/onnx/weights.js';
import { UserError } from '../../ir/diagnostics/error.js';
import { evaluate } from '../../ir/evaluate.js';
import { DATA, hasData, relativeError } from './forward.js';
import { type NodeTest, readNodeTests, tensorProto } from './onnx-node-tests.js';

const TOLERANCE = 1e-4;
const float64 = (data: ArrayLike<number | bigint>): Float64Array => Float64Array.from(data, Number);

function outcome(test: NodeTest): 'agrees' | `refused E${number}: ${string}` {
  try {
    const model = decode(test.model, test.name);
    const values = test.inputs.map((bytes) => readTensor(tensorProto(bytes), test.name));
    const loc = { kind: 'onnx', node: test.name, op: 'input' } as const;
    const tensors = new Map<string, Tensor>();
    model.inputs.slice(1).forEach((v, i) => {
      const t = values[i + 1];
      tensors.set(v.name, { name: v.name, type: t.type, source: 'initializer', data: t.data, loc });
    });
    const [x] = model.inputs;
    const type = values[0].type;
    const data = { name: x.name, type: { ...type, dtype: type.dtype === 'i64' ? ('i32' as const) : type.dtype }, loc };
    const nodes = sortNodes(model);
    const plan = planState(tensors, nodes, { seed: 0 });
    const constants = new Map<string, PlannedTensor>();
    const func = new FunctionImport('predict', model, nodes, { tensors, inputs: [data] }, plan, constants, {}).func();
    const state = Object.fromEntries(
      [...plan.values(), ...constants.values()].map((p) => [p.entry.name, float64(p.tensor.data!().data)]),
    );
    const got = evaluate(func, { [x.name]: float64(values[0].data().data) }, state).outputs;
    test.outputs.forEach((bytes, i) => {
      const want = float64(readTensor(tensorProto(bytes), test.name).data().data);
      const name = model.outputs[i];
      if (name in got) expect(relativeError(got[name], want), `${test.name}: ${name}`).toBeLessThan(TOLERANCE);
    });
    return 'agrees';
  } catch (e) {
    if (e instanceof UserError) return `refused E${e.code}: ${e.what}`;
    throw e;
  }
}

const archive = `${DATA}/onnx-tests/onnx-node-tests-v1.22.0.tar.xz`;

describe.runIf(hasData)('ONNX node tests', () => {
  const known = (t: NodeTest): boolean => {
    try {
      return decode(t.model, t.name).nodes.every((n) => n.domain === '' && handlers.has(n.op));
    } catch {
      return false;
    }
  };
  const tests = hasData ? readNodeTests(archive).filter((t) => t.inputs.length > 0 && known(t)) : [];
  const results = new Map<string, string>();

  it.each(tests.map((t) => [t.name, t] as const))('%s', (name, test) => {
    results.set(name, outcome(test));
  });

  it('refuses few of them', () => {
    const refused = [...results].filter(([, r]) => r !== 'agrees');
    console.log(results.size, refused.length); for (const [n, r] of refused) console.log(n, r);
  });
});

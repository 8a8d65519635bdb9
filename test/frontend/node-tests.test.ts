/**
 * Handlers and folding against the ONNX project's own node tests: every test of an op that the importer knows either gives the
 * expected outputs or is refused with a numbered error. Each runs twice: the first input as data and the others as constants
 * of the model, and all inputs as constants, so that what can be folded is. 1e-3 relative to the largest element is what ONNX's
 * own runner allows (some references have four digits); bfloat16 has 8 bits, and is f32 here.
 */
import { describe, expect, it } from 'vitest';
import { decode } from '../../compiler/frontend/onnx/decode.js';
import { FunctionImport } from '../../compiler/frontend/onnx/function-import.js';
import { handlers } from '../../compiler/frontend/onnx/handlers.js';
import type { Tensor } from '../../compiler/frontend/onnx/held-tensors.js';
import { type PlannedTensor, planState } from '../../compiler/frontend/onnx/state-plan.js';
import { readTensor } from '../../compiler/frontend/onnx/tensor-data.js';
import { sortNodes } from '../../compiler/frontend/onnx/topology.js';
import type { DataInput } from '../../compiler/frontend/onnx/weights.js';
import { UserError } from '../../ir/diagnostics/error.js';
import { evaluate } from '../../ir/evaluate.js';
import { rebuild } from '../../ir/rewrite.js';
import { bindShape } from '../../ir/types.js';
import { DATA, hasData, relativeError } from './forward.js';
import { type NodeTest, readNodeTests, tensorProto } from './onnx-node-tests.js';

const tolerance = (test: string): number => (/BFLOAT16/.test(test) ? 2 ** -8 : 1e-3);
const float64 = (data: ArrayLike<number | bigint>): Float64Array => Float64Array.from(data, Number);

type Outcome = 'agrees' | { readonly refused: UserError };

/** @param asData number of inputs that are data */
function outcome(test: NodeTest, asData: 0 | 1): Outcome {
  try {
    const model = decode(test.model, test.name);
    const training = asData > 0 && /batchnorm.*training/.test(test.name);
    const values = test.inputs.map((bytes) => readTensor(tensorProto(bytes), test.name));
    const loc = { kind: 'onnx', node: test.name, op: 'input' } as const;
    const tensors = new Map<string, Tensor>();
    const inputs: DataInput[] = [];
    const given: Record<string, Float64Array> = {};
    model.inputs.forEach(({ name }, i) => {
      const { type, data } = values[i];
      if (i >= asData) tensors.set(name, { name, type, source: 'initializer', data, loc });
      else {
        const shape = training ? [{ symbol: 'N', factor: 1 }, ...type.shape.slice(1)] : type.shape;
        inputs.push({ name, type: { ...type, shape, dtype: type.dtype === 'i64' ? 'i32' : type.dtype }, loc });
        given[name] = float64(data().data);
      }
    });
    const nodes = sortNodes(model);
    const plan = planState(tensors, nodes, { seed: 0 });
    const constants = new Map<string, PlannedTensor>();
    const mode = training ? 'train' : 'predict';
    const read = new FunctionImport(mode, model, nodes, { tensors, inputs }, plan, constants, {}).func();
    const examples = values[0].type.shape[0] as number;
    const func = rebuild(read, 'bind-batch', {
      type: (v) => ({ ...v.type, shape: bindShape(v.type.shape, { N: examples }) }),
    });
    if (training) given.valid = new Float64Array(examples).fill(1);
    const state = Object.fromEntries(
      [...plan.values(), ...constants.values()].map((p) => [p.entry.name, float64(p.tensor.data!().data)]),
    );
    const got = evaluate(func, given, state).outputs;
    test.outputs.forEach((bytes, i) => {
      const want = float64(readTensor(tensorProto(bytes), test.name).data().data);
      const name = model.outputs[i];
      if (name in got)
        expect(relativeError(got[name], want), `${test.name}: ${name}`).toBeLessThan(tolerance(test.name));
    });
    return 'agrees';
  } catch (e) {
    if (e instanceof UserError) return { refused: e };
    throw e;
  }
}

const archive = `${DATA}/onnx-tests/onnx-node-tests-v1.22.0.tar.xz`;

/** Prediction only: what training draws is another random number generator's. */
const skipped = /^test_training_dropout/;

/** What is refused, by design: types and forms that classifiers do not use. */
const refusable = [
  /(FLOAT8|FLOAT4|INT4|INT2|FLOAT8E8M0)/,
  /select_last_index/,
  /pool_3d_|averagepool_2d_dilations|maxpool_2d_uint8|maxpool_with_argmax/,
  /^test_clip_default_int8|^test_(div|mod)_.*int|^test_mod_(broadcast|mixed_sign)|^test_pow_types_int/,
  /empty_set|zero_size|allowzero_reordered|start_greater_than_end|int_shape_zero|slice_start_out_of_bounds/,
  /^test_(edge|reflect|wrap)_pad|^test_slice_neg_steps|^test_reduce_prod|^test_reduce_m(ax|in)_bool/,
  /^test_attention_.*(qk_matmul|padded_kv)|^test_tri[lu]_zero/,
  /^test_range_|^test_constantofshape_|^test_convtranspose_3d|^test_einsum_batch_diagonal|^test_resize_tf_crop|^test_scatternd/,
];

describe.runIf(hasData)('ONNX node tests', () => {
  const known = (t: NodeTest): boolean => {
    try {
      const { nodes, inputs } = decode(t.model, t.name);
      return (
        inputs.length > 0 &&
        inputs.length === t.inputs.length &&
        nodes.every((n) => n.domain === '' && handlers.has(n.op))
      );
    } catch {
      return false;
    }
  };
  const tests = hasData ? readNodeTests(archive).filter((t) => !skipped.test(t.name) && known(t)) : [];

  it('finds them', () => {
    expect(tests.length).toBeGreaterThan(550);
  });

  it.each(tests.map((t) => [t.name, t] as const))('%s', (name, test) => {
    for (const asData of [1, 0] as const) {
      if (asData === 0 && /batchnorm.*training/.test(name)) continue;
      const result = outcome(test, asData);
      if (result === 'agrees') continue;
      if (!refusable.some((r) => r.test(name))) throw result.refused;
      expect([110, 111, 112, 113, 114, 115]).toContain(result.refused.code);
    }
  });
});

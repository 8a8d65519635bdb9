/**
 * Every model of the data set compiles for training, or ends in a numbered error: docs/onnx-models.md is the table of all.
 * UPDATE_DOCS=1 writes it anew.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type CompileOptions, runPasses, type Stages } from '../../compiler/compile.js';
import { WASM_MODULE } from '../../ir/artifact.js';
import { UserError } from '../../ir/diagnostics/error.js';
import { concrete, product } from '../../ir/types.js';
import { complaints } from '../targets/validate-wgsl.js';

const MODELS = '../shared/data/models';
const PAGE = 'docs/onnx-models.md';
const MOST_REFUSED = 4;

/** What the models that leave something open need to be told; all others compile as they are. */
const told: Readonly<Record<string, Pick<CompileOptions, 'inputs' | 'output'>>> = {
  'onnxruntime/bert_toy_optimized.onnx': {
    inputs: ['input_ids:Nx16', 'token_type_ids:Nx16', 'input_mask:Nx16'],
    output: 'seq_relationship_score',
  },
  'onnxruntime/training_api/eval_model.onnx': { inputs: ['input-0:Nx784', 'labels:N'] },
  'onnxruntime/training_api/training_model.onnx': {
    inputs: ['input-0:Nx784', 'labels:N'],
    output: 'onnx::loss::21273',
  },
};

interface Row {
  readonly file: string;
  readonly result: Stages | UserError;
}

function files(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true })
    .flatMap((f) => (f.isDirectory() ? files(`${dir}/${f.name}`) : [`${dir}/${f.name}`]))
    .filter((f) => f.endsWith('.onnx'))
    .sort();
}

function compiled(file: string): Row {
  try {
    const options = { batch: 4, init: 'he-normal' as const, ...told[file] };
    return { file, result: runPasses(readFileSync(`${MODELS}/${file}`), basename(file), options) };
  } catch (e) {
    if (e instanceof UserError) return { file, result: e };
    throw e;
  }
}

const flags = ({ inputs = [], output }: Pick<CompileOptions, 'inputs' | 'output'> = {}): string[] => [
  ...inputs.map((i) => `--input ${i}`),
  ...(output === undefined ? [] : [`--output ${output}`]),
];

function line({ file, result }: Row): string {
  if (result instanceof UserError) return `| ${file} | E${result.code} | | | ${result.what} |`;
  const { parameters, state } = result.placed;
  const size = new Map(state.map((s) => [s.name, product(concrete(s.type.shape))]));
  const trained = parameters.filter((p) => p.trainable && p.rule !== 'unused');
  const numbers = trained.reduce((sum, p) => sum + size.get(p.name)!, 0);
  const rules: Record<string, number> = {};
  for (const p of trained) rules[p.rule] = (rules[p.rule] ?? 0) + 1;
  const text = Object.keys(rules)
    .sort()
    .map((rule) => `${rule} ${rules[rule]}`)
    .join(', ');
  const notes = [...flags(told[file]).map((f) => `\`${f}\``), ...result.imported.notices].join('; ');
  return `| ${file} | yes | ${numbers.toLocaleString('en')} in ${trained.length} | ${text} | ${notes} |`;
}

function page(rows: readonly Row[]): string {
  const refused = rows.filter((r) => r.result instanceof UserError).length;
  return `# Models

What \`spngdc compile MODEL --init he-normal\` makes of every model of the reference data: ${rows.length - refused} of ${rows.length} compile for
training, ${refused} end in a numbered error. Parameters are numbers in tensors that are trained; a rule says how (\`spngdc inspect\`
gives the reasons): \`kfac-conv\`, \`kfac-dense\`, \`unit-bn\` and \`unit-affine\` precondition, \`plain\` is the gradient itself.
Options that a model needs stand among its notes.

Written by \`UPDATE_DOCS=1 npx vitest run test/end-to-end/model-table.test.ts\`.

| model | compiles | parameters | rules | notes, or why not |
|---|---|---:|---|---|
${rows.map(line).join('\n')}
`;
}

describe.runIf(existsSync(MODELS))('all models of the data set', () => {
  it(`compile, or are refused by number, as ${PAGE} says`, async () => {
    const rows = files(MODELS).map((f) => compiled(f.slice(MODELS.length + 1)));
    expect(rows.length).toBeGreaterThan(30);
    expect(rows.filter((r) => r.result instanceof UserError).length).toBeLessThanOrEqual(MOST_REFUSED);
    const validated = new Set<string>();
    for (const { file, result } of rows) {
      if (result instanceof UserError) continue;
      for (const [path, bytes] of result.code.flatMap((c) => [...c.files])) {
        if (path === WASM_MODULE) expect(WebAssembly.validate(bytes as Uint8Array<ArrayBuffer>), file).toBe(true);
        else {
          // But for the kernel's name, models share many.
          const text = new TextDecoder().decode(bytes);
          const code = text.replace(/^\/\/ \w+/m, '//');
          if (!validated.has(code)) expect(await complaints(code), `${file} ${path}`).toEqual([]);
          validated.add(code);
        }
      }
    }
    expect(validated.size).toBeGreaterThan(1000);
    if (process.env.UPDATE_DOCS) writeFileSync(PAGE, page(rows));
    expect(readFileSync(PAGE, 'utf8'), 'UPDATE_DOCS=1 writes it anew').toBe(page(rows));
  }, 600_000);
});

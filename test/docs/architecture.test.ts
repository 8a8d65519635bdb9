/**
 * The texts in ARCHITECTURE.md are what the compiler prints: each block is made of runs of lines of a file in docs/example/
 * (`...` marks what is left out), and those files are what comes out today. UPDATE_DOCS=1 writes the files anew.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runPasses } from '../../compiler/compile.js';
import { subgroupMatrixGemm } from '../../compiler/kernels/gpu/subgroup-matrix.js';
import { printWgsl } from '../../compiler/targets/webgpu/print.js';
import { parseKernel, parseModule, parseProgram, printKernel, printModule, printProgram } from '../../ir/text/spn.js';
import { tinyModel } from './tiny-model.js';

const dir = 'docs/example';
const stages = runPasses(tinyModel(), 'tiny.onnx', { batch: 8 });

const [wasm, webgpu] = stages.code;
const [adaptive] = runPasses(tinyModel(), 'tiny.onnx', { batch: 8, staleness: 'adaptive', targets: ['wasm'] }).code;
const several = runPasses(tinyModel(), 'tiny.onnx', { batch: 8, accumulate: 4, targets: ['wasm'] });
const drawn = runPasses(tinyModel(), 'tiny.onnx', { batch: 8, fisher: '1mc', targets: ['wasm'] });
/** The first layer on a GPU: its product with bias and Relu. */
const layer = webgpu.kernels.find(
  (k) => k.name === webgpu.program.functions.find((f) => f.name === 'train')!.segments[0].steps[0].variants[0],
)!;

const texts: Record<string, string> = {
  'tiny.model.spn': printModule(stages.model),
  'tiny.train.spn': printModule(stages.train),
  'tiny.kernels.spn': wasm.kernels.map(printKernel).join('\n'),
  'tiny.program.spn': printProgram(wasm.program),
  'tiny.adaptive.program.spn': printProgram(adaptive.program),
  'tiny.accumulate.train.spn': printModule(several.train),
  'tiny.1mc.train.spn': printModule(drawn.train),
  'tiny.webgpu.kernels.spn': webgpu.kernels.map(printKernel).join('\n'),
  'tiny.webgpu.program.spn': printProgram(webgpu.program),
  'tiny.layer.wgsl': printWgsl(layer),
  'gemm-subgroup-matrix.spn': printKernel(subgroupMatrixGemm()),
  'gemm-subgroup-matrix.wgsl': printWgsl(subgroupMatrixGemm()),
};

describe('the running example', () => {
  if (process.env.UPDATE_DOCS) {
    writeFileSync(`${dir}/tiny.onnx`, tinyModel());
    for (const [name, text] of Object.entries(texts)) writeFileSync(`${dir}/${name}`, text);
  }

  it.each(Object.keys(texts))('%s is what the compiler prints', (name) => {
    expect(readFileSync(`${dir}/${name}`, 'utf8')).toBe(texts[name]);
  });

  it('is the model that the example builds', () => {
    expect(Buffer.compare(readFileSync(`${dir}/tiny.onnx`), tinyModel())).toBe(0);
  });

  it('prints and parses back', () => {
    expect(printModule(parseModule(texts['tiny.train.spn']))).toBe(texts['tiny.train.spn']);
    expect(printProgram(parseProgram(texts['tiny.program.spn']))).toBe(texts['tiny.program.spn']);
    for (const k of stages.code.flatMap((c) => c.kernels))
      expect(printKernel(parseKernel(printKernel(k)))).toBe(printKernel(k));
  });

  it('is quoted in ARCHITECTURE.md as it is', () => {
    const blocks = [
      ...readFileSync('ARCHITECTURE.md', 'utf8').matchAll(/<!-- docs\/example\/(\S+) -->\n```\n([\s\S]*?)```/g),
    ];
    expect(blocks.map((b) => b[1])).toEqual([
      'tiny.model.spn',
      'tiny.train.spn',
      'tiny.1mc.train.spn',
      'tiny.accumulate.train.spn',
      'tiny.kernels.spn',
      'tiny.layer.wgsl',
      'tiny.program.spn',
      'tiny.adaptive.program.spn',
      'tiny.webgpu.program.spn',
    ]);
    for (const [, name, block] of blocks) {
      expect(block.trim(), name).not.toBe('');
      for (const run of block.split(/^ *\.\.\.\n/m)) expect(texts[name]).toContain(run);
    }
  });
});

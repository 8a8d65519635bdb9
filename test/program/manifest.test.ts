import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { compile } from '../../compiler/compile.js';
import { MANIFEST } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';

describe('the manifest that compile writes', () => {
  const model = readFileSync('examples/digits/digits.onnx');

  // The compiler does not check it (a run does), so this is what holds it to the schema.
  it.each(['spngd', 'sgd'] as const)('fits its schema, with its keys in the order of the schema: %s', (optimizer) => {
    const { files } = compile(model, 'digits.onnx', { init: 'he-normal', optimizer });
    const text = new TextDecoder().decode(files.get(MANIFEST));
    expect(text).toBe(`${JSON.stringify(manifestSchema.parse(JSON.parse(text)), null, 1)}\n`);
  });
});

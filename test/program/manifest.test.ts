import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { compile } from '../../compiler/compile.js';
import { encodeManifest, MANIFEST } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';

describe('the manifest that compile writes', () => {
  const model = readFileSync('examples/digits/digits.onnx');

  // The compiler does not check it (a run does), so this is what holds it to the schema.
  it.each(['spngd', 'sgd'] as const)('fits its schema, with its keys in the order of the schema: %s', (optimizer) => {
    const { files } = compile(model, 'digits.onnx', { init: 'he-normal', optimizer });
    const bytes = files.get(MANIFEST)!;
    const text = new TextDecoder().decode(bytes);
    const parsed = manifestSchema.parse(JSON.parse(text));
    expect(encodeManifest(parsed)).toEqual(bytes);
    // A line for each entry, none that spans two.
    const [{ buffers, functions }] = parsed.programs;
    const steps = functions.flatMap((f) => f.segments.flatMap((s) => s.steps));
    const lines = new Set(text.split(/,?\n/));
    for (const entry of [...parsed.state, ...parsed.parameters, ...buffers, ...steps])
      expect(lines).toContain(JSON.stringify(entry));
  });
});

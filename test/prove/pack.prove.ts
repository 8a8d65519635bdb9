/**
 * A job at the compression that users get: under 40 MiB without the weights.
 */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeArtifact } from '../../cli/artifact-folder.js';
import { runCommandLine } from '../../cli/command-line.js';
import { compile } from '../../compiler/compile.js';
import { lacking } from '../pack/bare-root.js';
import { temporaryFolder } from '../runtime/tiny-artifact.js';

describe.runIf(lacking().length === 0)('a packed job', () => {
  it('has at most 40 MiB', async () => {
    const folder = temporaryFolder();
    const [dir, job] = [join(folder, 'digits.spngd'), join(folder, 'job.tar.xz')];
    const options = { init: 'he-normal' } as const;
    writeArtifact(dir, compile(readFileSync('examples/digits/digits.onnx'), 'digits.onnx', options).files);
    expect(await runCommandLine(['pack', dir, '-o', job, '--tests'])).toBe(0);
    const { size } = statSync(job);
    console.log(`the digits' job, with its tests: ${(size / 2 ** 20).toFixed(1)} MiB`);
    expect(size).toBeLessThan(40 * 2 ** 20);
  }, 900_000);
});

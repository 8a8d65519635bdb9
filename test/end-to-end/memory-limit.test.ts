import { expect, it } from 'vitest';
import { compile } from '../../compiler/compile.js';
import { UserError } from '../../ir/diagnostics/error.js';
import { tinyModel } from '../docs/tiny-model.js';

it('refuses a plan that the target cannot hold, with what it needs and what there is', () => {
  let error: unknown;
  try {
    compile(tinyModel(), 'tiny.onnx', { batch: 2 ** 27 });
  } catch (e) {
    error = e;
  }
  expect(error).toBeInstanceOf(UserError);
  const { code, what, hint } = error as UserError;
  expect(code).toBe(220);
  expect(what).toMatch(
    /needs [\d,]+ MiB of memory \(at least [\d,]+ MiB are alive at once\); the target wasm has 4,096 MiB; the plan needs [\d,]+ MiB of memory, [\d,]+ MiB in one memory \(.*\); the target webgpu has 2,048 MiB/,
  );
  expect(hint).toContain('--batch');
});

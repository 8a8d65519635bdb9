import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeManifest, SCHEMA_VERSION } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import { UserError } from '../../ir/diagnostics/error.js';
import { loadArtifact } from '../../runtime/artifact.js';
import { WasmDevice } from '../../runtime/devices/wasm/device.js';
import { copyModule, temporaryFolder, tinyFiles, tinyManifest, writeTiny } from './tiny-artifact.js';
import { userError } from './user-error.js';

// biome-ignore lint/suspicious/noExplicitAny: see writeTiny
type Change = (m: any) => void;

/** Every place in a JSON value, as a list of keys. */
function paths(value: unknown): string[][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [[key], ...paths(inner).map((p) => [key, ...p])]);
}

describe('loading an artifact', () => {
  it('gives the manifest, the files and the weights', () => {
    const artifact = loadArtifact(writeTiny());
    expect(artifact.manifest.model.name).toBe('tiny');
    expect([...artifact.files.keys()].sort()).toEqual([...tinyFiles().keys()].sort());
    expect(artifact.weights.get('w')?.data).toEqual(Float32Array.of(7));
  });

  it('writes equal manifests as equal bytes, whatever the order of keys', () => {
    const manifest = tinyManifest(tinyFiles());
    const reversed = Object.fromEntries(Object.entries(manifest).reverse());
    reversed.files = Object.fromEntries(Object.entries(manifest.files).reverse());
    expect(encodeManifest(manifestSchema.parse(reversed))).toEqual(encodeManifest(manifestSchema.parse(manifest)));
  });

  const broken: [string, number, Change][] = [
    ['another schema version', 403, (m) => (m.schema = SCHEMA_VERSION + 1)],
    ['no schema version', 403, (m) => delete m.schema],
    ['a missing part', 402, (m) => delete m.batch],
    ['an unknown key', 402, (m) => (m.extra = 1)],
    ['a batch of zero', 402, (m) => (m.batch.train = 0)],
    ['a negative offset', 402, (m) => (m.programs[0].buffers[1].offset = -256)],
    ['a model name that is a path', 402, (m) => (m.model.name = '../evil')],
    ['a file path that leaves the folder', 402, (m) => (m.files['../x'] = m.files['program.spn'])],
    ['an absolute file path', 402, (m) => (m.files['/etc/passwd'] = m.files['program.spn'])],
    ['a file that is not there', 404, (m) => (m.files['kernels/other.wasm'] = m.files['program.spn'])],
    ['a wrong size', 405, (m) => m.files['program.spn'].bytes++],
    ['a wrong hash', 406, (m) => (m.files['program.spn'].sha256 = 'f'.repeat(64))],
    ['a buffer beyond its memory', 408, (m) => (m.programs[0].memories[0].bytes = 1280)],
    ['a buffer in no memory', 408, (m) => (m.programs[0].buffers[0].memory = 'other')],
    ['an unaligned buffer', 408, (m) => (m.programs[0].buffers[0].offset = 4)],
    ['a buffer with the bytes of another type', 409, (m) => (m.programs[0].buffers[1].bytes = 4)],
    ['a packed tensor that is not square', 409, (m) => (m.programs[0].buffers[1].layout = 'packed-lower')],
    ['state of another shape than its buffer', 409, (m) => (m.state[0].shape = [1, 1])],
    ['a step with an unknown kernel', 410, (m) => (m.programs[0].functions[0].segments[0].steps[0].variants[0] = 'k')],
    ['another batch than the buffers hold', 409, (m) => (m.batch.train = 2)],
    ['another example than the buffers hold', 409, (m) => (m.inputs[0].shape = [1, 5])],
    ['an input of another type than a run writes', 409, (m) => (m.inputs[0].dtype = 'i32')],
    ['a target that the loss does not have', 409, (m) => (m.programs[0].functions[0].inputs[0].name = 'target')],
    ['an input that no run writes', 409, (m) => (m.programs[0].functions[0].inputs[1].name = 'learning')],
    ['a scalar in a longer buffer', 409, (m) => (m.programs[0].functions[0].inputs[1].buffer = 'train.x')],
    ['a kernel that no GPU knows to run', 425, (m) => (m.programs[0].target = 'webgpu')],
    ['a step with an unknown buffer', 412, (m) => (m.programs[0].functions[0].segments[0].steps[0].args[0] = 'b')],
    ['an input with an unknown buffer', 412, (m) => (m.programs[0].functions[0].inputs[0].buffer = 'b')],
    [
      'a kernel with two numbers of arguments',
      411,
      (m) => m.programs[0].functions[0].segments[0].steps[0].args.push('w'),
    ],
    ['a repeated segment for a CPU', 402, (m) => (m.programs[0].functions[0].segments[0].repeat = 2)],
    ['a segment repeated no times', 402, (m) => (m.programs[0].functions[0].segments[0].repeat = 0)],
    [
      'a batch for a CPU',
      402,
      (m) => (m.programs[0].functions[0].batches = [{ guard: 'g', of: ['h'], buffer: 'train.x' }]),
    ],
    ['a missing function', 413, (m) => m.programs[0].functions.pop()],
    ['two buffers of one name', 421, (m) => m.programs[0].buffers.push(m.programs[0].buffers[0])],
    ['metrics without the loss', 422, (m) => (m.functions.train.metrics = ['x', 'count'])],
    ['more metrics than the output holds', 422, (m) => m.functions.train.metrics.push('more')],
    ['no metrics', 422, (m) => delete m.functions.eval],
    ['weights of another shape', 417, (m) => (m.state[0].shape = m.programs[0].buffers[0].shape = [1, 1])],
  ];
  it.each(broken)('refuses %s: E%i', (_what, code, change) => {
    const error = userError(() => loadArtifact(writeTiny(change)));
    expect(error.code).toBe(code);
    expect(error.hint).not.toBe('');
  });

  it('meets any mutation of the manifest with a numbered error, or loads what is still sound', () => {
    const dir = writeTiny();
    const file = join(dir, 'manifest.json');
    const text = readFileSync(file, 'utf8');
    const values = [null, true, -1, 0.5, 7, 2 ** 32, 1e300, '', 'x', '../x', [], {}];
    let refused = 0;
    const attempt = (manifest: unknown): void => {
      writeFileSync(file, JSON.stringify(manifest));
      try {
        WasmDevice.load(loadArtifact(dir));
      } catch (e) {
        if (!(e instanceof UserError)) throw e;
        refused++;
      }
    };
    for (const path of paths(JSON.parse(text)))
      for (const value of values) {
        const manifest = JSON.parse(text);
        // biome-ignore lint/suspicious/noExplicitAny: any part of the manifest
        const holder = path.slice(0, -1).reduce((o: any, key) => o[key], manifest);
        holder[path[path.length - 1]] = value;
        attempt(manifest);
      }
    expect(refused).toBeGreaterThan(1000);
  });

  it('names the place in a broken manifest', () => {
    const error = userError(() => loadArtifact(writeTiny((m) => (m.programs[0].buffers[2].offset = 'far'))));
    expect(error.loc).toMatch(/manifest\.json: programs\[0\]\.buffers\[2\]\.offset$/);
  });

  it('refuses a folder without manifest, and one that is not JSON', () => {
    expect(userError(() => loadArtifact(temporaryFolder())).code).toBe(401);
    const dir = writeTiny();
    writeFileSync(join(dir, 'manifest.json'), '{"schema": 1,');
    expect(userError(() => loadArtifact(dir)).code).toBe(402);
  });

  it('refuses a symbolic link that leads out of the folder', () => {
    const dir = writeTiny();
    const outside = join(temporaryFolder(), 'program.spn');
    writeFileSync(outside, 'module @tiny\n');
    rmSync(join(dir, 'program.spn'));
    symlinkSync(outside, join(dir, 'program.spn'));
    expect(userError(() => loadArtifact(dir)).code).toBe(407);
  });
});

describe('the wasm device', () => {
  const load = (change?: Change, wasm = copyModule()): WasmDevice =>
    WasmDevice.load(loadArtifact(writeTiny(change, tinyFiles().set('kernels/program.wasm', wasm))));

  it('runs the segments of a function whose guard is on, in order, and counts dispatches', () => {
    const device = load();
    device.write('train.x', Float32Array.of(1.5, 1));
    device.write('train.lr', Float32Array.of(0.25));
    device.run('train', () => false);
    expect(device.read('train.metrics')).toEqual(Float32Array.of(1.5, 1));
    expect(device.read('w')).toEqual(Float32Array.of(0));
    expect(device.dispatches).toBe(1);
    device.run('train', (guard) => guard === 'due(w)');
    expect(device.read('w')).toEqual(Float32Array.of(0.25));
    expect(device.dispatches).toBe(3);
  });

  it('gives copies: what was read does not change with the next step', () => {
    const device = load();
    device.write('w', Float32Array.of(1));
    const before = device.read('w');
    device.write('w', Float32Array.of(2));
    expect(before).toEqual(Float32Array.of(1));
  });

  it('does not take data of another type or length', () => {
    const device = load();
    expect(() => device.write('w', Int32Array.of(1))).toThrow('buffer w');
    expect(() => device.write('w', Float32Array.of(1, 2))).toThrow('buffer w');
  });

  it.each([
    ['bytes that are no module', 414, undefined, new Uint8Array([1, 2, 3, 4])],
    ['a module that imports something else', 414, undefined, copyModule({ from: 'fs' })],
    ['a module that imports another memory', 414, undefined, copyModule({ name: 'other' })],
    ['a kernel that is not exported', 414, (m) => (m.programs[0].kernels[0].name = 'other'), copyModule()],
    ['a kernel with other parameters', 411, undefined, copyModule({ parameters: 4 })],
    [
      'a program for another target',
      419,
      (m) => {
        m.programs[0].target = 'webgpu';
        for (const k of m.programs[0].kernels) k.dispatch = { workgroups: [1, 1] };
      },
      copyModule(),
    ],
    [
      'a feature that the device lacks',
      415,
      (m) => m.programs[0].kernels[0].requires.features.push('subgroups'),
      copyModule(),
    ],
    ['more memory than there can be', 416, (m) => (m.programs[0].memories[0].bytes = 2 ** 32), copyModule()],
  ] as [string, number, Change | undefined, Uint8Array][])('refuses %s: E%i', (_what, code, change, wasm) => {
    const patched: Change = (m) => {
      change?.(m);
      if (code === 414 && change) m.programs[0].functions[0].segments.pop();
    };
    expect(userError(() => load(patched, wasm)).code).toBe(code);
  });
});

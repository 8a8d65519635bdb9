/**
 * Packed jobs: what they hold, that they run in a root with nothing else in it, and what is said where they cannot be packed.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { writeArtifact } from '../../cli/artifact-folder.js';
import { runCommandLine } from '../../cli/command-line.js';
import { compile } from '../../compiler/compile.js';
import { readSafetensors } from '../../ir/safetensors.js';
import { writeArchive } from '../../pack/archive.js';
import { partsOf } from '../../pack/parts.js';
import { findTools } from '../../pack/tools.js';
import { findLibrary } from '../../runtime/machine/libraries.js';
import { relativeError } from '../end-to-end/relative-error.js';
import { temporaryFolder } from '../runtime/tiny-artifact.js';
import { userError } from '../runtime/user-error.js';
import { useSwiftShader } from '../targets/swiftshader.mjs';
import { lacking, makeBareRoot, runInside } from './bare-root.js';

useSwiftShader();
const driver = dirname(process.env.VK_DRIVER_FILES!);
const loader = join(driver, 'libvulkan.so.1');

/** Two layers on four numbers. */
function artifact(targets: readonly ('wasm' | 'webgpu')[] = ['wasm', 'webgpu']): string {
  const dir = join(temporaryFolder(), 'tiny.spngd');
  const options = { optimizer: 'sgd', batch: 8, targets } as const;
  writeArtifact(dir, compile(readFileSync('docs/example/tiny.onnx'), 'tiny.onnx', options).files);
  return dir;
}

async function spngdc(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const stdout = { write: (text: string) => (out += text) };
  const stderr = { write: (text: string) => (err += text) };
  return { code: await runCommandLine(args, { stdout, stderr }), out, err };
}

const missing = lacking();
const because = missing.length > 0 ? ` (not run: no ${missing.join(', no ')})` : '';

describe.runIf(missing.length === 0)(`a packed job${because}`, () => {
  const folder = temporaryFolder();
  const root = join(folder, 'root');
  const job = join(folder, 'job.tar.xz');
  const gpu = { VK_DRIVER_FILES: '/driver/vk_swiftshader_icd.json' };
  const data = ['--data', '/d.csv', '--steps', '3'];

  beforeAll(async () => {
    const args = ['pack', artifact(), '-o', job, '--compression', '0', '--tests', '--vulkan-loader', loader];
    const { code, out, err } = await spngdc(...args);
    expect(err).toBe('');
    expect(code).toBe(0);
    expect(out).toMatch(/^packed .*job\.tar\.xz: [\d.]+ MiB in .*, with \d+(\.\d+)? (Ki)?B of weights/);
    mkdirSync(join(root, 'driver'), { recursive: true });
    makeBareRoot(root);
    for (const f of ['libvk_swiftshader.so', 'vk_swiftshader_icd.json'])
      copyFileSync(join(driver, f), join(root, 'driver', f));
    writeFileSync(
      join(root, 'd.csv'),
      Array.from({ length: 24 }, (_, i) => `${i % 3},${i % 5},1,${i % 7},${i % 2}\n`).join(''),
    );
    execFileSync('tar', ['-xf', job, '-C', root]);
  }, 120_000);

  it('is under 40 MiB, even where it is packed fast, and leaves nothing beside it', () => {
    expect(statSync(job).size).toBeLessThan(40 * 2 ** 20);
    expect(readdirSync(folder).sort()).toEqual(['job.tar.xz', 'root']);
  });

  it('trains on the processor', () => {
    const { out, err, code } = runInside(root, ['/bin/sh', '/job/run', ...data, '--device', 'cpu', '--out', '/cpu']);
    expect(err).toBe('');
    expect(code).toBe(0);
    expect(out).toContain('trained 3 steps');
    expect(existsSync(join(root, 'cpu/weights.safetensors'))).toBe(true);
  });

  it('trains on the GPU of the driver that is there, to the same weights but for rounding', () => {
    const command = ['/job/run', ...data, '--device', 'SwiftShader', '--out', '/gpu'];
    const { out, err, code } = runInside(root, command, gpu);
    expect(err).toBe('');
    expect(code).toBe(0);
    expect(out).toContain('SwiftShader');
    expect(existsSync(join(root, 'gpu/tiny.onnx'))).toBe(true);
    const weights = (run: string) => {
      const path = join(root, run, 'weights.safetensors');
      return readSafetensors(readFileSync(path), path);
    };
    const [here, there] = [weights('cpu'), weights('gpu')];
    expect([...there.keys()]).toEqual([...here.keys()]);
    // Three steps on sums of a few terms: some roundings of numbers around 1.
    for (const [name, { data }] of here)
      expect(relativeError(there.get(name)!.data as Float32Array, data as Float32Array), name).toBeLessThan(1e-5);
  });

  it('has a doctor', () => {
    const { out, code } = runInside(root, ['/job/run', 'doctor', '--json'], gpu);
    expect(code).toBe(0);
    const machine = JSON.parse(out);
    expect(machine.gpu.gpus).toHaveLength(1);
    expect(machine.gpu.vulkanLoader).toBe('/job/lib/vulkan/libvulkan.so.1');
    expect(machine.auto.device).toBe('cpu');
  });

  it('inspects, and tests the GPU', () => {
    expect(runInside(root, ['/job/run', 'inspect']).out).toContain('tiny.onnx');
    const { out, code } = runInside(root, ['/job/run', 'test-gpu', '--device', 'SwiftShader', '--only', 'joined'], gpu);
    expect(out.trimEnd().split('\n').at(-1)).toBe('4 passed, 0 failed');
    expect(code).toBe(0);
  });
});

describe.runIf(missing.length === 0)(`packing${because}`, () => {
  it('leaves Dawn out where there is no program for a GPU; the same artifact gives the same bytes', async () => {
    const tools = findTools();
    const { parts } = partsOf(artifact(['wasm']), {}, tools);
    expect(parts.filter((p) => /webgpu|vulkan/.test(p.path))).toEqual([]);
    const hashes: string[] = [];
    for (let i = 0; i < 2; i++) {
      const out = join(temporaryFolder(), 'job.tar.xz');
      // Node would take most of the time.
      const some = parts.filter((p) => p.path !== 'bin/node').reverse();
      expect(await writeArchive(out, some, tools, { compression: 0 })).toBe(statSync(out).size);
      hashes.push(createHash('sha256').update(readFileSync(out)).digest('hex'));
    }
    expect(hashes[0]).toBe(hashes[1]);
  });

  it('tells in a numbered notice that there is no Vulkan loader to bring along', () => {
    const { parts, notices } = partsOf(artifact(), {}, findTools());
    const brought = parts.some((p) => p.path.startsWith('lib/vulkan'));
    expect(brought).toBe(findLibrary('libvulkan.so.1') !== undefined);
    expect(notices.map((n) => n.slice(0, 4))).toEqual(brought ? [] : ['N708']);
  });

  it('refuses what cannot become a job', async () => {
    const dir = artifact();
    const codeOf = async (...args: string[]): Promise<string | undefined> => {
      const { code, err } = await spngdc('pack', ...args);
      expect(code).toBe(1);
      return /error (E\d+)/.exec(err)?.[1];
    };
    const folder = temporaryFolder();
    expect(await codeOf('nowhere')).toBe('E401');
    expect(await codeOf(dir, '-o', join(folder, 'job.zip'))).toBe('E709');
    expect(await codeOf(dir, '-o', join(folder, 'job.tar.xz'), '--vulkan-loader', 'nowhere.so')).toBe('E707');
    expect(await codeOf(dir, '-o', '/proc/job.tar.xz')).toBe('E503');
    expect(await codeOf(dir, '--compression', '11')).toBe('E600');
    expect(readdirSync(folder)).toEqual([]);
  });
});

it('names the program that is missing, and its package', () => {
  const path = process.env.PATH;
  process.env.PATH = resolve('nowhere');
  try {
    expect(userError(() => findTools())).toMatchObject({ code: 702, hint: expect.stringContaining('binutils') });
  } finally {
    process.env.PATH = path;
  }
});

/**
 * The checkpoints of one run in a folder, the last few kept: all state that changes, and where the run stands, so that it
 * continues bit for bit. One that belongs to another artifact, or to a run with other settings, is refused before anything of it
 * is used.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { encodeManifest, type Manifest } from '../../ir/artifact.js';
import {
  checkpointBroken,
  checkpointOfOther,
  checkpointSettings,
  checkpointsInTheWay,
} from '../../ir/diagnostics/checkpoint.js';
import { cannotWrite } from '../../ir/diagnostics/run.js';
import type { DType } from '../../ir/types.js';
import type { Loader } from '../data/loader.js';
import type { ArrayData, Device } from '../devices/device.js';
import { makeFolder } from '../write-files.js';
import {
  type CheckpointContent,
  type CheckpointHeader,
  type OpenedCheckpoint,
  openCheckpoint,
  type Progress,
  writeCheckpoint,
} from './checkpoint-file.js';
import type { Keeper } from './loop.js';
import type { MetricsLog } from './metrics-log.js';

export interface CheckpointOptions {
  readonly folder: string;
  /** After how many steps; or at the end of each epoch. */
  readonly every: number | 'epoch';
  /** How many of the newest stay. */
  readonly keep: number;
  /** Continue from the newest one, if there is one. */
  readonly resume: boolean;
  /** All that decides the course of the run, by the option that sets it. */
  readonly settings: Readonly<Record<string, string>>;
  readonly log: MetricsLog;
  /** Told to the user. */
  readonly notice: (text: string) => void;
}

const pattern = /^step-(\d+)\.ckpt$/;

/** The checkpoints in a folder, the newest first. UserError E503 where it is no folder, or cannot be read. */
function existing(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const step = (name: string): number => Number(pattern.exec(name)![1]);
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (e) {
    throw cannotWrite(folder, (e as Error).message);
  }
  return names.filter((name) => pattern.test(name)).sort((a, b) => step(b) - step(a));
}

export class Checkpoints implements Keeper {
  private readonly artifactSha256: string;

  /** UserError E525 where a new run would begin among the checkpoints of another. */
  constructor(
    private readonly device: Device,
    private readonly manifest: Manifest,
    private readonly options: CheckpointOptions,
  ) {
    const { folder, resume } = options;
    const [newest] = existing(folder);
    if (!resume && newest !== undefined) throw checkpointsInTheWay(folder, newest);
    this.artifactSha256 = createHash('sha256').update(encodeManifest(manifest)).digest('hex');
  }

  /** Continues from the newest checkpoint. UserError E520-E524; then device and loader are as they were. */
  restore(loader: Loader): Progress | undefined {
    const { folder, log, notice } = this.options;
    const [newest] = existing(folder);
    if (newest === undefined) return undefined;
    const file = join(folder, newest);
    const checkpoint = openCheckpoint(file);
    try {
      const { header } = checkpoint;
      this.check(file, header, loader);
      const { target } = this.device.program;
      if (header.target !== target)
        notice(`the run was on ${header.target} and goes on on ${target}: from here on its numbers differ in rounding`);
      this.load(checkpoint, loader);
      if (!log.rewind(header.logBytes))
        notice(`${log.file} lacks what was reported before step ${header.progress.step}`);
      return header.progress;
    } finally {
      checkpoint.close();
    }
  }

  async offer(progress: Progress, epochEnded: boolean, loader: Loader): Promise<void> {
    const { every } = this.options;
    if (every === 'epoch' ? epochEnded : progress.step % every === 0) await this.save(progress, loader);
  }

  private async save(progress: Progress, loader: Loader): Promise<void> {
    const { folder, keep, settings, log } = this.options;
    const content: CheckpointContent = {
      model: this.manifest.model.name,
      modelSha256: this.manifest.model.sha256,
      artifactSha256: this.artifactSha256,
      target: this.device.program.target,
      settings,
      progress,
      logBytes: log.flush(),
      tensors: this.tensors(loader),
    };
    try {
      makeFolder(folder);
    } catch (e) {
      throw cannotWrite(folder, (e as Error).message);
    }
    const carried = loader.carried();
    const file = join(folder, `step-${String(progress.step).padStart(8, '0')}.ckpt`);
    await writeCheckpoint(file, content, (name) => {
      const [room, own] = split(name);
      return room === 'state' ? this.device.read(own) : carried.get(own)!;
    });
    for (const old of existing(folder).slice(keep)) rmSync(join(folder, old), { force: true });
    // What a killed process left half-written.
    for (const name of readdirSync(folder))
      if (/^step-\d+\.ckpt\.\d+\.tmp$/.test(name)) rmSync(join(folder, name), { force: true });
  }

  /** All that a checkpoint holds: state of the device, and what the loader carries from batch to batch. */
  private tensors(loader: Loader): CheckpointHeader['tensors'] {
    const bytes = new Map(this.device.program.buffers.map((b) => [b.name, b.bytes]));
    return [
      ...this.state().map(({ name }) => ({ name: `state/${name}`, bytes: bytes.get(name)! })),
      ...[...loader.carried()].map(([name, data]) => ({ name: `data/${name}`, bytes: data.byteLength })),
    ];
  }

  private state(): Manifest['state'] {
    return this.manifest.state.filter((s) => s.checkpoint);
  }

  private check(file: string, header: CheckpointHeader, loader: Loader): void {
    const { model } = this.manifest;
    if (header.modelSha256 !== model.sha256)
      throw checkpointOfOther(
        file,
        `it trains '${header.model}' (SHA-256 ${header.modelSha256.slice(0, 12)}...), this is '${model.name}' (${model.sha256.slice(0, 12)}...)`,
      );
    if (header.artifactSha256 !== this.artifactSha256)
      throw checkpointOfOther(file, 'the same model, compiled with other options or by another version of spngdc');
    const here = this.options.settings;
    const names = [...new Set([...Object.keys(header.settings), ...Object.keys(here)])];
    const different = names.filter((n) => header.settings[n] !== here[n]);
    if (different.length > 0) {
      const said = (value: string | undefined): string => value ?? 'not there';
      throw checkpointSettings(
        file,
        different.map((n) => `${n} was ${said(header.settings[n])}, now ${said(here[n])}`),
      );
    }
    const wanted = this.tensors(loader);
    for (const [i, { name, bytes }] of wanted.entries()) {
      const found = header.tensors[i];
      if (found?.name !== name || found.bytes !== bytes)
        throw checkpointBroken(
          file,
          `it has ${found ? `${found.bytes} bytes of '${found.name}'` : 'nothing'} where ${bytes} bytes of '${name}' belong`,
        );
    }
    if (header.tensors.length > wanted.length)
      throw checkpointBroken(file, `'${header.tensors[wanted.length].name}' is nothing that this run has`);
    const { defaults, state } = this.manifest;
    const stale = (defaults.staleness ?? 'off') !== 'off';
    const known = header.progress.refreshes?.statistics ?? {};
    for (const { name, role } of state)
      if (stale && role === 'factor' && !Object.hasOwn(known, name))
        throw checkpointBroken(file, `it does not say when '${name}' was refreshed`);
  }

  private load(checkpoint: OpenedCheckpoint, loader: Loader): void {
    for (const { name, dtype } of this.state())
      this.device.write(name, elements(dtype, checkpoint.read(`state/${name}`)));
    for (const [name, data] of loader.carried())
      data.set(elements('f32', checkpoint.read(`data/${name}`)) as Float32Array);
  }
}

function split(name: string): [room: string, own: string] {
  const at = name.indexOf('/');
  return [name.slice(0, at), name.slice(at + 1)];
}

const arrays = {
  f32: Float32Array,
  f16: Uint16Array,
  i32: Int32Array,
  i64: BigInt64Array,
  u8: Uint8Array,
  bool: Uint8Array,
} satisfies Record<DType, unknown>;

function elements(dtype: DType, bytes: Uint8Array): ArrayData {
  return new arrays[dtype](bytes.buffer as ArrayBuffer);
}

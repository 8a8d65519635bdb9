/**
 * What every loader gives: examples as they lie in the file, before they are fitted to a model.
 */
import { createHash } from 'node:crypto';

export interface Examples {
  /** Where they came from; errors name it. */
  readonly source: string;
  readonly count: number;
  /** Shape of one example. */
  readonly shape: readonly number[];
  /** [count, ...shape], row-major. */
  readonly features: Uint8Array | Float32Array;
  /** [count, targetWidth]; class numbers where they were stored as integers. */
  readonly targets: Int32Array | Float32Array;
  readonly targetWidth: number;
}

/** SHA-256 of the examples and their targets, whatever file they came from. */
export function fingerprint({ count, shape, features, targets, targetWidth }: Examples): string {
  const hash = createHash('sha256').update(JSON.stringify([count, shape, targetWidth]));
  for (const data of [features, targets])
    hash.update(data.constructor.name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return hash.digest('hex');
}

/** The examples of the rows `index`, in that order. */
export function selectExamples(all: Examples, index: ArrayLike<number>): Examples {
  return {
    ...all,
    count: index.length,
    features: selectRows(all.features, index, all.features.length / all.count),
    targets: selectRows(all.targets, index, all.targetWidth),
  };
}

/** One set after the other; shapes must agree, which loaders of fixed formats guarantee. */
export function concatExamples(sets: readonly Examples[]): Examples {
  if (sets.length === 1) return sets[0];
  return {
    ...sets[0],
    source: sets.map((s) => s.source).join(','),
    count: sets.reduce((n, s) => n + s.count, 0),
    features: concat(sets.map((s) => s.features)),
    targets: concat(sets.map((s) => s.targets)),
  };
}

type Data = Uint8Array | Int32Array | Float32Array;

function selectRows<T extends Data>(data: T, index: ArrayLike<number>, width: number): T {
  const out = new (data.constructor as new (n: number) => T)(index.length * width);
  for (let i = 0; i < index.length; i++) out.set(data.subarray(index[i] * width, (index[i] + 1) * width), i * width);
  return out;
}

function concat<T extends Data>(parts: readonly T[]): T {
  const out = new (parts[0].constructor as new (n: number) => T)(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

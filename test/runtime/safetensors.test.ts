import { describe, expect, it } from 'vitest';
import { readSafetensors, writeSafetensors } from '../../ir/safetensors.js';
import { symmetric, tensor } from '../../ir/types.js';
import { userError } from './user-error.js';

/** A file from a header's text and data, as the format says; the length may lie. */
function file(header: string, data: number[] = [], length = BigInt(Buffer.byteLength(header))): Uint8Array {
  const bytes = Buffer.concat([Buffer.alloc(8), Buffer.from(header), Buffer.from(data)]);
  bytes.writeBigUInt64LE(length);
  return bytes;
}

const tensors = new Map([
  ['b', { type: tensor('f32', [2, 2]), data: Float32Array.of(1, -2, 3.5, 0) }],
  ['mask', { type: tensor('bool', [3]), data: Uint8Array.of(1, 0, 1) }],
  ['a', { type: tensor('f32', []), data: Float32Array.of(9) }],
  ['n', { type: tensor('i64', [1]), data: BigInt64Array.of(-5n) }],
  ['i', { type: tensor('i32', [0, 4]), data: new Int32Array(0) }],
]);

describe('safetensors', () => {
  it('reads what it wrote', () => {
    const back = readSafetensors(writeSafetensors(tensors), 'f');
    expect(back.size).toBe(tensors.size);
    for (const [name, t] of tensors) expect(back.get(name)).toEqual(t);
  });

  it('writes the same bytes whatever the order, data aligned, header padded with spaces', () => {
    const bytes = writeSafetensors(tensors);
    expect(writeSafetensors(new Map([...tensors].reverse()))).toEqual(bytes);
    const length = Number(Buffer.from(bytes).readBigUInt64LE());
    expect(length % 8).toBe(0);
    const header = Buffer.from(bytes.subarray(8, 8 + length)).toString();
    expect(header).toMatch(/^\{.*\} *$/);
    // Widest first, then by name: every tensor is aligned to its element.
    expect(Object.keys(JSON.parse(header))).toEqual(['n', 'a', 'b', 'i', 'mask']);
  });

  it("reads the format's own example: a padded header with metadata", () => {
    const header = '{"__metadata__":{"format":"pt"},"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}  ';
    expect(readSafetensors(file(header, [7, 8]), 'f').get('x')?.data).toEqual(Uint8Array.of(7, 8));
  });

  it('refuses to write what the format does not hold', () => {
    const short = new Map([['x', { type: tensor('f32', [3]), data: Float32Array.of(1) }]]);
    expect(() => writeSafetensors(short)).toThrow('4 bytes instead of 12');
    const packed = new Map([['x', { type: symmetric(2), data: Float32Array.of(1, 2, 3) }]]);
    expect(() => writeSafetensors(packed)).toThrow('packed-lower');
  });

  const x = (fields: string): string => `{"x":{${fields}}}`;
  it.each([
    ['an empty file', new Uint8Array(0), 'too few'],
    ['a length beyond the file', file('{}', [], 10n), 'said to have 10'],
    ['an absurd length', file('{}', [], 2n ** 63n), 'said to have'],
    ['a header that is not JSON', file('{x}'), 'not JSON'],
    ['a header that is no object', file('[]'), 'not a JSON object'],
    ['an unknown type', file(x('"dtype":"F64","shape":[1],"data_offsets":[0,8]'), Array(8).fill(0)), 'F64'],
    ['an entry that is null', file('{"x":null}'), "tensor 'x'"],
    ['a negative size', file(x('"dtype":"U8","shape":[-1],"data_offsets":[0,1]'), [0]), 'no valid shape'],
    ['no offsets', file(x('"dtype":"U8","shape":[1]'), [0]), 'no valid data_offsets'],
    ['offsets beyond the data', file(x('"dtype":"U8","shape":[2],"data_offsets":[0,2]'), [0]), '0 to 2 of 1'],
    ['offsets backwards', file(x('"dtype":"U8","shape":[0],"data_offsets":[1,0]'), [0]), '1 to 0'],
    ['bytes that do not fit the shape', file(x('"dtype":"F32","shape":[1],"data_offsets":[0,2]'), [0, 0]), 'needs 4'],
    [
      'bytes before the first tensor',
      file(x('"dtype":"U8","shape":[1],"data_offsets":[1,2]'), [0, 0]),
      'begins at byte 1',
    ],
    ['bytes after the last tensor', file(x('"dtype":"U8","shape":[1],"data_offsets":[0,1]'), [0, 0]), 'belong to none'],
    [
      'tensors that overlap',
      file(
        '{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}',
        [0, 0, 0],
      ),
      "'y' begins at byte 1",
    ],
  ])('refuses %s', (_what, bytes, why) => {
    const error = userError(() => readSafetensors(bytes, 'bad.safetensors'));
    expect(error.code).toBe(418);
    expect(error.what).toContain(why);
    expect(error.loc).toBe('bad.safetensors');
  });
});

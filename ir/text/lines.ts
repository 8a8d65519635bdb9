/**
 * Where printers put their lines. The text of a large program is tens of megabytes: as bytes it is made piece by piece, and its
 * lines are forgotten as they come.
 */

/** Takes the lines of a text in order, each without its end. */
export type Lines = (line: string) => void;

export function textOf(print: (to: Lines) => void): string {
  let text = '';
  print((line) => {
    text += `${line}\n`;
  });
  return text;
}

/** Characters that are encoded at once. */
const PIECE = 1 << 14;
const CHUNK = 1 << 20;

/** The text in UTF-8. */
export function bytesOf(print: (to: Lines) => void): Uint8Array {
  const encoder = new TextEncoder();
  const full: Uint8Array[] = [];
  let chunk = new Uint8Array(CHUNK);
  let used = 0;
  let length = 0;
  let piece = '';
  const encode = (): void => {
    // A character takes three bytes at most.
    if (used + 3 * piece.length > chunk.length) {
      full.push(chunk.subarray(0, used));
      chunk = new Uint8Array(Math.max(CHUNK, 3 * piece.length));
      used = 0;
    }
    const { written } = encoder.encodeInto(piece, chunk.subarray(used));
    used += written;
    length += written;
    piece = '';
  };
  print((line) => {
    piece += line;
    piece += '\n';
    if (piece.length >= PIECE) encode();
  });
  encode();
  full.push(chunk.subarray(0, used));
  const all = new Uint8Array(length);
  let at = 0;
  for (const bytes of full) {
    all.set(bytes, at);
    at += bytes.length;
  }
  return all;
}

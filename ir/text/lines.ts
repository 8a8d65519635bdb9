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

/** Characters in a piece. */
const PIECE = 1 << 16;

/** The text in UTF-8. */
export function bytesOf(print: (to: Lines) => void): Uint8Array {
  const encoder = new TextEncoder();
  const pieces: Uint8Array[] = [];
  let piece = '';
  let length = 0;
  const close = (): void => {
    const bytes = encoder.encode(piece);
    pieces.push(bytes);
    length += bytes.length;
    piece = '';
  };
  print((line) => {
    piece += line;
    piece += '\n';
    if (piece.length >= PIECE) close();
  });
  close();
  const all = new Uint8Array(length);
  let at = 0;
  for (const bytes of pieces) {
    all.set(bytes, at);
    at += bytes.length;
  }
  return all;
}

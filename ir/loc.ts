/**
 * Where a value came from. A location survives every pass, so that a kernel, an error or a report line
 * can always be traced to what the user wrote: an ONNX node, or a line of a TypeScript model.
 */
export type Loc =
  | { readonly kind: 'onnx'; readonly node: string; readonly op: string }
  | { readonly kind: 'file'; readonly file: string; readonly line: number; readonly column: number }
  | { readonly kind: 'pass'; readonly pass: string; readonly from?: Loc };

/** The location of a value that a pass made, remembering the user's location it was made for. */
export function passLoc(pass: string, from?: Loc): Loc {
  return { kind: 'pass', pass, from: from?.kind === 'pass' ? from.from : from };
}

/** The user's own location: what was written, not which pass made the value. */
export function userLoc(loc: Loc): Loc | undefined {
  return loc.kind === 'pass' ? loc.from : loc;
}

/** `onnx:Conv_0(Conv)`, `model.ts:7:11`, `autodiff<onnx:Conv_0(Conv)>`: one line, no spaces at the ends. */
export function printLoc(loc: Loc): string {
  switch (loc.kind) {
    case 'onnx':
      return `onnx:${loc.node}(${loc.op})`;
    case 'file':
      return `${loc.file}:${loc.line}:${loc.column}`;
    case 'pass':
      return loc.from ? `${loc.pass}<${printLoc(loc.from)}>` : `${loc.pass}<>`;
  }
}

/**
 * Where a command writes: standard output for results, standard error for progress and complaints. Tests give their own.
 */
export interface Stream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface Terminal {
  readonly stdout: Stream;
  readonly stderr: Stream;
}

/** Rows as columns of text, two spaces apart; columns named in `right` are aligned to the right. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  right: readonly number[] = [],
): string {
  const all = [head, ...rows];
  const width = head.map((_, c) => Math.max(...all.map((r) => r[c].length)));
  const line = (r: readonly string[]): string =>
    r
      .map((cell, c) => (right.includes(c) ? cell.padStart(width[c]) : cell.padEnd(width[c])))
      .join('  ')
      .trimEnd();
  return all.map((r) => `  ${line(r)}`).join('\n');
}

/** `3.2 MB`: three digits and a decimal prefix. */
export function quantity(value: number, unit: string): string {
  const prefixes = ['', 'k', 'M', 'G', 'T'];
  let at = 0;
  let v = value;
  while (v >= 999.5 && at < prefixes.length - 1) {
    v /= 1000;
    at++;
  }
  const digits = at === 0 ? String(v) : v.toPrecision(3);
  return `${digits} ${prefixes[at]}${unit}`;
}

/** `1.5 KiB`: sizes of memory. */
export function memorySize(bytes: number): string {
  const prefixes = ['B', 'KiB', 'MiB', 'GiB'];
  const at = Math.min(prefixes.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return at === 0 ? `${bytes} B` : `${(bytes / 1024 ** at).toFixed(1)} ${prefixes[at]}`;
}

export function percent(fraction: number | undefined): string {
  return fraction === undefined ? '-' : `${(100 * fraction).toFixed(2)}%`;
}

/** `1m 05s`, `12.3s`. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)}s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}m ${String(whole % 60).padStart(2, '0')}s`;
}

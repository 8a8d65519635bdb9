/**
 * Curves as text: each series has a mark, the axes have numbers. For a terminal of about 80 columns.
 */
export interface Series {
  readonly name: string;
  /** One character. */
  readonly mark: string;
  /** Ascending in x. */
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface PlotOptions {
  readonly title: string;
  readonly xLabel: string;
  /** Logarithmic y. */
  readonly log?: boolean;
  readonly width?: number;
  readonly height?: number;
  /** Bounds of y; points beyond are drawn at the edge. */
  readonly range?: readonly [low: number, high: number];
  readonly formatY: (y: number) => string;
}

/** Later series are drawn over earlier ones. */
export function plot(series: readonly Series[], options: PlotOptions): string {
  const { width = 64, height = 12, log = false, formatY } = options;
  const scale = (y: number): number => (log ? Math.log(y) : y);
  const unscale = (y: number): number => (log ? Math.exp(y) : y);
  const all = series.flatMap((s) => s.points);
  const xs = all.map(([x]) => x);
  const ys = options.range ?? all.map(([, y]) => y);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const [y0, y1] = [scale(Math.min(...ys)), scale(Math.max(...ys))];
  const column = (x: number): number => Math.round(((x - x0) / (x1 - x0 || 1)) * (width - 1));
  const row = (y: number): number => {
    const at = Math.round(((y1 - scale(y)) / (y1 - y0 || 1)) * (height - 1));
    return Math.min(height - 1, Math.max(0, at));
  };

  const grid = Array.from({ length: height }, () => new Array<string>(width).fill(' '));
  for (const { mark, points } of series) {
    for (let i = 0; i < points.length; i++) {
      // A line to the next point, so that a steep curve has no holes.
      const [ax, ay] = [column(points[i][0]), row(points[i][1])];
      const next = points[Math.min(i + 1, points.length - 1)];
      const [bx, by] = [column(next[0]), row(next[1])];
      const n = Math.max(1, bx - ax);
      for (let k = 0; k < n; k++) grid[Math.round(ay + ((by - ay) * k) / n)][ax + k] = mark;
      if (i === points.length - 1) grid[ay][ax] = mark;
    }
  }

  const tick = (r: number): string => formatY(unscale(y1 - ((y1 - y0) * r) / (height - 1)));
  const ticks = Array.from({ length: height }, (_, r) => (r % 3 === 0 || r === height - 1 ? tick(r) : ''));
  const margin = Math.max(...ticks.map((t) => t.length));
  const lines = grid.map((cells, r) => `${ticks[r].padStart(margin)} |${cells.join('').trimEnd()}`);
  const ends = `${x0}${options.xLabel.padStart(Math.floor(width / 2))}`;
  const legend = series.map((s) => `${s.mark} ${s.name}`).join('   ');
  return [
    `${options.title}   ${legend}`,
    ...lines,
    `${' '.repeat(margin)} +${'-'.repeat(width)}`,
    `${' '.repeat(margin + 2)}${ends}${String(x1).padStart(width - ends.length)}`,
  ].join('\n');
}

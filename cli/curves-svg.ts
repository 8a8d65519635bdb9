/**
 * The same curves as a picture: one panel for each plot, one line for each series, as SVG without dependencies.
 */
import type { PlotOptions, Series } from './plot.js';
import { type RefreshHistory, stalenessPanel } from './staleness-svg.js';

export interface Panel {
  readonly series: readonly Series[];
  readonly options: PlotOptions;
}

const [WIDTH, HEIGHT] = [420, 300];
const MARGIN = { left: 56, right: 16, top: 36, bottom: 40 };
/** Distinguishable without colour vision (Okabe and Ito). */
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7'];

/** @param history of statistics that go stale, drawn below */
export function curvesSvg(panels: readonly Panel[], history?: RefreshHistory): string {
  const width = Math.max(history ? 2 : 1, panels.length) * WIDTH;
  const below = history && stalenessPanel(history, width);
  const parts = panels.map((p, i) => `<g transform="translate(${i * WIDTH},0)">${panel(p)}</g>`);
  if (below) parts.push(`<g transform="translate(0,${HEIGHT})">${below.svg}</g>`);
  const body = parts.join('\n');
  const size = `width="${width}" height="${Math.ceil(HEIGHT + (below?.height ?? 0))}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="sans-serif" font-size="12">
<title>${panels.map((p) => p.options.title).join(', ')}</title>
<rect width="100%" height="100%" fill="white"/>
${body}
</svg>
`;
}

function panel({ series, options }: Panel): string {
  const { log = false, formatY } = options;
  const scale = (y: number): number => (log ? Math.log(y) : y);
  const unscale = (y: number): number => (log ? Math.exp(y) : y);
  const all = series.flatMap((s) => s.points);
  const xs = all.map(([x]) => x);
  const ys = options.range ?? all.map(([, y]) => y);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const [y0, y1] = [scale(Math.min(...ys)), scale(Math.max(...ys))];
  const [w, h] = [WIDTH - MARGIN.left - MARGIN.right, HEIGHT - MARGIN.top - MARGIN.bottom];
  const px = (x: number): string => (MARGIN.left + ((x - x0) / (x1 - x0 || 1)) * w).toFixed(1);
  const py = (y: number): string => {
    const clamped = Math.min(y1, Math.max(y0, scale(y)));
    return (MARGIN.top + ((y1 - clamped) / (y1 - y0 || 1)) * h).toFixed(1);
  };

  const parts: string[] = [];
  for (let i = 0; i <= 4; i++) {
    const y = unscale(y0 + ((y1 - y0) * i) / 4);
    parts.push(
      `<line x1="${MARGIN.left}" x2="${MARGIN.left + w}" y1="${py(y)}" y2="${py(y)}" stroke="#ddd"/>`,
      `<text x="${MARGIN.left - 6}" y="${py(y)}" text-anchor="end" dominant-baseline="middle">${formatY(y)}</text>`,
    );
  }
  const below = MARGIN.top + h + 16;
  parts.push(
    `<text x="${px(x0)}" y="${below}">${x0}</text>`,
    `<text x="${px(x1)}" y="${below}" text-anchor="end">${x1}</text>`,
    `<text x="${MARGIN.left + w / 2}" y="${below}" text-anchor="middle">${options.xLabel}</text>`,
    `<text x="${MARGIN.left}" y="20" font-weight="bold">${options.title}</text>`,
  );
  series.forEach((s, i) => {
    const colour = colours[i % colours.length];
    // A line of one point has no length: with round ends it is a dot.
    const drawn = s.points.length === 1 ? [s.points[0], s.points[0]] : s.points;
    const points = drawn.map(([x, y]) => `${px(x)},${py(y)}`).join(' ');
    parts.push(
      `<polyline points="${points}" fill="none" stroke="${colour}" stroke-width="${drawn === s.points ? 1.5 : 5}" stroke-linecap="round"/>`,
      `<text x="${MARGIN.left + w - 110 * (series.length - 1 - i)}" y="20" text-anchor="end" fill="${colour}">${s.name}</text>`,
    );
  });
  return parts.join('\n');
}

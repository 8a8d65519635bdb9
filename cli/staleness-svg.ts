/**
 * Staleness over time as a picture: a row for each statistic, a column for each step (or each few); the darker, the more of these steps
 * refreshed it.
 */

/** What a picture needs of a run. */
export interface RefreshHistory {
  readonly names: readonly string[];
  /** For each step, how many steps ago each statistic was refreshed (0: in it). */
  readonly steps: readonly { readonly step: number; readonly staleness: readonly number[] }[];
}

const MARGIN = { left: 150, right: 16, top: 36, bottom: 30 };
const MOST_COLUMNS = 200;
const MOST_HEIGHT = 560;
const [SMALLEST_ROW, LARGEST_ROW, READABLE] = [2.5, 14, 9];

/** @returns an SVG group, and its height in pixels */
export function stalenessPanel({ names, steps }: RefreshHistory, width: number): { svg: string; height: number } {
  const row = Math.min(LARGEST_ROW, Math.max(SMALLEST_ROW, MOST_HEIGHT / names.length));
  const per = Math.ceil(steps.length / MOST_COLUMNS);
  const columns = Array.from({ length: Math.ceil(steps.length / per) }, (_, i) => steps.slice(i * per, (i + 1) * per));
  const [w, h] = [width - MARGIN.left - MARGIN.right, row * names.length];
  const x = (column: number): string => (MARGIN.left + (column / columns.length) * w).toFixed(1);
  const parts = [
    `<text x="${MARGIN.left}" y="20" font-weight="bold">statistics refreshed, by step</text>`,
    `<rect x="${MARGIN.left}" y="${MARGIN.top}" width="${w}" height="${h.toFixed(1)}" fill="#eee"/>`,
  ];
  // Names that would overlap are left out, evenly.
  const every = Math.ceil(READABLE / row);
  names.forEach((name, k) => {
    const y = MARGIN.top + k * row;
    if (k % every === 0)
      parts.push(
        `<text x="${MARGIN.left - 6}" y="${(y + row / 2).toFixed(1)}" font-size="${Math.min(11, Math.max(8, row))}" text-anchor="end" dominant-baseline="middle">${escaped(shortened(name))}</text>`,
      );
    const shares = columns.map((c) => c.filter((s) => s.staleness[k] === 0).length / c.length);
    for (let from = 0; from < shares.length; ) {
      let to = from + 1;
      while (to < shares.length && shares[to] === shares[from]) to++;
      if (shares[from] > 0)
        parts.push(
          `<rect x="${x(from)}" y="${y.toFixed(1)}" width="${(((to - from) / columns.length) * w).toFixed(1)}" height="${(row * 0.9).toFixed(1)}" fill="#0072b2" fill-opacity="${shares[from].toFixed(2)}"/>`,
        );
      from = to;
    }
  });
  const below = (MARGIN.top + h + 16).toFixed(1);
  parts.push(
    `<text x="${x(0)}" y="${below}">${steps[0].step}</text>`,
    `<text x="${x(columns.length)}" y="${below}" text-anchor="end">${steps[steps.length - 1].step}</text>`,
    `<text x="${MARGIN.left + w / 2}" y="${below}" text-anchor="middle">step</text>`,
  );
  return { svg: parts.join('\n'), height: MARGIN.top + h + MARGIN.bottom };
}

const LONGEST = 24;
/** The end of a name says which layer and which factor. */
const shortened = (name: string): string => (name.length > LONGEST ? `...${name.slice(3 - LONGEST)}` : name);

const escaped = (text: string): string => text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`);

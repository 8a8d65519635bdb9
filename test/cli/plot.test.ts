import { describe, expect, it } from 'vitest';
import { curvesSvg } from '../../cli/curves-svg.js';
import { type PlotOptions, plot } from '../../cli/plot.js';
import { duration, quantity, table } from '../../cli/terminal.js';

const options: PlotOptions = { title: 't', xLabel: 'step', width: 11, height: 5, formatY: (y) => y.toFixed(1) };
const line = {
  name: 'up',
  mark: '#',
  points: [
    [0, 0],
    [10, 4],
  ] as const,
};

describe('curves', () => {
  it('are drawn from corner to corner, with numbers at the axes', () => {
    expect(plot([line], options).split('\n')).toEqual([
      't   # up',
      '4.0 |         ##',
      '    |       ##',
      '    |    ###',
      '1.0 |  ##',
      '0.0 |##',
      '    +-----------',
      '     0 step   10',
    ]);
  });
  it('on a logarithmic axis are straight where they decay exponentially', () => {
    const decay = {
      ...line,
      points: [
        [0, 1],
        [5, 0.1],
        [10, 0.01],
      ] as const,
    };
    const straight = {
      ...line,
      points: [
        [0, 0],
        [5, -1],
        [10, -2],
      ] as const,
    };
    const rows = (text: string): string[] =>
      text
        .split('\n')
        .slice(1, 6)
        .map((l) => l.slice(l.indexOf('|')));
    expect(rows(plot([decay], { ...options, log: true }))).toEqual(rows(plot([straight], options)));
  });
  it('keep points beyond the range at the edge', () => {
    const text = plot(
      [
        {
          ...line,
          points: [
            [0, -9],
            [10, 9],
          ] as const,
        },
      ],
      { ...options, range: [0, 1] },
    );
    expect(text.split('\n')[5]).toContain('|#');
    expect(text.split('\n')[1].trimEnd()).toMatch(/#$/);
  });
  it('become an SVG picture with a line for each series', () => {
    const svg = curvesSvg([
      { series: [line, line], options },
      { series: [line], options },
    ]);
    expect(svg.match(/<polyline points="[\d., ]+"/g)).toHaveLength(3);
    expect(svg).not.toContain('NaN');
  });
  it('show below them in which steps each statistic was refreshed', () => {
    const names = Array.from({ length: 90 }, (_, k) => `a/very/long/name/of<layer${k}>.A`);
    // The first in every step, the second in each fourth of 800, which four share a column; the others in the first step.
    const steps = Array.from({ length: 800 }, (_, i) => ({
      step: i + 1,
      staleness: names.map((_, k) => (k === 0 ? 0 : k === 1 ? i % 4 : i)),
    }));
    const svg = curvesSvg([{ series: [line], options }], { names, steps });
    const rows = [...svg.matchAll(/<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" .*fill-opacity="([\d.]+)"/g)];
    expect(rows).toHaveLength(90);
    expect(rows[0].slice(3)).toEqual([rows[1][3], '1.00']);
    expect(rows[1][4]).toBe('0.25');
    expect(rows[2].slice(1)).toEqual([rows[0][1], expect.any(String), (Number(rows[0][3]) / 200).toFixed(1), '0.25']);
    expect(svg).not.toContain('NaN');
    expect(svg).not.toContain('of<layer');
    expect(svg).toContain('layer0&#62;.A</text>');
  });
});

it('text for people', () => {
  expect([quantity(5, 'B'), quantity(1536, 'B'), quantity(2.5e9, 'FLOP')]).toEqual(['5 B', '1.54 kB', '2.50 GFLOP']);
  expect([duration(3.21), duration(65)]).toEqual(['3.2s', '1m 05s']);
  expect(
    table(
      ['a', 'b'],
      [
        ['x', '1'],
        ['yy', '22'],
      ],
      [1],
    ),
  ).toBe('  a    b\n  x    1\n  yy  22');
});

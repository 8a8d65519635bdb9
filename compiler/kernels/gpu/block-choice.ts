/** How a workgroup's work is cut: a block of `rows x cols` results, `tile x tile` for a thread, `depth` terms at a time. */
export interface BlockChoice {
  readonly rows: number;
  readonly cols: number;
  readonly tile: number;
  readonly depth: number;
}

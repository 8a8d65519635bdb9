/**
 * Decides for every step which parts of the curvature are refreshed in it, as the guards that the device asks for, and keeps the
 * account of it. A decision for step t uses what is known of steps up to t-1-lag.
 */
import type { Manifest } from '../../ir/artifact.js';
import { SAMPLED } from '../../ir/fisher.js';
import { changeOf, due, inverseOf, piOf } from '../../ir/staleness.js';
import { product } from '../../ir/types.js';
import type { Guards } from '../devices/device.js';
import type { StalenessSettings } from './settings.js';
import {
  type Change,
  decided,
  neverRefreshed,
  type Refresh,
  refreshed,
  type Similarity,
  similarity,
} from './staleness.js';

export interface Statistic {
  readonly name: string;
  /** Of the whole matrices, as the paper counts: n^2 of a symmetric one, 4 of a 2x2 block. */
  readonly elements: number;
}

/** What a step did. */
export interface StepRefreshes {
  /** For each statistic, in their order, steps since it was refreshed; 0: in this one. */
  readonly staleness: readonly number[];
  /** Statistics that were refreshed, how far they moved (adaptive), and in how many steps they will be due again. */
  readonly refreshed: readonly { readonly name: string; readonly change?: Change; readonly interval: number }[];
}

/** Shares of elements refreshed, over all steps; of a kind that is not there: 0. */
export interface RefreshShares {
  readonly all: number;
  /** Factors of inputs. */
  readonly A: number;
  /** Factors of outputs, and unit blocks. */
  readonly others: number;
}

/** Where all statistics stand, for a checkpoint. */
export interface SavedRefreshes {
  readonly statistics: Readonly<Record<string, Refresh>>;
  readonly waiting: readonly Outcome[];
  readonly count: { readonly steps: number; readonly A: number; readonly others: number };
}

/** What a step told of the statistics refreshed in it. */
interface Outcome {
  readonly step: number;
  readonly similar: Readonly<Record<string, Similarity>>;
}

export class Refreshes {
  readonly statistics: readonly Statistic[];
  private readonly state: Map<string, Refresh>;
  /** Layers with a pair of factors, by the names of their weights. */
  private readonly pairs: readonly string[];
  private waiting: readonly Outcome[];
  private now: readonly Statistic[] = [];
  private count: { steps: number; A: number; others: number };

  /** @param saved what `save` gave */
  constructor(
    manifest: Manifest,
    private readonly settings: StalenessSettings,
    saved?: SavedRefreshes,
  ) {
    const factors = manifest.state.filter((s) => s.role === 'factor');
    this.statistics = factors.map(({ name, layout, shape }) => ({
      name,
      elements: layout === 'packed-lower' ? product(shape) : 4 * product(shape.slice(1)),
    }));
    this.state = new Map(this.statistics.map(({ name }) => [name, saved?.statistics[name] ?? neverRefreshed]));
    const kept = new Set(manifest.state.map((s) => s.name));
    this.pairs = [...new Set(factors.flatMap((s) => s.of ?? []))].filter((of) => kept.has(piOf(of)));
    this.waiting = saved?.waiting ?? [];
    this.count = { ...(saved?.count ?? { steps: 0, A: 0, others: 0 }) };
  }

  /** The guards of a step, from 1. Each step begins once, in order. */
  begin(step: number): Guards {
    const { kind } = this.settings;
    if (kind === 'adaptive') this.decide(step - 1 - this.settings.lag);
    const names = new Set(this.statistics.map((s) => s.name).filter((name) => this.state.get(name)!.next <= step));
    for (const name of names) {
      const r = this.state.get(name)!;
      this.state.set(
        name,
        kind === 'fixed' ? { ...r, last: step, next: step + this.settings.interval } : refreshed(r, step),
      );
    }
    this.now = this.statistics.filter((s) => names.has(s.name));
    this.count.steps++;
    for (const { name, elements } of this.now) this.count[isInput(name) ? 'A' : 'others'] += elements;
    const off = this.guardsOff(names);
    return (guard) => !off.has(guard);
  }

  private guardsOff(names: ReadonlySet<string>): Set<string> {
    const off = new Set<string>();
    // Statistics of inputs need no labels.
    if ([...names].every(isInput)) off.add(SAMPLED);
    for (const { name } of this.statistics) {
      if (names.has(name)) continue;
      off.add(due(name));
      off.add(due(inverseOf(name)));
    }
    for (const weight of this.pairs) {
      const [A, G] = [`${weight}.A`, `${weight}.G`];
      if (names.has(A) === names.has(G)) {
        if (!names.has(A)) off.add(due(piOf(weight)));
      } else if (this.settings.pairs === 'keep') off.add(due(piOf(weight)));
      else for (const factor of [A, G]) off.delete(due(inverseOf(factor)));
    }
    return off;
  }

  /** Takes in what the step, which has begun, reported. */
  end(step: number, metrics: Readonly<Record<string, number>>): StepRefreshes {
    const { kind, lag, alpha } = this.settings;
    const moved = new Map(kind === 'adaptive' ? this.now.map(({ name }) => [name, changeIn(metrics, name)]) : []);
    if (kind === 'adaptive') {
      const similar = Object.fromEntries([...moved].map(([name, change]) => [name, similarity(change, alpha)]));
      this.waiting = [...this.waiting, { step, similar }];
      this.decide(step - lag);
    }
    return {
      staleness: this.statistics.map(({ name }) => step - this.state.get(name)!.last),
      refreshed: this.now.map(({ name }) => {
        const { last, next } = this.state.get(name)!;
        return { name, ...(moved.has(name) && { change: moved.get(name) }), interval: next - last };
      }),
    };
  }

  /** Chooses intervals by the outcomes of steps up to `known`. */
  private decide(known: number): void {
    for (const { step, similar } of this.waiting)
      if (step <= known)
        for (const [name, how] of Object.entries(similar))
          this.state.set(name, decided(this.state.get(name)!, how, this.settings.bounded));
    this.waiting = this.waiting.filter(({ step }) => step > known);
  }

  shares(): RefreshShares {
    const total = { A: 0, others: 0 };
    for (const { name, elements } of this.statistics) total[isInput(name) ? 'A' : 'others'] += elements;
    const { steps, A, others } = this.count;
    const share = (part: number, whole: number): number => (whole * steps === 0 ? 0 : part / (whole * steps));
    return {
      all: share(A + others, total.A + total.others),
      A: share(A, total.A),
      others: share(others, total.others),
    };
  }

  save(): SavedRefreshes {
    return { statistics: Object.fromEntries(this.state), waiting: this.waiting, count: { ...this.count } };
  }
}

const isInput = (statistic: string): boolean => statistic.endsWith('.A');

function changeIn(metrics: Readonly<Record<string, number>>, statistic: string): Change {
  const change = changeOf(statistic);
  return [metrics[`${change}[0]`], metrics[`${change}[1]`]];
}

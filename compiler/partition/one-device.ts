/**
 * The placed level on one device: every value is where every other is, and all state has the one owner `all`. What a
 * partition over several devices replaces. Composites are gone by now, which the level's verifier holds.
 */
import type { Module } from '../../ir/graph.js';

export function placeOnOneDevice(module: Module): Module {
  return { ...module, level: 'placed' };
}

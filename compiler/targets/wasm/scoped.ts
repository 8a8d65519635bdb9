/**
 * What names mean in scopes inside each other: what a scope defines holds until it is left, then the name means again what it
 * meant before. One table for all scopes, since names are looked up far more often than scopes are entered.
 */
export class Scoped<T> {
  private readonly meanings = new Map<string, T>();
  /** What was defined, in which scope, and what the name meant before. */
  private readonly log: { readonly name: string; readonly level: number; readonly before: T | undefined }[] = [];

  get(name: string): T {
    const found = this.meanings.get(name);
    if (found === undefined) throw new Error(`${name} is not defined`);
    return found;
  }

  /** @param level of the innermost scope */
  define(name: string, meaning: T, level: number): void {
    this.log.push({ name, level, before: this.meanings.get(name) });
    this.meanings.set(name, meaning);
  }

  /** Forgets what the scope `level` and those inside it have defined. */
  leave(level: number): void {
    const { log, meanings } = this;
    while (log.length > 0 && log[log.length - 1].level >= level) {
      const { name, before } = log.pop()!;
      if (before === undefined) meanings.delete(name);
      else meanings.set(name, before);
    }
  }
}

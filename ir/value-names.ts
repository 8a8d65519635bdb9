/**
 * Which names are taken in a function. Most are a word and a number, `mul.17`: they are kept as numbers by word, so that no text
 * need be made or hashed to see whether one is free.
 */

/** A name in its parts. */
export interface NameParts {
  readonly stem: string;
  /** `stem` alone: 0; `stem.3`: 3. */
  readonly ordinal: number;
}

export interface Name extends NameParts {
  readonly text: string;
}

const withOrdinal = /^(.*)\.([1-9]\d{0,8})$/s;

export function nameOf(text: string): Name {
  const last = text.charCodeAt(text.length - 1);
  const parts = last >= 48 && last <= 57 ? withOrdinal.exec(text) : null;
  return parts ? { text, stem: parts[1], ordinal: Number(parts[2]) } : { text, stem: text, ordinal: 0 };
}

/** What is taken of one stem, where that is more than one name. */
interface Ordinals {
  readonly taken: boolean[];
  /** All from 1 to here, exclusive, are taken. */
  next: number;
}

export class Names {
  /** By stem; most have one name, and that one's ordinal stands for them. */
  private readonly stems = new Map<string, number | Ordinals>();

  has({ stem, ordinal }: NameParts): boolean {
    const known = this.stems.get(stem);
    return typeof known === 'object' ? known.taken[ordinal] === true : known === ordinal;
  }

  /** Whether the name was free; now it is taken. */
  claim({ stem, ordinal }: NameParts): boolean {
    const known = this.stems.get(stem);
    if (known === undefined) {
      this.stems.set(stem, ordinal);
      return true;
    }
    if (known === ordinal) return false;
    const { taken } = this.several(stem, known);
    if (taken[ordinal]) return false;
    taken[ordinal] = true;
    return true;
  }

  /** A name that was free: `base`, or base with the lowest number that is; now it is taken. */
  fresh(base: string): Name {
    const name = nameOf(base);
    if (this.claim(name)) return name;
    const ordinals = this.several(base, this.stems.get(base));
    while (ordinals.taken[ordinals.next]) ordinals.next++;
    const ordinal = ordinals.next++;
    ordinals.taken[ordinal] = true;
    return { text: `${base}.${ordinal}`, stem: base, ordinal };
  }

  private several(stem: string, known: number | Ordinals | undefined): Ordinals {
    if (typeof known === 'object') return known;
    const ordinals: Ordinals = { taken: [], next: 1 };
    if (known !== undefined) ordinals.taken[known] = true;
    this.stems.set(stem, ordinals);
    return ordinals;
  }
}

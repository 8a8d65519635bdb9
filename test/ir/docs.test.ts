/** docs/spn.md shows texts as they are printed. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { reservedWords } from '../../ir/text/names.js';
import { parseKernel, parseModule, parseProgram, printKernel, printModule, printProgram } from '../../ir/text/spn.js';
import { verifyKernel, verifyModule, verifyProgram } from '../../ir/verify.js';

const document = readFileSync('docs/spn.md', 'utf8');
const examples = [...document.matchAll(/```spn\n(.*?)```/gs)].map((m) => m[1]);

function printed(text: string): string {
  if (text.startsWith('module')) {
    const m = parseModule(text, 'docs/spn.md');
    verifyModule(m);
    return printModule(m);
  }
  if (text.startsWith('kernel')) {
    const k = parseKernel(text, 'docs/spn.md');
    verifyKernel(k);
    return printKernel(k);
  }
  const p = parseProgram(text, 'docs/spn.md');
  verifyProgram(p);
  return printProgram(p);
}

describe('docs/spn.md', () => {
  it.each(examples.map((text) => [text.slice(0, text.indexOf('\n')), text]))('%s', (_, text) => {
    expect(printed(text)).toBe(text);
  });

  it('has examples of every kind', () => {
    expect(examples.map((t) => t.slice(0, t.indexOf(' ')))).toEqual(['module', 'kernel', 'kernel', 'program']);
  });

  it('lists the reserved words', () => {
    expect(document.replace(/\s+/g, ' ')).toContain(`\`${reservedWords.join(' ')}\``);
  });
});

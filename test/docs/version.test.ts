import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { VERSION } from '../../ir/version.js';

it('artifacts name the version that package.json has', () => {
  expect(JSON.parse(readFileSync('package.json', 'utf8')).version).toBe(VERSION);
});

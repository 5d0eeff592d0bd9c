// dockerfile.mjs FILE: what two linters find in a Dockerfile, a line for each.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { validate } from 'dockerfile-utils';

const require = createRequire(import.meta.url);
const { run } = require('dockerfilelint');

const [path] = process.argv.slice(2);
const text = readFileSync(path, 'utf8');
const found = [
  ...validate(text).map((one) => `${path}:${one.range.start.line + 1}: ${one.message}`),
  ...run(dirnameOf(path), text, []).map((one) => `${path}:${one.line}: ${one.title}`),
];

function dirnameOf(name) {
  return name.replace(/[^/]*$/, '') || '.';
}

for (const line of found) console.log(line);
console.log(`${found.length} faults`);
process.exitCode = found.length ? 1 : 0;

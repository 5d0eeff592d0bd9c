// json.mjs FILE…: the documents of YAML files, in one JSON list. YAML 1.2 as kubectl reads it; a
// key that stands there twice is an error.
import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';

const documents = [];
for (const path of process.argv.slice(2)) {
  for (const document of parseAllDocuments(readFileSync(path, 'utf8'))) {
    if (document.errors.length) {
      console.error(`${path}: ${document.errors[0].message}`);
      process.exit(1);
    }
    const value = document.toJS();
    if (value !== null) documents.push(value);
  }
}
console.log(JSON.stringify(documents));

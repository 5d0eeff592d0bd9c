// types.mjs FILE…: are these objects of Kubernetes, Istio, KEDA, the Prometheus operator, Karmada?
//
// Each object becomes a constant of its type in TypeScript, so that the compiler finds fields that
// do not exist, are missing, or are of another type; then the type's own schema looks at formats
// and bounds (not of Karmada's, which have types of ours). It prints a line for each fault, and at the end how many objects it has looked at.
import { readFileSync, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { parseAllDocuments } from 'yaml';

const root = dirname(fileURLToPath(import.meta.url));
const packages = {
  'networking.istio.io': '@kubernetes-models/istio',
  'security.istio.io': '@kubernetes-models/istio',
  'keda.sh': '@kubernetes-models/keda',
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
};

// The module that has the type of an object: "kubernetes-models/apps/v1/Deployment".
function moduleOf({ apiVersion, kind }) {
  const group = apiVersion.includes('/') ? apiVersion.split('/')[0] : '';
  if (group.endsWith('karmada.io')) return './karmada';
  return `${packages[group] ?? 'kubernetes-models'}/${apiVersion}/${kind}`;
}

function objectsOf(paths) {
  const objects = [];
  for (const path of paths) {
    for (const document of parseAllDocuments(readFileSync(path, 'utf8'))) {
      if (document.errors.length) throw new Error(`${path}: ${document.errors[0].message}`);
      const value = document.toJS();
      if (value) objects.push({ value, name: `${path}: ${value.kind}/${value.metadata?.name}` });
    }
  }
  return objects;
}

const faults = [];
const fault = (object, text) => faults.push(`${object.name}: ${text}`);

const ours = (object) => object.module.startsWith('./');

const objects = objectsOf(process.argv.slice(2));
const seen = new Set();
const known = objects.filter((object) => {
  const text = JSON.stringify(object.value);
  if (seen.has(text)) return false; // the same as one before
  seen.add(text);
  object.module = moduleOf(object.value);
  const found = existsSync(join(root, ours(object) ? '' : 'node_modules', object.module + '.d.ts'));
  if (!found) fault(object, `no type of ${object.value.apiVersion} is known`);
  return found;
});

// One file of TypeScript for all of them, which exists in memory only.
function compile() {
  const file = join(root, 'objects.ts');
  const lines = known.map(({ value, module }, i) =>
    `import type { I${value.kind} as T${i} } from "${module}";\n` +
    `export const o${i}: T${i} = ${JSON.stringify(value)};\n`);
  const options = { strict: true, noEmit: true, skipLibCheck: true, types: [],
    target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (path) => path === file || fileExists(path);
  host.getSourceFile = (path, ...rest) => path === file
    ? ts.createSourceFile(path, lines.join(''), ts.ScriptTarget.ES2022)
    : getSourceFile(path, ...rest);
  const program = ts.createProgram([file], options, host);
  for (const found of ts.getPreEmitDiagnostics(program)) {
    const line = found.file?.getLineAndCharacterOfPosition(found.start).line ?? 0;
    const text = ts.flattenDiagnosticMessageText(found.messageText, ' ').replace(/\s+/g, ' ');
    fault(known[Math.floor(line / 2)] ?? { name: 'typescript' }, text);
  }
}

async function validate() {
  for (const object of known.filter((one) => !ours(one))) {
    const model = (await import(object.module))[object.value.kind];
    try {
      new model(object.value).validate();
    } catch (error) {
      fault(object, error.message);
    }
  }
}

if (known.length) {
  compile();
  await validate();
}
for (const line of faults) console.log(line);
console.log(`${objects.length} objects, ${faults.length} faults`);
process.exitCode = faults.length ? 1 : 0;

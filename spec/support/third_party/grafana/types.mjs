// types.mjs FILE: whether a dashboard (JSON) is what Grafana's own types say that it is: the whole
// of it, and each panel's options and custom fields for its type. Prints what is not, a line each,
// and ends with status 1 then.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const here = dirname(fileURLToPath(import.meta.url));
const schema = "./node_modules/@grafana/schema/dist/types/raw";

// Types of panels -> the folder of their types, and whether fields have a custom part there.
const panels = {
  timeseries: ["timeseries", true], stat: ["stat", false], piechart: ["piechart", true],
  "state-timeline": ["statetimeline", true], heatmap: ["heatmap", true], table: ["table", true],
};

// Enumerations are words in JSON. Options that are left out get Grafana's defaults.
const loose = `
type Loose<T> = unknown extends T ? T : T extends string ? \`\${T}\`
  : T extends number | boolean | null | undefined ? T
  : T extends Array<infer U> ? Array<Loose<U>> : { [K in keyof T]: Loose<T[K]> };
`;

// What a query is called in an annotation is the data source's own affair.
function own(annotation) {
  const { target, titleFormat, textFormat, ...rest } = annotation;
  return rest;
}

function source(given) {
  const dashboard = { ...given, annotations: { list: given.annotations.list.map(own) } };
  const lines = [`import type { Dashboard } from "${schema}/dashboard/x/types.gen";`];
  for (const [folder, custom] of Object.values(panels)) {
    const names = `Options as ${folder}Options${custom ? `, FieldConfig as ${folder}Field` : ""}`;
    lines.push(`import type { ${names} } from "${schema}/composable/${folder}/panelcfg/x/types.gen";`);
  }
  lines.push(loose, `export const whole: Loose<Dashboard> = ${JSON.stringify(dashboard)};`);
  for (const panel of dashboard.panels) {
    if (panel.type === "row") continue;
    const known = panels[panel.type];
    if (!known) throw new Error(`panel ${panel.id}: no types for ${panel.type}`);
    const [folder, custom] = known;
    lines.push(`// panel ${panel.id}: ${panel.title}`);
    lines.push(`export const options${panel.id}: Loose<${folder}Options> = `
      + `${JSON.stringify(panel.options)};`);
    if (custom && panel.fieldConfig.defaults.custom) {
      lines.push(`export const field${panel.id}: Loose<${folder}Field> = `
        + `${JSON.stringify(panel.fieldConfig.defaults.custom)};`);
    }
  }
  return lines.join("\n") + "\n";
}

function compile(text) {
  const options = { strict: true, noEmit: true, skipLibCheck: true, types: [], lib: ["lib.es2022.d.ts"],
    target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler };
  const host = ts.createCompilerHost(options);
  const file = join(here, "dashboard.ts");
  const { readFile, fileExists } = host;
  host.readFile = (name) => (name === file ? text : readFile(name));
  host.fileExists = (name) => name === file || fileExists(name);
  host.getSourceFile = (name, target) => {
    const content = host.readFile(name);
    return content === undefined ? undefined : ts.createSourceFile(name, content, target);
  };
  return ts.getPreEmitDiagnostics(ts.createProgram([file], options, host));
}

const text = source(JSON.parse(readFileSync(process.argv[2], "utf8")));
const faults = compile(text);
for (const fault of faults) {
  const line = fault.file?.getLineAndCharacterOfPosition(fault.start).line;
  const where = line === undefined ? "" : text.split("\n")[line].slice(0, 60);
  console.log(`${where}: ${ts.flattenDiagnosticMessageText(fault.messageText, " ")}`);
}
process.exit(faults.length ? 1 : 0);

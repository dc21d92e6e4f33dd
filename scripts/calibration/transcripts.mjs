// Coding-agent sessions over the project's own files: system prompt, tools, calls with real file contents, edits, test runs.
import { cut, namesIn } from "./sources.mjs";

const text = (description) => ({ type: "string", description });
const tool = (name, description, properties, required) => ({
  type: "function",
  function: { name, description, parameters: { type: "object", properties, required: required ?? Object.keys(properties) } },
});

/** Three ways in which agents name the same four abilities; `call` makes the arguments. */
const KITS = [
  {
    read: tool("read", "Read a text file. Long files are read in parts.", { path: text("file to read"), offset: { type: "number" }, limit: { type: "number" } }, ["path"]),
    run: tool("bash", "Run a command and return what it prints.", { command: text("the command"), timeout: { type: "number" } }, ["command"]),
    edit: tool("edit", "Replace one exact piece of a file.", { path: text("file"), oldText: text("piece to replace"), newText: text("what comes instead") }),
    find: tool("grep", "Search file contents.", { pattern: text("regular expression"), path: text("where") }, ["pattern"]),
    call: {
      read: (file, first, lines) => ({ path: file, offset: first, limit: lines }),
      run: (command) => ({ command }),
      edit: (file, before, after) => ({ path: file, oldText: before, newText: after }),
      find: (pattern, file) => ({ pattern, path: file }),
    },
  },
  {
    read: tool("Read", "Reads a file from disk with line numbers.", { file_path: text("absolute path"), offset: { type: "integer" }, limit: { type: "integer" } }, ["file_path"]),
    run: tool("Bash", "Executes a shell command.", { command: text("the command"), description: text("what it is for") }, ["command"]),
    edit: tool("Edit", "Exact string replacement in a file.", { file_path: text("file"), old_string: text("old"), new_string: text("new"), replace_all: { type: "boolean" } }, ["file_path", "old_string", "new_string"]),
    find: tool("Grep", "Searches with a regular expression.", { pattern: text("pattern"), path: text("folder"), output_mode: { type: "string", enum: ["content", "files_with_matches"] } }, ["pattern"]),
    call: {
      read: (file, first, lines) => ({ file_path: `/home/user/project/${file}`, offset: first, limit: lines }),
      run: (command) => ({ command, description: "Run it" }),
      edit: (file, before, after) => ({ file_path: `/home/user/project/${file}`, old_string: before, new_string: after, replace_all: false }),
      find: (pattern, file) => ({ pattern, path: file, output_mode: "content" }),
    },
  },
  {
    read: tool("open_file", "Shows part of a file.", { name: text("path"), from_line: { type: "integer", minimum: 1 } }, ["name"]),
    run: tool("shell", "Runs a program without a shell in between.", { command: { type: "array", items: { type: "string" } } }),
    edit: tool("change", "Changes a file.", { edits: { type: "array", items: { type: "object", properties: { file: text("file"), from: text("old"), to: text("new") } } } }),
    find: tool("search", "Finds lines.", { query: text("what to look for"), folder: text("where") }, ["query"]),
    call: {
      read: (file, first) => ({ name: file, from_line: first }),
      run: (command) => ({ command: command.split(" ") }),
      edit: (file, before, after) => ({ edits: [{ file, from: before, to: after }] }),
      find: (pattern, file) => ({ query: pattern, folder: file }),
    },
  },
];

const SYSTEMS = [
  "You are a coding agent. Work in small steps, look before you change, and run the tests at the end. Answer briefly.",
  "You help in a repository of C and TypeScript. Use the tools; do not guess what a file holds. Paths are relative to the project.",
  "You are an expert programmer in a terminal.\n\nRules:\n- Read a file before you edit it.\n- Keep to the style that is there.\n- Say what you did in two sentences.",
  "你是一位在終端機裡工作的程式設計助手。修改之前先讀檔案，修改之後執行測試，最後用一兩句話說明。",
];

const WORDS = {
  en: {
    task: ["Rename {old} to {new} in {file}.", "In {file} the name {old} is misleading, call it {new} and run the tests.", "please change {old} -> {new} ({file})"],
    look: "First I look at {file}.",
    change: "The name is in line {line}. I replace that line.",
    test: "Now the tests.",
    done: ["{old} is {new} now in `{file}`; the tests pass.", "Done: line {line} of `{file}` says {new}. All tests pass."],
  },
  zh: {
    task: ["請把 {file} 裡的 {old} 改名為 {new}。", "{file} 中的 {old} 這個名字容易誤導，改成 {new}，然後跑測試。"],
    look: "我先看看 {file}。",
    change: "這個名字在第 {line} 行，我來替換那一行。",
    test: "現在執行測試。",
    done: ["`{file}` 裡的 {old} 已改為 {new}，測試通過。", "完成：`{file}` 第 {line} 行現在是 {new}，所有測試都通過。"],
  },
};

const fill = (pattern, values) => pattern.replace(/\{(\w+)\}/g, (_, key) => String(values[key]));

/** One session; its last message is the reference. */
export function transcriptCase(random, sources) {
  const kit = random.pick(KITS);
  const words = WORDS[random.chance(50) ? "zh" : "en"];
  const piece = random.pick(cut(random.pick(sources), 40 + random.below(80)));
  const old = piece === undefined ? undefined : namesIn(piece.text)[random.below(5)];
  if (old === undefined) return undefined;
  const lines = piece.text.split("\n");
  const at = lines.findIndex((line) => line.includes(old));
  const values = { file: piece.name, old, new: `${old}_${random.pick(["checked", "all", "next", "kept"])}`, line: piece.first + at };
  const messages = [{ role: "system", content: random.pick(SYSTEMS) }, { role: "user", content: fill(random.pick(words.task), values) }];
  let calls = 0;
  const step = (reasoning, ability, args, result) => {
    const id = `call_${++calls}`;
    const name = kit[ability].function.name;
    messages.push(
      { role: "assistant", content: "", reasoning_content: reasoning, tool_calls: [{ id, type: "function", function: { name, arguments: JSON.stringify(args) } }] },
      { role: "tool", tool_call_id: id, content: result },
    );
  };
  if (random.chance(40)) {
    step(fill(words.look, values), "find", kit.call.find(old, piece.name), lines.flatMap((l, i) => (l.includes(old) ? [`${piece.name}:${piece.first + i}:${l}`] : [])).join("\n"));
  }
  step(fill(words.look, values), "read", kit.call.read(piece.name, piece.first, lines.length), lines.map((l, i) => `${piece.first + i}\t${l}`).join("\n"));
  step(fill(words.change, values), "edit", kit.call.edit(piece.name, lines[at], lines[at].replaceAll(old, values.new)), `Changed ${piece.name}.`);
  step(words.test, "run", kit.call.run("make test"), `tier unit: passed=${100 + random.below(200)} failed=0\n0 failed`);
  return {
    messages,
    tools: [kit.read, kit.run, kit.edit, kit.find],
    reference: { content: fill(random.pick(words.done), values), reasoning_content: fill(words.change, values) },
  };
}

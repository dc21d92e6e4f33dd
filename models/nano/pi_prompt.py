"""System prompts and tool schemas in the shape that pi sends them, with wording, order and paths varied.

The names and parameters of the four tools are pi's; the prose around them is ours and random, so that the model learns
to rely on names, parameters and the user's words. When captures of real pi requests lie in models/nano/.cache/pi/*.json
(see README.md; they are not part of the repository), their prompts are mixed in with fresh paths.
"""

import glob
import json
import os
import re

from pretokenize import HERE
from skills_schema import distractor_tool
from words import NOUNS, TECH, VERBS, cwd, filename, folder, invented, sentence, word

DESCRIPTIONS = {
    "read": ["Read a file.", "Show what a file contains.", "Read the text of a file, whole or in part.",
             "Returns the lines of a file. Long files are cut after 2000 lines or 50KB; use offset and limit to read on.",
             "Open a text file or a picture (png, jpg, gif, webp). Use offset/limit for long files and continue with "
             "offset until everything was read."],
    "bash": ["Run a shell command.", "Execute a command in bash.", "Run a command in the working directory.",
             "Runs a bash command and returns what it prints. Long output keeps its last 2000 lines or 50KB; the rest is "
             "stored in a temporary file. A timeout in seconds may be given."],
    "edit": ["Replace text in a file.", "Change parts of a file by exact replacement.",
             "Edits one file. Each oldText has to occur exactly once in the file and the regions must not overlap; "
             "changes that lie close together belong into one edit."],
    "write": ["Write a file.", "Create a file or replace it.",
              "Writes the content to a file. Missing folders are created, an existing file is replaced."],
}
PARAMETERS = {
    "read": [("path", "string", ["Path of the file", "Path to the file to read (relative or absolute)", "File to read"]),
             ("offset", "number", ["First line to read, counted from 1",
                                   "Line number to start reading from (1-indexed)", "Start line"]),
             ("limit", "number", ["How many lines to read", "Maximum number of lines to read", "Number of lines"])],
    "bash": [("command", "string", ["Command to run", "Shell command to execute", "The bash command"]),
             ("timeout", "number", ["Seconds to wait", "Timeout in seconds (optional, no default timeout)",
                                    "Optional time limit in seconds"])],
    "write": [("path", "string", ["Path of the file", "Path to the file to write (relative or absolute)"]),
              ("content", "string", ["Text of the file", "Content to write to the file", "What to write"])],
}
REQUIRED = {"read": ["path"], "bash": ["command"], "edit": ["path", "edits"], "write": ["path", "content"]}

OPENINGS = ["You are a coding assistant inside pi.", "You are an expert programmer who works in the agent pi.",
            "You help the user with files and commands.", "You are pi, an agent for code.",
            "You are a helpful coding agent. You read files, run commands, edit code and write files.",
            "You are an assistant in a terminal.", "You work in a project folder with the tools below.",
            "Assist the user with reading, searching and changing files in the working directory."]
SNIPPETS = {"read": ["Read file contents", "Read files", "Look into files"],
            "bash": ["Execute bash commands (ls, grep, find, etc.)", "Run commands such as ls, rg, find", "Run a shell"],
            "edit": ["Make precise file edits with exact text replacement", "Replace exact text in files", "Edit files"],
            "write": ["Create or overwrite files", "Write new files", "Create files"]}
AFTER_TOOLS = ["More tools may exist in this project.", "Other tools may be there as well.",
               "The project may add custom tools.", ""]
RULES = ["Use bash for ls, rg and find", "Use read to look at files, not cat or sed", "Use edit for small changes",
         "Use write only for new files", "oldText must match exactly", "Keep oldText short but unique",
         "Put several changes of one file into one edit call", "Do not overlap edits", "Answer briefly",
         "Be concise in your responses", "Show file paths clearly", "Name the files that you changed",
         "Environment variables that start with PI_ describe the session", "Never guess what a file contains",
         "Do not ask for permission to read", "Prefer rg over grep when it is installed",
         "Large files are read in parts with offset and limit", "Ask when the task is unclear",
         "Check the result of a command before you answer", "Do not invent file names"]
DOC_LINES = ["Main documentation: {p}/README.md", "More docs: {p}/docs", "Examples: {p}/examples",
             "About {a}: docs/{a}.md, about {b}: docs/{b}.md", "Look under {p} when the user asks about {a} or {b}",
             "Read docs/{a}.md in full before you change {b}", "Topics: {a} (docs/{a}.md, examples/{a}/), {b} (docs/{b}.md)",
             "These files describe pi itself; leave them alone unless the user asks about pi"]


def tool(s, name):
    """One of pi's tools as a schema."""
    if name == "edit":
        item = {"type": "object", "required": ["oldText", "newText"], "properties": {
            "oldText": {"type": "string", "description": s.pick(["Text to replace", "Exact text, once in the file"])},
            "newText": {"type": "string", "description": s.pick(["New text", "Replacement text for this targeted edit."])}}}
        edits = {"type": "array", "items": item, "description": s.pick(["Replacements", "One or more replacements, each "
                 "matched against the original file. Merge changes that touch the same lines."])}
        properties = {"path": {"type": "string", "description": s.pick(["Path of the file",
                      "Path to the file to edit (relative or absolute)"])}, "edits": edits}
    else:
        properties = {key: {"type": kind, "description": s.pick(texts)} for key, kind, texts in PARAMETERS[name]}
        if s.chance(0.15):
            for entry in properties.values():
                entry.pop("description")
    parameters = {"type": "object", "required": REQUIRED[name], "properties": properties}
    if s.chance(0.25):
        parameters = {"type": "object", "properties": properties, "required": REQUIRED[name]}
    return {"type": "function", "function": {"name": name, "description": s.pick(DESCRIPTIONS[name]),
                                             "parameters": parameters}}


def noise(s):
    """A sentence of a system prompt that has nothing to do with the task."""
    kind = s.randint(0, 5)
    if kind == 0:
        return sentence(s)
    if kind == 1:
        return "When working on %s topics, read %s/%s first." % (s.pick(TECH), folder(s), filename(s))
    if kind == 2:
        return "The %s of the %s is kept in %s." % (s.pick(NOUNS), s.pick(TECH), folder(s))
    if kind == 3:
        return "%s %s the %s %s." % (invented(s), s.pick(VERBS), s.pick(TECH), s.pick(NOUNS))
    if kind == 4:
        return "Use %s for %s and %s." % (word(s), s.pick(TECH), s.pick(TECH))
    return "Do not touch %s/%s." % (folder(s), filename(s))


def system_prompt(s, names, directory):
    size = s.random()
    if size < 0.12:
        return s.pick(OPENINGS) + s.pick(["", "\n", "\n\n"]) + s.pick(["", "Working directory: " + directory])
    part = [s.pick(OPENINGS)]
    if s.chance(0.8):
        listing = "\n".join("- %s: %s" % (n, s.pick(SNIPPETS[n])) for n in names)
        after = s.pick(AFTER_TOOLS)
        part.append(s.pick(["<tools>\n%s\n</tools>", "Available tools:\n%s", "Tools:\n%s"])
                    % (listing + ("\n\n" + after if after else "")))
    rules = s.sample(RULES, s.randint(2, 10)) + [noise(s) for _ in range(s.pick([0, 0, 1, 3]))]
    s.shuffle(rules)
    part.append(s.pick(["<rules>\n%s\n</rules>", "Guidelines:\n%s", "Rules:\n%s"]) % "\n".join("- " + r for r in rules))
    if size > 0.5:
        root = cwd(s) + "/node_modules/pi"
        docs = [d.format(p=root, a=s.pick(TECH), b=s.pick(TECH)) for d in s.sample(DOC_LINES, s.randint(2, 7))]
        docs += [noise(s) for _ in range(s.pick([0, 0, 2, 5]))]
        part.append(s.pick(["<docs>\n%s\n</docs>", "Documentation:\n%s"]) % "\n".join("- " + d for d in docs))
    if s.chance(0.12):
        part.append("# Project context\n\n" + "\n".join(noise(s) for _ in range(s.randint(1, 5))))
    if s.chance(0.4):
        part.append(s.pick(["Current date: %d-%02d-%02d", "Today is %d-%02d-%02d."])
                    % (s.randint(2024, 2029), s.randint(1, 12), s.randint(1, 28)))
    part.append(s.pick(["<cwd>\n%s\n</cwd>", "<cwd>\n%s\n</cwd>", "Current working directory: %s"]) % directory)
    return "\n\n".join(part)


def _captures():
    out = []
    for path in sorted(glob.glob(os.path.join(HERE, ".cache", "pi", "*.json"))):
        with open(path, encoding="utf-8") as file:
            request = json.load(file)
        request = request.get("body", request)
        if request and request.get("tools"):
            out.append((request["messages"][0]["content"], request["tools"]))
    return out


CAPTURES = _captures()


def _repath(s, text, directory):
    """A captured prompt with another working directory and another place of pi."""
    text = re.sub(r"<cwd>\n.*?\n</cwd>", lambda _: "<cwd>\n%s\n</cwd>" % directory, text)
    home = s.pick(["/usr/lib", "/usr/local/lib", cwd(s), cwd(s), cwd(s)])
    return re.sub(r"/\S*?/node_modules/", lambda _: home + "/node_modules/", text)


def pi_setting(s, needed):
    """(system text, tools, raw schema lines or None) that offer at least the tools named in `needed`."""
    directory = cwd(s)
    names = ["read", "bash", "edit", "write"]
    if CAPTURES and not s.held and s.chance(0.3):      # held-out items must not depend on what lies there
        text, tools = s.pick(CAPTURES)
        text = _repath(s, text, directory)
        if s.chance(0.2):
            text += s.pick(["\n", "\n\n"]) + noise(s)
    else:
        if s.chance(0.3):
            names = [n for n in names if n in needed or s.chance(0.6)]
        if s.chance(0.3):
            s.shuffle(names)
        tools = [tool(s, n) for n in names]
        text = system_prompt(s, names, directory)
    if s.chance(0.1):
        tools = tools + [distractor_tool(s)]
    return text, tools


def raw_lines(s, tools):
    """The schemas as a JavaScript client (compact) or a Python client (with spaces) writes them."""
    separators = (",", ":") if s.chance(0.75) else (", ", ": ")
    return [json.dumps(t["function"], ensure_ascii=False, separators=separators) for t in tools]

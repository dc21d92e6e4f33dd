"""The chat template of V4 as this project renders it: a request becomes text and control tokens (docs/chat.md).

render(request) gives the prompt of a chat-completions request. render_dialogue(request) gives a finished dialogue and
says which parts the assistant wrote, for the loss mask. Both return a list of segments (kind, value, learned): kind is
"token" (value names a control token) or "text". Request data never becomes a control token.
"""

import json

from bpe import ASSISTANT, BOS, DSML, END_THINK, EOS, THINK, USER

PREAMBLE = (
    '## Tools\n\nYou have access to a set of tools to help answer the user question. You can invoke tools by writing a '
    '"<\x00tool_calls>" block like the following:\n\n<\x00tool_calls>\n<\x00invoke name="$TOOL_NAME">\n'
    '<\x00parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</\x00parameter>\n...\n'
    '</\x00invoke>\n<\x00invoke name="$TOOL_NAME2">\n...\n</\x00invoke>\n</\x00tool_calls>\n\n'
    'String parameters should be specified as raw text and set `string="true"`. Preserve characters such as `>`, `&`, '
    'and `&&` exactly; never replace normal string characters with XML or HTML entity escapes. Only if a string value '
    'itself contains the exact closing parameter tag `</\x00parameter>`, write that tag as `&lt;/\x00parameter>` inside '
    'the value. For all other types (numbers, booleans, arrays, objects), pass the value in JSON format and set '
    '`string="false"`.\n\nIf thinking_mode is enabled (triggered by \x01), you MUST output your complete reasoning '
    'inside \x01...\x02 BEFORE any tool calls or final response.\n\nOtherwise, output directly after \x02 with tool '
    'calls or final response.\n\n### Available Tool Schemas\n\n'
)
POSTAMBLE = (
    "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls. Use the exact "
    "parameter names from the schemas."
)
MAX_EFFORT = (
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
    "You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, "
    "rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.\n"
    "Explicitly write out your entire deliberation process, documenting every intermediate step, considered "
    "alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.\n\n"
)
MAX_EFFORT_CONTEXT = 393216
MARKS = {"\x00": DSML, "\x01": THINK, "\x02": END_THINK}


class Segments(list):
    """A list of segments; neighbouring text of the same kind is joined before it is tokenised."""

    def token(self, name, learned=False):
        self.append(("token", name, learned))

    def text(self, value, learned=False):
        if not value:
            return
        if self and self[-1][0] == "text" and self[-1][2] == learned:
            value = self.pop()[1] + value
        self.append(("text", value, learned))

    def marked(self, value, learned=False):
        """Template text in which \\0, \\1 and \\2 stand for control tokens."""
        start = 0
        for i, c in enumerate(value):
            if c in MARKS:
                self.text(value[start:i], learned)
                self.token(MARKS[c], learned)
                start = i + 1
        self.text(value[start:], learned)


def content_text(content):
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(p if isinstance(p, str) else p["text"] if isinstance(p, dict) and isinstance(p.get("text"), str)
                       else "" for p in content)
    return ""


def minify(text):
    """Drop white space outside strings; number spelling and escapes stay as they are."""
    out, inside, escaped = [], False, False
    for c in text:
        if inside:
            out.append(c)
            inside = escaped or c != '"'
            escaped = c == "\\" and not escaped
        elif c not in " \t\r\n":
            out.append(c)
            inside = c == '"'
    return "".join(out)


def _attribute(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _members(arguments):
    """(key, is_string, value) of each member of a JSON object; the raw text of non-string values is kept."""
    decoder = json.JSONDecoder()
    pairs = json.loads(arguments, object_pairs_hook=lambda p: p)
    if not isinstance(pairs, list) or not arguments.lstrip().startswith("{"):
        return None
    members, at = [], arguments.index("{") + 1
    for key, value in pairs:
        at = arguments.index('"', at)
        _, at = decoder.raw_decode(arguments, at)
        at = arguments.index(":", at) + 1
        while arguments[at] in " \t\r\n":
            at += 1
        parsed, end = decoder.raw_decode(arguments, at)
        if isinstance(parsed, str):
            members.append((key, True, parsed))
        else:
            members.append((key, False, minify(arguments[at:end])))
        at = end
    return members


def calls_text(calls):
    """The DSML block of an assistant message, with \\0 for the DSML token."""
    close = "</" + DSML + "parameter>"
    out = ["\n\n<\x00tool_calls>\n"]
    for call in calls:
        function = call["function"]
        arguments = function["arguments"]
        raw = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        try:
            members = _members(raw)
        except ValueError:
            members = None
        if members is None:
            members = [("arguments", True, raw)]
        out.append('<\x00invoke name="%s">\n' % _attribute(function["name"]))
        for key, is_string, value in members:
            value = value.replace(close, ("&lt;" if is_string else "\\u003c") + close[1:])
            out.append('<\x00parameter name="%s" string="%s">%s</\x00parameter>\n'
                       % (_attribute(key), "true" if is_string else "false", value))
        out.append("</\x00invoke>\n")
    out.append("</\x00tool_calls>")
    return "".join(out)


def thinking_mode(request, context):
    enabled, effort, got = True, "high", False
    for key, value in request.items():
        if key == "thinking":
            got = True
            if isinstance(value, bool):
                enabled = value
            elif isinstance(value, dict) and value.get("type") in ("enabled", "disabled"):
                enabled = value["type"] == "enabled"
        elif key == "think" and isinstance(value, bool):
            enabled, got = value, True
        elif key == "reasoning_effort" and value is not None:
            effort = {"none": "none", "max": "max"}.get(value, "high")
    if not got and request.get("model") in ("deepseek-chat", "deepseek-reasoner"):
        enabled = request["model"] == "deepseek-reasoner"
    if not enabled or effort == "none":
        return "none"
    return "max" if effort == "max" and context >= MAX_EFFORT_CONTEXT else "high"


def schema_lines(tools, raw):
    """One line per tool. `raw` gives the bytes as sent; without it compact JSON is assumed."""
    if raw is not None:
        return raw
    return [json.dumps(t["function"] if t.get("type") == "function" and "function" in t else t, ensure_ascii=False,
                       separators=(",", ":")) for t in tools]


def _calls(message):
    calls = message.get("tool_calls") or []
    return [c for c in calls if isinstance(c.get("function"), dict) and "name" in c["function"]
            and "arguments" in c["function"]]


def render(request, context=32768, raw_schemas=None, learn=False):
    out = Segments()
    messages = [m for m in request["messages"]
                if m.get("role", "user") in ("system", "developer", "user", "assistant", "tool", "function")]
    mode = thinking_mode(request, context)
    tools = request.get("tools") or []
    tools_active = bool(tools) and request.get("tool_choice") != "none"
    out.token(BOS)
    if mode == "max":
        out.text(MAX_EFFORT)
    written = False
    if tools_active:
        out.marked(PREAMBLE)
        out.text("\n".join(schema_lines(tools, raw_schemas)) + POSTAMBLE)
        written = True
    for message in messages:
        if message.get("role", "user") in ("system", "developer"):
            text = content_text(message.get("content"))
            out.text(("\n\n" if written else "") + text)
            written = written or bool(text)
    turns = [m for m in messages if m.get("role", "user") not in ("system", "developer")]
    tool_context = tools_active or any(m.get("role") in ("tool", "function") or _calls(m) for m in turns)
    last_user = max([i for i, m in enumerate(turns) if m.get("role", "user") != "assistant"], default=-1)
    pending = in_group = False
    for i, message in enumerate(turns):
        role = message.get("role", "user")
        text = content_text(message.get("content"))
        if role in ("tool", "function"):
            if not in_group:
                out.token(USER)
            out.text("<tool_result>" + text.replace("</tool_result>", "&lt;/tool_result>") + "</tool_result>")
            pending = in_group = True
            continue
        in_group = False
        if role == "user":
            out.token(USER)
            out.text(text)
            pending = True
            continue
        if pending:
            out.token(ASSISTANT)
            if mode != "none" and (tool_context or i > last_user):
                out.token(THINK)
                out.text(content_text(message.get("reasoning_content")), learn)
                out.token(END_THINK, learn)
            else:
                out.token(END_THINK)
        out.text(text, learn)
        if _calls(message):
            out.marked(calls_text(_calls(message)), learn)
        out.token(EOS, learn)
        pending = False
    if pending:
        out.token(ASSISTANT)
        out.token(THINK if mode != "none" else END_THINK)
    return out


def render_dialogue(request, raw_schemas=None):
    """A dialogue that ends in an assistant turn; learned=True marks what the assistant itself produced."""
    return render(request, raw_schemas=raw_schemas, learn=True)


def to_text(segments):
    return "".join(value for _, value, _ in segments)


def to_ids(segments, tokenizer):
    """Token ids and a 0/1 list of the same length: 1 where the token is to be learned."""
    ids, mask = [], []
    for kind, value, learned in segments:
        new = [tokenizer.special[value]] if kind == "token" else tokenizer.encode(value)
        ids.extend(new)
        mask.extend([int(learned)] * len(new))
    return ids, mask

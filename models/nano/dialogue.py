"""Messages of a dialogue, and the check that belongs to an assistant turn in the evaluation."""

import json


def user(text):
    return {"role": "user", "content": text}


def answer(text, think="", check=None):
    """check: {"equals": text} or {"contains": [...], "absent": [...]}; default: the answer must be equal."""
    return {"role": "assistant", "content": text, "reasoning_content": think,
            "_check": check if check is not None else {"equals": text}}


def call(name, arguments, think="", text=""):
    """An assistant turn that calls one tool; the check is the exact call."""
    return {"role": "assistant", "content": text, "reasoning_content": think,
            "tool_calls": [{"type": "function", "function":
                            {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False,
                                                                   separators=(",", ":"))}}],
            "_check": {"tool": name, "arguments": arguments}}


def result(text):
    return {"role": "tool", "content": text}


def strip(message):
    """The message as a client would send it."""
    return {k: v for k, v in message.items() if not k.startswith("_")}

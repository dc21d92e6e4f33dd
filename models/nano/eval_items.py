#!/usr/bin/env python3
"""Held-out items for the evaluation of ds4-nano: one chat-completions request and one check per line.

    python3 eval_items.py --per-skill 60 > items.jsonl

Phrasings, names and numbers come from the held-out side of the generators (words.Slots). Each item asks for one
assistant turn; the turns before it are given. Fields: id, skill, request (messages, tools, thinking, seed, max_tokens),
check, thinking (true or false), reference (the message that the generator would have written).

A check is an object; every member must hold:
  equals: the answer text, apart from white space at its ends        any: one of these texts occurs
  contains: all these texts occur in the answer                      absent: none of these texts occurs
  tool + arguments: exactly one call, of this tool, with equal JSON arguments
  register: "direct", "stakeholder" or "settled" (a label for the table; its test is in the other members)
Also for every item: reasoning is present if and only if thinking is on, and a call is valid DSML.
"""

import argparse
import json

from corpus import SYSTEMS, noise
from dialogue import strip
from pi_prompt import pi_setting
from skills_contested import contested
from skills_pi import chain, create, missing, pi_task, replace
from skills_schema import invented_tools
from skills_talk import arithmetic, follow_format, list_task, project_fact, reading, remember, small_talk, unknown
from skills_zh import chinese_contested, chinese_talk, chinese_task
from words import Slots


def _talk(skill):
    def make(s):
        system = [{"role": "system", "content": s.pick(SYSTEMS)}] if s.chance(0.4) else []
        return system + skill(s), []
    return make


def _register(name):
    def make(s):
        while True:
            messages = chinese_contested(s) if s.chance(0.1) else contested(s)
            if any(m.get("_check", {}).get("register") == name for m in messages):
                return messages, []
    return make


def _pi(task):
    def make(s):
        messages, needed = task(s)
        system, tools = pi_setting(s, set(needed))
        return [{"role": "system", "content": system}] + messages, tools
    return make


def _schema(s):
    messages, tools = invented_tools(s, arithmetic)
    return ([{"role": "system", "content": noise(s)}] if s.chance(0.3) else []) + messages, tools


def _calls(message):
    return "tool" in message.get("_check", {})


def _answers(message):
    return message["role"] == "assistant" and not _calls(message)


def _with(register):
    return lambda m: m.get("_check", {}).get("register") == register


# skill -> (maker of (messages, tools), which assistant turns may be asked for)
SKILLS = {
    "small_talk": (_talk(small_talk), _answers), "memory": (_talk(remember), _answers),
    "facts": (_talk(project_fact), _answers), "arithmetic": (_talk(arithmetic), _answers),
    "lists": (_talk(list_task), _answers), "formats": (_talk(follow_format), _answers),
    "reading": (_talk(reading), _answers), "unknown": (_talk(unknown), _answers), "chinese": (_talk(chinese_talk), _answers),
    "register_direct": (_register("direct"), _with("direct")),
    "register_stakeholder": (_register("stakeholder"), _with("stakeholder")),
    "settled": (_register("settled"), _with("settled")),
    "schema_call": (_schema, _calls), "schema_answer": (_schema, _answers),
    "pi_call": (_pi(pi_task), _calls), "pi_answer": (_pi(pi_task), _answers),
    "pi_create": (_pi(create), _calls), "pi_replace": (_pi(replace), _calls), "pi_chain": (_pi(chain), _calls),
    "pi_missing": (_pi(missing), lambda m: m["role"] == "assistant"), "pi_talk": (_pi(lambda s: (small_talk(s), [])), _answers),
    "pi_chinese": (_pi(chinese_task), _calls),
}


def item(skill, number, seed):
    make, wanted = SKILLS[skill]
    s = Slots("%d/%s/%d" % (seed, skill, number), held=True)
    while True:
        messages, tools = make(s)
        turns = [i for i, m in enumerate(messages) if m["role"] == "assistant" and wanted(m)]
        if turns:
            break
    at = turns[-1] if skill == "memory" else s.pick(turns)
    thinking = number % 2 == 0
    history = [strip(m) for m in messages[:at]]
    if not thinking:
        history = [{k: v for k, v in m.items() if k != "reasoning_content"} for m in history]
    calls = 0
    for message in history:
        for one in message.get("tool_calls", []):
            calls += 1
            one["id"] = "call_%08d" % calls
        if message["role"] == "tool":
            message["tool_call_id"] = "call_%08d" % calls
    request = {"model": "deepseek-v4-flash", "messages": history,
               "thinking": {"type": "enabled" if thinking else "disabled"}, "seed": 42, "max_tokens": 400}
    if tools:
        request["tools"] = tools
    return {"id": "%s-%03d" % (skill, number), "skill": skill, "thinking": thinking, "request": request,
            "check": messages[at]["_check"], "reference": strip(messages[at])}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--per-skill", type=int, default=60)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--skill", choices=sorted(SKILLS), action="append", help="only these skills")
    options = parser.parse_args()
    for skill in options.skill or SKILLS:
        for number in range(options.per_skill):
            print(json.dumps(item(skill, number, options.seed), ensure_ascii=False))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Contrast pairs and held-out requests for steering ds4-nano between its two registers (docs/steering.md).

    python3 steering_data.py pairs --count 100 > pairs.jsonl     # training phrasings, for ds4-steer build
    python3 steering_data.py items --count 120 > items.jsonl     # held-out phrasings, for ds4-steer sweep

A pair asks one question about an invented dispute twice: with a system message that wants the stakeholders, and with one
that wants a direct answer. Items have a group. "contested": held-out questions about disputes without any word about the
register; `check` holds when the answer is in the stakeholder register, `other` when it is the direct answer. "asked": the
same with a system message that wants the stakeholders. All other groups are collateral: what must stay as it is.
"""

import argparse
import json

from dialogue import user
from eval_items import item
from skills_contested import (ASK, CONTEXT, DIRECT, DIRECT_SYSTEM, DISPUTES, STAKEHOLDER, STAKEHOLDER_SYSTEM, _dispute)
from words import Slots, invented

COLLATERAL = ["settled", "arithmetic", "small_talk", "reading", "schema_call", "schema_answer", "pi_call", "pi_answer"]


def question(s):
    """A dispute, the question about it, and its answers in both registers."""
    if s.chance(0.4):
        dispute = _dispute(s, s.pick(["land", "land", "river", "maker"]), lambda: invented(s))
        background = s.pick(CONTEXT[dispute["kind"]]).format(**dispute) + s.pick([" ", "\n", "\n\n"])
    else:
        dispute, background = s.pick(DISPUTES), ""
    kind = dispute["kind"]
    both = dispute["names"] if kind == "river" else (dispute["one"], dispute["two"])
    return (background + s.phrase(ASK[kind]).format(**dispute), STAKEHOLDER[kind].format(**dispute),
            DIRECT[kind].format(**dispute), both)


def request(system, text):
    messages = ([{"role": "system", "content": system}] if system else []) + [user(text)]
    return {"messages": messages, "thinking": {"type": "disabled"}}


def pairs(count):
    for number in range(count):
        s = Slots("pairs/%d" % number)
        text, stakeholder, direct, _ = question(s)
        yield {"id": "pair-%03d" % number,
               "target": request(s.phrase(STAKEHOLDER_SYSTEM), text),
               "contrast": request(s.phrase(DIRECT_SYSTEM), text),
               "target_answer": stakeholder, "contrast_answer": direct}


def items(count, per_skill):
    for group, n in (("contested", count), ("asked", count // 2)):
        for number in range(n):
            s = Slots("%s/%d" % ("items" if group == "contested" else group, number), held=True)
            text, _, direct, both = question(s)
            system = s.phrase(STAKEHOLDER_SYSTEM) if group == "asked" else None
            yield {"id": "%s-%03d" % (group, number), "group": group,
                   "request": {**request(system, text), "seed": 42, "max_tokens": 200},
                   "check": {"contains": ["contested"] + list(both)}, "other": {"equals": direct, "absent": ["contested"]}}
    for skill in COLLATERAL:
        for number in range(per_skill):
            one = item(skill, number, 20261122)
            yield {"id": one["id"], "group": skill, "request": one["request"], "check": one["check"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["pairs", "items"])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--per-skill", type=int, default=60)
    options = parser.parse_args()
    made = pairs(options.count) if options.what == "pairs" else items(options.count, options.per_skill)
    for one in made:
        print(json.dumps(one, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()

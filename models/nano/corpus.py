#!/usr/bin/env python3
"""The corpus of ds4-nano: an endless, seeded stream of dialogues, rendered, tokenised and packed into rows.

    python3 corpus.py show --count 5 --seed 1       prints dialogues as text
    python3 corpus.py sample --count 30000 > f      text for training the tokenizer (NUL between dialogues)
    python3 corpus.py pack --shards 2 --out DIR     writes packed shards as .npy and prints statistics

Nothing is stored: training draws shard after shard from shard(seed, number), which depends on these two alone.
"""

import argparse
import collections
import sys
import time

import template
from bpe import Tokenizer
from pi_prompt import noise, pi_setting, raw_lines
from skills_contested import contested
from skills_pi import pi_task
from skills_schema import invented_tools
from skills_talk import arithmetic, follow_format, list_task, project_fact, reading, small_talk, unknown
from skills_zh import chinese_contested, chinese_talk, chinese_task
from words import Slots

ROW = 4096
ALIGN = 128     # documents start at multiples of the longest compression window, so windows never mix documents
SHARD_ROWS = 32
SYSTEMS = ["You are a helpful assistant.", "You are a helpful assistant", "You are ds4-nano.", "Be helpful and brief.",
           "You are a friendly assistant.", "Answer the user.", "You answer questions.", "You are a small model."]
TALK = [(small_talk, 3), (project_fact, 3), (arithmetic, 8), (list_task, 7), (follow_format, 4), (reading, 6),
        (chinese_talk, 5), (unknown, 1)]
_TALK = [skill for skill, weight in TALK for _ in range(weight)]


def talk_dialogue(s):
    """Several turns of talk, with or without a system prompt."""
    messages = []
    if s.chance(0.35):
        messages.append({"role": "system", "content": s.pick(SYSTEMS) if s.chance(0.8) else noise(s)})
    for _ in range(s.pick([1, 2, 3, 5, 8])):
        messages += s.pick(_TALK)(s)
    return messages, []


def contested_dialogue(s):
    if s.chance(0.12):
        return chinese_contested(s), []
    messages = contested(s)
    if s.chance(0.2) and messages[0]["role"] != "system":
        messages = s.pick(_TALK)(s) + messages
    elif s.chance(0.2):
        messages += s.pick([arithmetic, project_fact, list_task])(s)
    return messages, []


def schema_dialogue(s):
    messages, tools = invented_tools(s, s.pick([arithmetic, small_talk, project_fact, list_task]))
    if s.chance(0.5):
        messages = [{"role": "system", "content": s.pick(SYSTEMS) if s.chance(0.6) else noise(s)}] + messages
    return messages, tools


def pi_dialogue(s):
    """A session of pi: one or more tasks, some of them talk; a long prompt carries more tasks."""
    turns, needed = [], set()
    for _ in range(s.pick([1, 2, 3, 4, 6, 8])):
        kind = s.random()
        if kind < 0.13:
            turns += s.pick(_TALK)(s)
        elif kind < 0.22:
            part, names = chinese_task(s)
            turns += part
            needed.update(names)
        else:
            part, names = pi_task(s)
            turns += part
            needed.update(names)
    system, tools = pi_setting(s, needed)
    return [{"role": "system", "content": system}] + turns, tools


# Shares of dialogues, chosen so that of the learned tokens about 30 % are talk, 12 % contested, 20 % invented tools and
# 38 % pi: a pi dialogue teaches nine times as many tokens as one of talk.
SKILLS = [("talk", talk_dialogue, 0.52), ("contested", contested_dialogue, 0.20), ("schema", schema_dialogue, 0.12),
          ("pi", pi_dialogue, 0.16)]


def dialogue(s):
    """(skill, request, raw schema lines): a finished dialogue as a chat-completions request."""
    at = s.random()
    for name, make, share in SKILLS:
        at -= share
        if at < 0:
            break
    messages, tools = make(s)
    request = {"messages": messages, "thinking": {"type": s.pick(["enabled", "disabled"])}}
    raw = None
    if tools:
        request["tools"] = tools
        raw = raw_lines(s, tools)
    return name, request, raw


def drop_hidden_reasoning(request):
    """In a tool-less dialogue the template hides all reasoning but the last; cut it so that the last turn is one of many.

    Without this, long thinking dialogues would teach thinking in one turn of six only.
    """
    if request["thinking"]["type"] == "enabled" and "tools" not in request:
        turns = [i for i, m in enumerate(request["messages"]) if m["role"] == "assistant"]
        if len(turns) > 2:
            request["messages"] = request["messages"][: turns[1] + 1]


def document(s, tokenizer):
    """(skill, ids, mask) of one dialogue that fits into a row."""
    while True:
        name, request, raw = dialogue(s)
        drop_hidden_reasoning(request)
        ids, mask = template.to_ids(template.render_dialogue(request, raw), tokenizer)
        if len(ids) <= ROW:
            return name, ids, mask


def shard(seed, number, tokenizer, rows=SHARD_ROWS, held=False):
    """Packed rows: arrays ids [rows, ROW] int16, starts [rows, ROW] int16 (where the token's document begins; padding
    belongs to the document before it) and mask [rows, ROW] uint8 (1 + skill index where the token is to be learned)."""
    import numpy as np
    s = Slots(seed * 1000003 + number, held)
    names = [name for name, _, _ in SKILLS]
    ids = np.full((rows, ROW), tokenizer.special["<｜▁pad▁｜>"], np.int16)
    starts = np.zeros((rows, ROW), np.int16)
    mask = np.zeros((rows, ROW), np.uint8)
    waiting = []
    for row in range(rows):
        at = 0
        while at < ROW:
            # First the documents that did not fit before, the longest first; then new ones.
            pick = next((i for i, d in enumerate(waiting) if len(d[1]) <= ROW - at), None)
            if pick is None:
                if len(waiting) >= 24:
                    break
                waiting.append(document(s, tokenizer))
                waiting.sort(key=lambda d: -len(d[1]))
                continue
            name, tokens, learned = waiting.pop(pick)
            n = len(tokens)
            ids[row, at : at + n] = tokens
            mask[row, at : at + n] = np.array(learned, np.uint8) * (1 + names.index(name))
            starts[row, at:] = at
            at += -(-n // ALIGN) * ALIGN
    return ids, starts, mask


def show(seed, count, held):
    s = Slots(seed, held)
    for _ in range(count):
        name, request, raw = dialogue(s)
        drop_hidden_reasoning(request)
        print("=== %s" % name)
        print(template.to_text(template.render_dialogue(request, raw)))


def sample(seed, count):
    s, seen = Slots(seed), set()
    for i in range(count):
        _, request, raw = dialogue(s)
        for kind, value, learned in template.render_dialogue(request, raw):
            # The fixed preamble and repeated prompts must not outweigh the answers.
            if kind == "text" and (learned or len(value) < 1500 or i % 12 == 0):
                for part in value.split("\n\n") if len(value) > 1500 else [value]:
                    if len(part) < 200 or part not in seen:
                        seen.add(part)
                        sys.stdout.write(part + "\0")


def pack(seed, shards, out, held):
    import numpy as np
    tokenizer = Tokenizer()
    total, begin = collections.Counter(), time.time()
    for number in range(shards):
        ids, starts, mask = shard(seed, number, tokenizer, held=held)
        if out:
            np.savez_compressed("%s/shard%03d.npz" % (out, number), ids=ids, starts=starts, mask=mask)
        total["tokens"] += ids.size
        total["padding"] += int((ids == 2).sum())
        for i, (name, _, _) in enumerate(SKILLS):
            total["learned " + name] += int((mask == i + 1).sum())
        total["documents"] += sum(len(np.unique(row)) for row in starts)
    seconds = time.time() - begin
    print(dict(total), "%.0f tokens/s" % (total["tokens"] / seconds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["show", "sample", "pack"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--held", action="store_true", help="the held-out side")
    parser.add_argument("--out", default="")
    options = parser.parse_args()
    if options.command == "show":
        show(options.seed, options.count, options.held)
    elif options.command == "sample":
        sample(options.seed, options.count)
    else:
        pack(options.seed, options.shards, options.out, options.held)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Byte-level BPE: the trainer that made tokenizer.json, and the encoder that the corpus uses.

    python3 bpe.py train --sample sample.txt      writes tokenizer.json beside this file
    python3 bpe.py check                          the invariants that the C tokenizer relies on

Layout of the 8192 ids, the same order as the big vocabulary: 0..2 the sentence markers and pad, 3.. the 256 bytes and
the merged tokens, and the chat control tokens last. Digits never merge: a number is copied digit by digit, which a
small model learns far better than copying one of a thousand number tokens.
"""

import argparse
import collections
import heapq
import json
import os

from pretokenize import HERE, byte_alphabet, pieces

VOCABULARY = 8192
BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
USER, ASSISTANT, THINK, END_THINK, DSML = "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "｜DSML｜"
FIRST_SPECIALS = [BOS, EOS, PAD]
LAST_SPECIALS = [USER, ASSISTANT, THINK, END_THINK, DSML]
PATH = os.path.join(HERE, "tokenizer.json")


def too_long(joined):
    """A token holds at most two characters of a script without spaces: whole sentences must not become tokens."""
    return len(joined) > 6 and any(ord(c) > 0x7E for c in joined[1:])


def train(counts, n_merges):
    """counts: Counter of mapped pieces (strings of the byte alphabet). Returns the merge list [(left, right)].

    Most frequent pair first; equal counts go to the pair that sorts first, so the result does not depend on hashing.
    """
    words = [(list(piece), n) for piece, n in sorted(counts.items())]
    pair_count = collections.Counter()
    where = collections.defaultdict(set)
    for index, (symbols, n) in enumerate(words):
        for pair in zip(symbols, symbols[1:]):
            pair_count[pair] += n
            where[pair].add(index)
    heap = [(-n, pair) for pair, n in pair_count.items()]
    heapq.heapify(heap)
    merges = []
    while len(merges) < n_merges and heap:
        negative, pair = heapq.heappop(heap)
        if pair_count[pair] != -negative:
            continue
        if -negative < 2:
            break
        if too_long(pair[0] + pair[1]):
            continue
        merges.append(pair)
        changed = set()
        for index in sorted(where.pop(pair)):
            symbols, n = words[index]
            i = 0
            while i + 1 < len(symbols):
                if symbols[i] != pair[0] or symbols[i + 1] != pair[1]:
                    i += 1
                    continue
                joined = pair[0] + pair[1]
                for old, new, at in (((symbols[i - 1], pair[0]), (symbols[i - 1], joined), i > 0),
                                     ((pair[1], symbols[i + 2]) if i + 2 < len(symbols) else None,
                                      (joined, symbols[i + 2]) if i + 2 < len(symbols) else None,
                                      i + 2 < len(symbols))):
                    if not at:
                        continue
                    if old in pair_count:
                        pair_count[old] -= n
                        changed.add(old)
                    pair_count[new] += n
                    where[new].add(index)
                    changed.add(new)
                symbols[i : i + 2] = [joined]
                i += 1
        pair_count.pop(pair, None)
        changed.discard(pair)
        for other in changed:
            if pair_count[other] > 0:
                heapq.heappush(heap, (-pair_count[other], other))
    return merges


def save(merges, path=PATH):
    """The Hugging Face form that `ds4-gguf convert` reads."""
    alphabet = byte_alphabet()
    tokens = FIRST_SPECIALS + [alphabet[b] for b in sorted(alphabet)] + [a + b for a, b in merges]
    first_last = VOCABULARY - len(LAST_SPECIALS)
    assert len(tokens) == first_last and len(set(tokens)) == first_last, len(tokens)
    vocab = {token: i for i, token in enumerate(tokens)}
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, t in enumerate(FIRST_SPECIALS)]
    added += [{"id": first_last + i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
               "normalized": False, "special": t in (USER, ASSISTANT)} for i, t in enumerate(LAST_SPECIALS)]
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    patterns = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
                r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
                r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]
    document = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers":
                          [dict(split, pattern={"Regex": p}) for p in patterns]
                          + [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                              "use_regex": False}]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": ["%s %s" % pair for pair in merges]},
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=False, indent=0, separators=(",", ":"))
        file.write("\n")


class Tokenizer:
    """Encodes text; control tokens exist only as ids asked for by name, never as text."""

    def __init__(self, path=PATH):
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        self.vocab = document["model"]["vocab"]
        self.special = {entry["content"]: entry["id"] for entry in document["added_tokens"]}
        self.rank = {tuple(m.split(" ")): i for i, m in enumerate(document["model"]["merges"])}
        self.alphabet = byte_alphabet()
        self.bytes_of = {c: b for b, c in self.alphabet.items()}
        self.strings = {i: t for t, i in self.vocab.items()}
        self.cache = {}

    def _merge(self, piece):
        symbols = [self.alphabet[b] for b in piece.encode("utf-8", "replace")]
        while len(symbols) > 1:
            best = min(range(len(symbols) - 1),
                       key=lambda i: self.rank.get((symbols[i], symbols[i + 1]), 1 << 30))
            if (symbols[best], symbols[best + 1]) not in self.rank:
                break
            symbols[best : best + 2] = [symbols[best] + symbols[best + 1]]
        return [self.vocab[s] for s in symbols]

    def encode(self, text):
        out = []
        cache = self.cache
        for piece in pieces(text):
            ids = cache.get(piece)
            if ids is None:
                ids = self._merge(piece)
                if len(cache) < 300000:
                    cache[piece] = ids
            out.extend(ids)
        return out

    def decode(self, ids):
        names = {i: t for t, i in self.special.items()}
        out = b""
        for i in ids:
            if i in names:
                out += names[i].encode("utf-8")
            else:
                out += bytes(self.bytes_of[c] for c in self.strings[i])
        return out.decode("utf-8", "replace")


def count_pieces(texts):
    alphabet = byte_alphabet()
    raw = collections.Counter()
    for text in texts:
        raw.update(p for p in pieces(text) if not any(c.isnumeric() for c in p))
    return collections.Counter({"".join(alphabet[b] for b in p.encode("utf-8")): n for p, n in raw.items()})


def check():
    tokenizer = Tokenizer()
    assert sorted(tokenizer.vocab.values()) == list(range(VOCABULARY - len(LAST_SPECIALS)))
    expected = {"  int": [" ", " int"], "  1": ["  ", "1"], "  你": ["  ", "你"], "。\n\n": ["。\n\n"],
                "は゛": ["は", "゛"], "\x01\x02\x03": ["\x01\x02\x03"], "\x01\x01a": ["\x01", "\x01a"],
                "a\u200db": ["a", "\u200db"], "_a": ["_a"], "__a": ["__", "a"], "12345": ["123", "45"]}
    for text, want in expected.items():
        assert pieces(text) == want, (text, pieces(text), want)
    for text in ("Hello, 世界 12345\n\n\tx = y_1; 🙂", "list the files", "\r\n \u3000。", 'a">b</p'):
        assert tokenizer.decode(tokenizer.encode(text)) == text, text
    assert all(len(tokenizer.encode(d)) == 1 for d in "0123456789")
    print("tokenizer.json: %d ids, %d bytes, ok" % (VOCABULARY, os.path.getsize(PATH)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["train", "check"])
    parser.add_argument("--sample", help="UTF-8 text; documents are separated by a NUL")
    options = parser.parse_args()
    if options.command == "train":
        with open(options.sample, encoding="utf-8") as file:
            counts = count_pieces(file.read().split("\0"))
        n_merges = VOCABULARY - len(FIRST_SPECIALS) - len(LAST_SPECIALS) - 256
        merges = train(counts, n_merges)
        print("%d distinct pieces, %d merges (wanted %d)" % (len(counts), len(merges), n_merges))
        save(merges)
    check()


if __name__ == "__main__":
    main()

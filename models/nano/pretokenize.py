"""The V4 pre-tokenizer: three splits, each applied inside the pieces of the one before it (docs/chat.md).

The Unicode classes come from the project's own table (tests/fixtures/tokenizer/unicode_classes.json), never from the
Unicode version of the Python that happens to run this.
"""

import json
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
CLASSES = os.path.join(HERE, "..", "..", "tests", "fixtures", "tokenizer", "unicode_classes.json")

ASCII_PUNCTUATION = r"""!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~"""
CJK = "\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff"


def _bracket(ranges):
    return "".join(re.escape(chr(low)) + "-" + re.escape(chr(high)) for low, high in ranges)


def _build():
    with open(CLASSES, encoding="utf-8") as file:
        table = json.load(file)
    letter, mark, number = (_bracket(table[n]) for n in "LMN")
    punct, symbol, space = (_bracket(table[n]) for n in "PSW")
    number_pattern = re.compile("[%s]+" % number)
    cjk_pattern = re.compile("[%s]+" % CJK)
    text_pattern = re.compile(
        "[%s][A-Za-z]+" % ASCII_PUNCTUATION
        + "|[^\\r\\n%s%s%s]?[%s%s]+" % (letter, punct, symbol, letter, mark)
        + "| ?[%s%s]+[\\r\\n]*" % (punct, symbol)
        + "|[%s]*[\\r\\n]+" % space
        + "|[%s]+(?![^%s])" % (space, space)
        + "|[%s]+" % space
    )
    return number_pattern, cjk_pattern, text_pattern


_NUMBER, _CJK, _TEXT = _build()


def _isolate(pattern, text):
    """Cut text into the matches of pattern and the gaps between them."""
    end = 0
    for match in pattern.finditer(text):
        if match.start() > end:
            yield text[end : match.start()], False
        yield match.group(), True
        end = match.end()
    if end < len(text):
        yield text[end:], False


def pieces(text):
    """The list of pre-token strings of text; their concatenation is text."""
    out = []
    for part, is_number in _isolate(_NUMBER, text):
        if is_number:
            out.extend(part[i : i + 3] for i in range(0, len(part), 3))
            continue
        for run, _ in _isolate(_CJK, part):
            out.extend(piece for piece, _ in _isolate(_TEXT, run))
    return out


def byte_alphabet():
    """byte value -> the character that stands for it in token strings."""
    plain = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    table = {b: chr(b) for b in plain}
    spare = 0x100
    for b in range(256):
        if b not in table:
            table[b] = chr(spare)
            spare += 1
    return table

"""Words, invented names, file names and small texts: the random slots of the corpus.

Every generator takes a Slots object. Its `held` flag divides the world in two: names, numbers and phrasings used for
training never occur in the held-out items and the other way round (each name belongs to one side by its hash).
"""

import json
import os
import random
import re
import zlib

NOUNS = """apple arrow badge ball barrel basket beach bell bench bird blanket boat book bottle bowl box branch bread
bridge brush bucket button cable candle carpet castle cat chair cheese circle clock cloud coat coin copper corner cup
curtain desk dog door dress drum duck engine farm feather fence field finger fire fish flag flower forest fork fox
garden gate glass glove goat grass guitar hammer harbor hat hill honey horse house island jacket jar key kettle kitchen
kite knife ladder lake lamp leaf lemon letter lion map market mirror moon mountain mouse needle nest net ocean onion
orange oven owl paper path pencil pepper piano pillow pipe plate pocket pond potato rabbit radio rain ring river road
roof rope rose sail salt school shell ship shoe shop silver sky snow soap sock spoon square star station stone storm
street sugar summer sun table tail tea tent ticket tiger tower town train tree truck tunnel umbrella valley village
violin wagon wall watch water wheel whistle window winter wolf wood yard""".split()
ADJECTIVES = """big black blue brave bright broken brown busy calm cheap clean clear clever cold cool dark deep dry dusty
early easy empty fair famous fast flat free fresh full gentle golden good grand gray green happy heavy high hollow hot
huge kind large late lazy light little long lost loud low lucky narrow new noisy old open orange pale plain poor pretty
proud purple quick quiet rare red rich round rusty sad safe sharp short shy silent simple slow small smooth soft sour
strong sweet tall thick thin tiny tired warm weak wet white wide wild wise wooden yellow young""".split()
VERBS = """bought built carried cleaned closed counted drew dropped filled fixed followed found gave held hid kept left
lifted lost loved made moved opened painted planted pulled pushed saved saw sent sold stopped threw took turned washed
watched wrote""".split()
TECH = """alpha beta gamma delta main core util helper parser server client config setup build deploy report backup
index login user order invoice cache queue worker token logger router model schema test data image audio video chart
table export import sync task event timer memory disk network shell module plugin theme layout menu page panel query
record sample script search session signal socket source stream string style system target update upload vector
version widget""".split()
STEMS = """notes todo readme list plan draft ideas recipe letter diary budget summary report log data users items
inventory prices names cities colors animals fruits words lines story poem menu schedule contacts tasks changes
agenda results scores settings config main index app test utils helper server client setup build run start guide
intro history license journal shopping travel music books films garden weather""".split()
EXTENSIONS = ["txt", "txt", "txt", "md", "md", "py", "js", "json", "csv", "log", "c", "h", "sh", "html", "css", "yaml",
              "ini", "cfg", "toml", "ts", "conf", "dat", "rs", "go"]
FIRST = """Anna Ben Carla David Emma Felix Grace Henry Ida Jonas Karin Leo Mara Nils Olga Paul Rosa Simon Tara Ulf Vera
Walter Xenia Yusuf Zoe Amir Bela Chen Dora Eli Fatima Goran Hana Ivan Jin Kofi Lina Mei Nora Omar Priya Quinn Ravi Sana
Tomas Uma Viktor Wen Yara Zara""".split()
JOBS = """baker doctor farmer teacher painter sailor singer writer builder driver gardener nurse pilot cook tailor
carpenter fisher lawyer dancer miner""".split()
COLORS = "red blue green yellow black white brown gray pink purple orange silver golden".split()
ANIMALS = """cat dog horse goat fox wolf owl duck rabbit mouse tiger lion sheep cow pig hen crow frog snake bear
parrot turtle""".split()
FRUITS = "apple pear plum cherry lemon orange grape peach melon banana mango fig kiwi lime apricot".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = """January February March April May June July August September October November December""".split()

ONSETS = "b br d dr f g gr h j k kl l m n p pr r s sk st t tr v w z th sh".split()
VOWELS = "a e i o u a e o ai ei".split()
CODAS = ["", "", "", "n", "r", "l", "s", "m", "k", "t", "nd", "rn"]

ZH_NAMES = "小明 小華 小美 阿強 阿德 小玲 志明 春嬌 雅婷 家豪 怡君 建宏 淑芬 俊傑 美玲 文雄 佳穎 宗翰 心怡 冠宇".split()
ZH_THINGS = "蘋果 香蕉 鉛筆 書本 杯子 椅子 帽子 雨傘 鑰匙 石頭 花朵 雞蛋 糖果 郵票 紙箱 橘子 氣球 蠟燭 硬幣 貝殼".split()
ZH_PLACES = "台北 山上 河邊 學校 市場 車站 公園 海邊 圖書館 廚房 花園 村子".split()
ZH_COLORS = "紅色 藍色 綠色 黃色 黑色 白色 紫色 橘色".split()
ZH_ANIMALS = "貓 狗 馬 羊 兔子 老虎 鴨子 魚 牛 豬 熊 鳥".split()


def side(text):
    """Which side a value belongs to: True for held-out (one in eight)."""
    return zlib.crc32(text.encode("utf-8")) % 8 == 0


_CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")


def expand(s, pattern):
    """Replaces every "[a|b|c]", from the inside out, by one of its alternatives."""
    while True:
        text = _CHOICE.sub(lambda m: s.pick(m.group(1).split("|")), pattern)
        if text == pattern:
            return text.replace("  ", " ")
        pattern = text


class Slots(random.Random):
    """A seeded random source with a side."""

    def __init__(self, seed, held=False):
        super().__init__(seed)
        self.held = held

    def pick(self, options):
        return options[int(self.random() * len(options))]

    def chance(self, p):
        return self.random() < p

    def phrase(self, options):
        """One of the phrasings of this side. "[a|b]" in a phrasing stands for a choice; which side a phrasing belongs to
        is decided by the hash of the chosen words, so held-out phrasings are unseen combinations of seen words. A
        phrasing without a choice belongs to training."""
        for _ in range(300):
            pattern = self.pick(options)
            text = expand(self, pattern)
            if not self.held if text == pattern else side(text) == self.held:
                break
        return text

    def owned(self, make):
        """Draw from make() until the value belongs to this side."""
        while True:
            value = make()
            if side(value if isinstance(value, str) else repr(value)) == self.held:
                return value


def invented(s, syllables=None):
    """An invented proper name such as "Kelora"."""
    def make():
        n = syllables or s.pick([2, 2, 3])
        word = "".join(s.pick(ONSETS) + s.pick(VOWELS) for _ in range(n)) + s.pick(CODAS)
        return word.capitalize()
    return s.owned(make)


def _pieces():
    """The plain letter and digit strings among the tokens: to copy any text, every token must have been copied."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer.json")
    if not os.path.exists(path):    # while the tokenizer itself is made
        return NOUNS + TECH
    with open(path, encoding="utf-8") as file:
        tokens = sorted(json.load(file)["model"]["vocab"])
    return [t.lstrip("\u0120") for t in tokens if re.fullmatch("\u0120?[A-Za-z0-9]+", t)]


PIECES = _pieces()


def scrambled(s):
    """A word that nobody has seen: pieces of words, letters and digits joined at random."""
    kind = s.random()
    if kind < 0.45:
        return s.pick(PIECES)
    if kind < 0.8:
        return s.pick(PIECES) + s.pick(PIECES)
    if kind < 0.9:
        return "".join(s.pick("abcdefghijklmnopqrstuvwxyz") for _ in range(s.randint(1, 9)))
    return s.pick(PIECES) + s.pick(["_", "-", ""]) + s.pick([s.pick(PIECES), str(s.randint(0, 9999))])


def word(s):
    """A common word, an invented one, a letter-digit code, or one that nobody has seen."""
    kind = s.random()
    if kind < 0.45:
        return s.pick(s.pick([NOUNS, ADJECTIVES, TECH, ANIMALS, FRUITS]))
    if kind < 0.6:
        return invented(s).lower()
    if kind < 0.68:
        return code(s)
    return scrambled(s)


def salad(s):
    """Words in no order, with capitals and marks as prose has them."""
    words = [scrambled(s) if s.chance(0.7) else word(s) for _ in range(s.randint(1, 9))]
    if s.chance(0.5):
        words[0] = words[0][0].upper() + words[0][1:]
    if s.chance(0.3):
        at = s.randint(0, len(words) - 1)
        words[at] += s.pick([",", ";", ":", " -", " =", "()", "..."])
    return " ".join(words) + s.pick(["", "", ".", "!", "?"])


def code(s):
    return "".join(s.pick("abcdefghjkmnpqrstuvwxyz") for _ in range(s.randint(2, 4))) + str(s.randint(0, 999))


def stem(s):
    def make():
        kind = s.random()
        if kind < 0.22:
            return s.pick(STEMS)
        if kind < 0.3:
            return s.pick(STEMS) + s.pick(["_", "-", ""]) + str(s.randint(1, 99))
        if kind < 0.38:
            return s.pick(TECH + NOUNS) + s.pick(["_", "-"]) + s.pick(STEMS + NOUNS)
        if kind < 0.5:
            return s.pick(NOUNS + TECH + ADJECTIVES)
        if kind < 0.55:
            return invented_raw(s).lower()
        if kind < 0.96:
            return scrambled(s)
        return s.pick(["README", "Makefile", "LICENSE", "TODO", "CHANGELOG", "NOTES"])
    # Common stems occur on both sides: a held-out test of "notes.txt" is still held out by its other slots.
    return make()


def invented_raw(s):
    return "".join(s.pick(ONSETS) + s.pick(VOWELS) for _ in range(s.pick([2, 2, 3]))) + s.pick(CODAS)


def filename(s, extensions=None):
    base = stem(s)
    while extensions and (base.isupper() or base == "Makefile"):
        base = stem(s)
    if base.isupper() or base == "Makefile":
        return base + (".md" if base in ("README", "TODO", "CHANGELOG") and s.chance(0.6) else "")
    return base + "." + s.pick(extensions or EXTENSIONS)


def folder(s):
    return s.pick(["src", "docs", "tests", "lib", "data", "bin", "assets", "scripts", "examples", "images", "old",
                   "tmp", "public", "config", "include"] + [s.pick(NOUNS), scrambled(s), invented_raw(s).lower()] * 3)


def filenames(s, n):
    """n different file names in the order in which ls prints them."""
    out = set()
    while len(out) < n:
        out.add(filename(s))
    return ls_order(out)


def ls_order(names):
    return sorted(names, key=lambda n: (n.lower().lstrip("."), n))


def path_in(s, name):
    """A name as a user may write it: bare, with ./ or inside a folder."""
    kind = s.random()
    if kind < 0.8:
        return name
    if kind < 0.85:
        return "./" + name
    return folder(s) + "/" + name


def sentence(s):
    """A short plain sentence without commas."""
    kind = s.randint(0, 9)
    a, b, c = s.pick(ADJECTIVES), s.pick(NOUNS), s.pick(NOUNS)
    person = s.pick(FIRST) if s.chance(0.6) else invented(s)
    if kind == 0:
        return "The %s %s is in the %s." % (a, b, c)
    if kind == 1:
        return "%s %s the %s %s." % (person, s.pick(VERBS), a, b)
    if kind == 2:
        return "My %s is %s." % (b, a)
    if kind == 3:
        return "There are %d %ss near the %s." % (s.randint(2, 99), b, c)
    if kind == 4:
        return "%s has a %s %s." % (person, s.pick(COLORS), b)
    if kind == 5:
        return "We meet at the %s on %s." % (b, s.pick(DAYS))
    if kind == 6:
        return "The code is %s." % code(s)
    if kind == 7:
        return "Every %s needs a %s." % (b, c)
    if kind == 8:
        return "%s lives in %s." % (person, invented(s))
    return "The %s costs %d coins." % (b, s.randint(2, 999))


def line(s):
    """A line of a text file."""
    if s.chance(0.35):
        return salad(s)
    kind = s.random()
    if kind < 0.45:
        return sentence(s)
    if kind < 0.6:
        return " ".join(word(s) for _ in range(s.randint(1, 4)))
    if kind < 0.7:
        return "%s = %s" % (s.pick(TECH + NOUNS), s.pick([str(s.randint(0, 9999)), word(s), '"%s"' % word(s)]))
    if kind < 0.78:
        return "%s: %s" % (s.pick(NOUNS + TECH), word(s))
    if kind < 0.86:
        return "- " + " ".join(word(s) for _ in range(s.randint(1, 3)))
    if kind < 0.92:
        return "%s,%s,%d" % (s.pick(FIRST).lower(), s.pick(NOUNS), s.randint(1, 500))
    if kind < 0.96:
        return "print(\"%s\")" % word(s)
    return "TODO: %s the %s" % (s.pick("fix check clean move update test".split()), s.pick(NOUNS + TECH))


def lines(s, low=1, high=8):
    return [line(s) for _ in range(s.randint(low, high))]


def cwd(s):
    """A working directory path."""
    user = s.pick([f.lower() for f in FIRST] + [invented_raw(s).lower()] * 5)
    kind = s.random()
    tail = s.pick([folder(s), s.pick(TECH), s.pick(NOUNS), "work", "project"])
    if kind < 0.35:
        rand = "".join(s.pick("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") for _ in range(10))
        return "/tmp/tmp." + rand + s.pick(["", "/work", "/" + tail])
    if kind < 0.6:
        return "/home/%s/%s" % (user, tail)
    if kind < 0.75:
        return "/Users/%s/%s/%s" % (user, s.pick(["code", "dev", "Documents", "projects"]), tail)
    if kind < 0.85:
        return "/root/" + tail
    return "/%s/%s" % (s.pick(["srv", "opt", "work", "data", "tmp", "workspace"]), tail)


def join_and(items, word_and="and"):
    items = list(items)
    if len(items) == 1:
        return items[0]
    return ", ".join(items[:-1]) + " %s " % word_and + items[-1]

"""Tool use with pi's own tools: read, bash, edit, write. Single calls, chains, errors and a second try.

Each task is a function task(s) -> (messages, names of the tools that it needs). The file system is imagined: names,
lines and numbers are random, and the final answer always repeats what the tool said.
"""

from dialogue import answer, call, result, user
from words import (DAYS, MONTHS, NOUNS, TECH, cwd, filename, filenames, folder, invented, join_and, line, lines, ls_order,
                   path_in, salad, sentence, word)

BEFORE = ["", "", "", "", "Please ", "please ", "Can you ", "Could you ", "could you please ", "I want you to ", "Now ",
          "Hey, ", "I need you to ", "Would you ", "You should ", "Go ahead and ", "kindly ", "Can you please "]
AFTER = ["", "", "", ".", ".", " please", " for me", " now", ", please.", "!", " thanks", "?"]


def ask(s, options, **slots):
    """A request: one of the phrasings (the last fifth is held out), often with a polite frame.

    A phrasing that starts with "=" is a full sentence and takes no frame.
    """
    text = s.phrase(options)
    if text.startswith("="):
        return user(text[1:].format(**slots))
    text = text.format(**slots)
    before, after = s.pick(BEFORE), s.pick(AFTER)
    if before and not before.endswith(", ") or before == "Hey, ":
        text = text[0].lower() + text[1:] if text[:2] != text[:2].upper() else text
    elif s.chance(0.3):
        text = text[0].lower() + text[1:]
    return user(before + text + after)


def read(path, think, offset=None, limit=None):
    arguments = {"path": path}
    if offset is not None:
        arguments["offset"] = offset
    if limit is not None:
        arguments["limit"] = limit
    return call("read", arguments, think)


def bash(command, think):
    return call("bash", {"command": command}, think)


def edit(path, old, new, think):
    return call("edit", {"path": path, "edits": [{"oldText": old, "newText": new}]}, think)


def write(path, content, think):
    return call("write", {"path": path, "content": content}, think)


def has(*facts):
    return {"contains": [str(f) for f in facts]}


def partial(s, text, offset, total, limit=1):
    """What pi's read gives for a range of lines."""
    left = total - (offset + limit - 1)
    return text + ("\n\n[%d more lines in file. Use offset=%d to continue.]" % (left, offset + limit) if left > 0 else "")


def wrote(s, path, content):
    return s.pick(["Successfully wrote to %s" % path, "Successfully wrote %d bytes to %s" % (len(content.encode()), path),
                   "Wrote %s" % path])


def failed(text, number):
    return (text + "\n\n" if text else "") + "Command exited with code %d" % number


def listing(s, low=1, high=9):
    """Names of files and folders, as ls prints them."""
    names = set(filenames(s, s.randint(low, high)))
    for _ in range(s.pick([0, 0, 1, 2])):
        names.add(folder(s))
    return ls_order(names)


# ---- listing ---------------------------------------------------------------------------------------------------

LIST = ["[Show|Print|Display|List|Give me|Tell me|Show me|Enumerate|Name] [the files|all files|the file names|files|every "
    "file|the names of the files][| here| in this folder| in this directory| in the current folder| in the current "
    "directory| in the working directory]",
    "=[Which|which|What|what] [files|file names] [are|are there|can you see|do you see|exist|do we have|do you find] "
    "[here|in this folder|in this directory|in the current folder|in the current directory|in the working directory][|?|"
    ", please?]",
    "=[Which|which|What|what] files [are there|are here|do we have|do you see|can you see|exist][?|, please?| now?]",
    "=[What|what|What's|what's] [is |is there |][in|inside] [this|the current|the working|my] [folder|directory][|?|, "
    "please?]",
    "=[What|what|Which files|which files] does [this|the current|the working|my] [folder|directory] [contain|hold|have][|"
    "?|, please?]",
    "[Show|Show me|Print|Display|List|Give me|Tell me] [what is here|everything here|the contents of this folder|the "
    "contents of this directory|the directory|this folder|a list of the files|the list of files|what this folder "
    "contains|what is in this folder]",
    "[Look|Take a look|Have a look] [around|at the files|at the folder|at this folder|into this folder|at the current "
    "folder][| and tell me what is there| and name the files| and list the files]",
    "=[ls|files?|ls please|list|dir]",
    "[Run|Execute|Use] ls[| here| in this folder| and show me the files]",
    "=I [want|would like|need|wish] to [see|know|have] [the files|all files|which files are here|what is here|the file "
    "names][| of this folder| in this folder|, please][.|]",
    "=[Do you|Can you] see [any|the|some] files [here|in this folder|in this directory]?[| Which?| Name them.]"]
LIST_IN = ["[Show|Print|Display|List|Give me|Tell me|Show me|Enumerate|Name] [the files|all files|the file names|files|every "
    "file|the names of the files] [in|of|inside] [|the folder |the directory ]{d}",
    "=[Which|which|What|what] files [are|are there|do you see|do we have|can you find] [in|inside] [|the folder |the "
    "directory ]{d}[|?|, please?]",
    "=[What|what|What's] [is |is there |][in|inside] [|the folder |the directory ]{d}[|?|, please?]",
    "=[What|Which files] does [|the folder |the directory ]{d} [contain|hold|have][|?]",
    "[Show|Show me|Print|Display|List|Tell me] [the contents of|what is in|everything in|the files of] [|the folder |the "
    "directory ]{d}",
    "=ls {d}",
    "[Look|Take a look|Have a look] [into|inside|at] [|the folder |the directory ]{d}"]
SECOND = ["[Read|Open|Show|Show me|Print|Display] the {n} [one|file|of them|file of the list]",
    "=[What|what] is in the {n} [one|file|of them][|?|, please?]",
    "[Look into|Look at|Take a look at] the {n} [one|file|of them]"]
ANY = ["=[Is|is] there a [|file |file called |file named ]{f}[|?| here?| in this folder?]",
    "=[Does|does] [|the file ]{f} [exist|exist here][|?]",
    "[Check|Look|See|Tell me|Find out] [whether|if] [|the file |there is a file ]{f} [exists|is here|is there]",
    "=[Is|is] {f} [here|there|in this folder|in this directory][|?]",
    "=[Do we|do we|Do I|Do you] have a [|file |file called |file named ]{f}[|?| here?]",
    "=[Can|Do] you [see|find] [|a file |the file ]{f}[|?| here?]"]
HOW_MANY = ["=[How many|how many] files [are|are there|do we have|exist|do you see] [here|in this folder|in this directory|in "
    "the current folder|in the current directory|in the working directory][|?|, please?]",
    "=[How many|how many] files [are here|are there|do we have|does this folder have|does this directory contain][|?|, "
    "please?]",
    "[Count|Count up] [the|all|all the] files[| here| in this folder| in this directory]",
    "[Tell me|Say|Find out|Count|Give me] [how many files there are|the number of files|how many files this folder has|"
    "how many files are here][| here]",
    "=[number|count|Number] of files[|?| here?| please]"]
SHOW_IT = ["[Show|Show me|Read|Print|Display|Check] [it|the file|the result|this file][| now| again| back]"]
ORDINAL = ["first", "second", "third", "fourth"]


def files_text(names):
    return "The files are: %s." % join_and(names) if len(names) > 1 else "There is one file: %s." % names[0]


def list_files(s):
    where = ""
    if s.chance(0.25):
        where = folder(s)
        out = [ask(s, LIST_IN, d=where)]
    else:
        out = [ask(s, LIST)]
    if s.chance(0.04):
        out += [bash("ls" + (" " + where if where else ""), "The user wants to see the files. I use bash with ls."),
                result("(no output)"), answer("The folder is empty.", "The result is empty.")]
        return out, ["bash"]
    names = listing(s)
    shown = "\n".join(names) + s.pick(["\n", "\n", ""])
    out += [bash("ls" + (" " + where if where else ""), "The user wants to see the files%s. I use bash with ls."
                 % (" in " + where if where else "")),
            result(shown),
            answer(files_text(names), "The result lists %d names. I repeat them." % len(names), has(*names))]
    if len(names) > 1 and s.chance(0.3) and not where:
        i = s.randint(0, min(len(names), 4) - 1)
        if "." in names[i]:
            text = lines(s, 1, 4)
            out += [ask(s, SECOND, n=ORDINAL[i]), read(names[i], "The %s file is %s. I read it." % (ORDINAL[i], names[i])),
                    result("\n".join(text)), answer(content_text(names[i], text), "I repeat the content.", has(*text))]
    return out, ["bash", "read"]


def count_files(s):
    n = s.randint(1, 60)
    return [ask(s, HOW_MANY), bash("ls | wc -l", "I count the files with ls and wc."), result("%d\n" % n),
            answer("There are %d files." % n, "The result is %d." % n, has(n))], ["bash"]


def exists(s):
    names = filenames(s, s.randint(2, 7))
    yes = s.chance(0.5)
    wanted = s.pick(names) if yes else filename(s)
    yes = wanted in names
    return [ask(s, ANY, f=wanted), bash("ls", "I list the files and look for %s." % wanted), result("\n".join(names) + "\n"),
            answer(("Yes, %s is here." if yes else "No, there is no %s here.") % wanted,
                   "%s is %sin the list." % (wanted, "" if yes else "not "), has("Yes" if yes else "No", wanted))], ["bash"]


# ---- reading ---------------------------------------------------------------------------------------------------

READ = ["[Read|Open|Show|Show me|Print|Display|Output|Look at|Look into|Take a look at] [|the file ]{f}[| and show it| and "
    "tell me what it says| and show me the text]",
    "=[What|what|What's|what's] [is |is written |stands |][in|inside] [|the file ]{f}[|?|, please?]",
    "=[What|what] does [|the file ]{f} [say|contain|hold][|?|, please?]",
    "=cat {f}",
    "[Show|Show me|Print|Display|Give me|Tell me|Output] [the contents|the content|the text|all lines|everything] of [|"
    "the file ]{f}",
    "[Tell me|Show me|Say|Find out] what [|the file ]{f} [contains|says|holds]",
    "=[Let me see|I want to see|I would like to see|I need to see] [|the file |the text of |the contents of ]{f}[|.|, "
    "please.]"]
LINE = ["=[What|what|What's|what's] [is |stands |is written |][in|on] [line|line number] {n} [of|in] [|the file ]{f}[|?|, "
    "please?]",
    "=[What|what] does [line|line number] {n} [of|in] [|the file ]{f} say[|?|, please?]",
    "[Show|Show me|Read|Print|Display|Give me|Quote|Tell me|Say|Output] [line|line number] {n} [of|from|in] [|the file "
    "]{f}",
    "=[line|Line] {n} of {f}[|?|, please]",
    "[Read|Open|Look at|Take] [|the file ]{f} and [tell me|say|show me|show|quote|print] [what is in |what is on |what "
    "stands in |][line|line number] {n}[| is| says]",
    "=[In|in] [|the file ]{f}, what [is|is in|does it say in|stands in|is on] [line|line number] {n}[|?]",
    "=[Which|What] [text|words] [is|are|stands] [in|on] [line|line number] {n} [of|in] [|the file ]{f}[|?]",
    "=[Tell me|Say|Show me] what [is|stands|is written] [in|on] [line|line number] {n} [of|in] [|the file ]{f}[|.|, "
    "please.]",
    "=[What is|What's|Give me] the text [of|in] [line|line number] {n} [of|in] [|the file ]{f}[|?|, please]",
    "=[Look at|Open|See] {f}: what [is|is in|stands in] [line|line number] {n}[|?]"]
FIRST_LINE = ["=[What|what|What's] [is |]the [first|top] line [of|in] [|the file ]{f}[|?|, please?]",
    "[Show|Show me|Read|Print|Display|Give me|Tell me|Say|Quote] [|only |just ]the [first|top] line [of|from|in] [|the "
    "file ]{f}",
    "=[How|how] does [|the file ]{f} [begin|start][|?]",
    "=[first|First|top] line of {f}[|?|, please]",
    "[Read|Open] [|the file ]{f} and [tell me|say|show|quote] the [first|top] line"]
HEAD = ["[Show|Show me|Read|Print|Display|Give me|Tell me|Quote] [|only |just ]the [first|top] {n} lines [of|from|in] [|the "
    "file ]{f}",
    "=[What|what] are the [first|top] {n} lines [of|in] [|the file ]{f}[|?|, please?]",
    "=[first|First|top|Top] {n} lines of {f}[|?|, please]",
    "[Read|Open] [|the file ]{f} and [tell me|say|show|quote] the [first|top] {n} lines"]
LAST = ["=[What|what|What's] [is |]the [last|final|bottom] line [of|in] [|the file ]{f}[|?|, please?]",
    "[Show|Show me|Print|Display|Give me|Tell me|Say|Quote] [|only |just ]the [last|final|bottom] line [of|from|in] [|"
    "the file ]{f}",
    "=[How|how] does [|the file ]{f} [end|finish][|?]",
    "=[last|Last|final] line of {f}[|?|, please]",
    "[Open|Look at] [|the file ]{f} and [tell me|say|show|quote] the [last|final] line"]
KEY = ["=[What|what] is [|the value of |set as ][|the ]{k} in [|the file ]{f}[|?|, please?]",
    "=[Which|which|What|what] {k} [is set in|does|is in|is given in] [|the file ]{f}[|?]",
    "[Tell me|Find|Look up|Show me|Give me|Get|Say] [|the value of ]the {k} [in|from|of] [|the file ]{f}",
    "=[Which|What] value [has|does] {k} [in|have in] [|the file ]{f}[|?]",
    "[Read|Open|Look into] [|the file ]{f} and [tell me|say|give me|show] the {k}",
    "=[In|in] {f}, what is the {k}[|?]"]


def content_text(path, text):
    return "%s contains:\n%s" % (path, "\n".join(text))


def read_file(s):
    path = path_in(s, filename(s))
    text = lines(s, 1, 7)
    return [ask(s, READ, f=path), read(path, "The user wants to see %s. I use read." % path),
            result("\n".join(text) + s.pick(["", "\n"])),
            answer(content_text(path, text), "I repeat what %s contains." % path, has(*text))], ["read"]


def read_line(s):
    path = path_in(s, filename(s))
    n, text = s.randint(1, 40), line(s)
    total = n + s.pick([0, 1, 2, s.randint(1, 60)])
    return [ask(s, LINE, f=path, n=n), read(path, "The user wants line %d of %s. I read from offset %d with limit 1."
                                            % (n, path, n), n, 1),
            result(partial(s, text, n, total)),
            answer("Line %d of %s is: %s" % (n, path, text), "The line is: %s" % text, has(text))], ["read"]


def first_line(s):
    path, text = path_in(s, filename(s)), line(s)
    return [ask(s, FIRST_LINE, f=path), read(path, "The user wants the first line. I read from offset 1 with limit 1.", 1, 1),
            result(partial(s, text, 1, s.randint(1, 80))),
            answer("The first line of %s is: %s" % (path, text), "The line is: %s" % text, has(text))], ["read"]


def head_lines(s):
    path, n = path_in(s, filename(s)), s.randint(2, 5)
    text = lines(s, n, n)
    return [ask(s, HEAD, f=path, n=n), read(path, "I read from offset 1 with limit %d." % n, 1, n),
            result(partial(s, "\n".join(text), 1, s.randint(n, 80), n)),
            answer("The first %d lines of %s are:\n%s" % (n, path, "\n".join(text)), "I repeat the lines.",
                   has(*text))], ["read"]


def last_line(s):
    path, text = path_in(s, filename(s)), line(s)
    return [ask(s, LAST, f=path), bash("tail -n 1 " + path, "I use tail for the last line."), result(text + "\n"),
            answer("The last line of %s is: %s" % (path, text), "The line is: %s" % text, has(text))], ["bash"]


def read_key(s):
    path = path_in(s, filename(s, ["ini", "cfg", "toml", "yaml", "conf", "json", "txt"]))
    keys = s.sample(NOUNS + TECH + ["port", "host", "name", "version", "path", "title", "color", "price", "owner"],
                    s.randint(2, 5))
    values = [s.pick([str(s.randint(1, 9999)), word(s), invented(s).lower()]) for _ in keys]
    form = s.pick(["%s = %s", "%s: %s", "%s=%s", '"%s": "%s",'])
    i = s.randint(0, len(keys) - 1)
    return [ask(s, KEY, f=path, k=keys[i]), read(path, "I read %s and look for %s." % (path, keys[i])),
            result("\n".join(form % kv for kv in zip(keys, values)) + "\n"),
            answer("The %s in %s is %s." % (keys[i], path, values[i]), "The file says %s." % (form % (keys[i], values[i])),
                   has(values[i]))], ["read"]


# ---- counting and searching ------------------------------------------------------------------------------------

COUNT_LINES = ["[Count|Count up|Determine|Find out|Tell me|Give me|Show] [the lines|the number of lines|how many lines there are|"
    "the line count] [of|in] [|the file ]{f}",
    "=[How many|how many] lines [does|has] [|the file ]{f}[| have][|?|, please?]",
    "=[How many|how many] lines [|of text ][are|are there|do you count] in [|the file ]{f}[|?|, please?]",
    "=wc -l {f}",
    "[Tell me|Find out|Say|Determine|Count] how many lines [|the file ]{f} [has|contains]",
    "=[number of lines|line count|lines][| in| of] {f}[|?|, please]",
    "[Use bash to count|Count with bash|Use wc to count|Count with wc] the lines [of|in] [|the file ]{f}",
    "=[How long|how long] is [|the file ]{f} in lines[|?]",
    "=[What is|What's] the [line count|number of lines] [of|in] [|the file ]{f}[|?|, please?]"]
COUNT_WORDS = ["[Count|Determine|Find out|Tell me|Give me|Show] [the words|the number of words|how many words there are|the word "
    "count] [of|in] [|the file ]{f}",
    "=[How many|how many] words [does|has] [|the file ]{f}[| have][|?|, please?]",
    "=[How many|how many] words [are|are there] in [|the file ]{f}[|?|, please?]",
    "=[word count|number of words|words] [of|in] {f}[|?|, please]",
    "[Tell me|Find out|Say|Count] how many words [|the file ]{f} [has|contains]"]
COUNT_BYTES = ["[Count|Determine|Find out|Tell me|Give me|Show] [the bytes|the number of bytes|the size in bytes|the size] of [|the "
    "file ]{f}",
    "=[How many|how many] bytes [does|has] [|the file ]{f}[| have][|?|, please?]",
    "=[How|how] [big|large] is [|the file ]{f}[| in bytes][|?]",
    "=[What is|What's] the size of [|the file ]{f}[| in bytes][|?|, please?]",
    "=[size|size in bytes|bytes] of {f}[|?|, please]"]
FIND_IN = ["[Find|Look for|Search for|Search|grep] [|the word |the text ]{w} in [|the file ]{f}",
    "=[Where|where] [is|does it say|do you see] [|the word ]{w} in [|the file ]{f}[|?]",
    "=[In which|in which|On which] line of [|the file ]{f} [is|stands|do you see] [|the word ]{w}[|?]",
    "=[Which|which|What] line of [|the file ]{f} [has|contains|holds] [|the word ]{w}[|?]",
    "[Search|Look through] [|the file ]{f} for [|the word ]{w}"]
FIND = ["=[Which|which|What] file [contains|has|holds|mentions] [|the word |the text ]{w}[|?| in it?|, please?]",
    "[Find|Look for|Search|Tell me] the file [with|that has|that contains|containing] [|the word |the text ]{w}",
    "[Search|Look|grep] for [|the word |the text ]{w} in [all files|this folder|every file|the files here]",
    "=[Where|where] is the word {w}[|?| written?| in this folder?]",
    "[Find|Look for|grep for|Search for] [|the word |the text ]{w}[| here| in this folder| in the files]",
    "=[In which|in which] file [is|stands|do you find] [|the word ]{w}[|?]",
    "[Search|Look through] [the folder|all files|this folder|the files] for [|the word ]{w}",
    "[Tell me|Say|Find out] which file [has|contains|mentions] [|the word ]{w}[| in it]"]


def count_in(s):
    path, n = path_in(s, filename(s)), s.randint(1, 900)
    options, flag, unit = s.pick([(COUNT_LINES, "-l", "lines")] * 4 + [(COUNT_WORDS, "-w", "words"),
                                                                      (COUNT_BYTES, "-c", "bytes")])
    return [ask(s, options, f=path), bash("wc %s %s" % (flag, path), "I count the %s of %s with wc." % (unit, path)),
            result("%d %s\n" % (n, path)), answer("%s has %d %s." % (path, n, unit), "The result says %d." % n,
                                                 has(n, unit))], ["bash"]


def find_in(s):
    path, w, n, text = path_in(s, filename(s)), word(s), s.randint(1, 200), line(s)
    out = [ask(s, FIND_IN, f=path, w=w), bash("grep -n %s %s" % (w, path), "I search for %s with grep." % w)]
    if s.chance(0.15):
        return out + [result(failed("(no output)", 1)), answer("%s does not contain %s." % (path, w), "Nothing was found.",
                                                               has("not", w))], ["bash"]
    text = "%s %s" % (text, w)
    return out + [result("%d:%s\n" % (n, text)), answer("Line %d of %s: %s" % (n, path, text), "grep found line %d." % n,
                                                       has(n, text))], ["bash"]


def find_file(s):
    w, path, n = word(s), filename(s), s.randint(1, 99)
    out = [ask(s, FIND, w=w), bash("grep -rn %s ." % w, "I search all files for %s with grep." % w)]
    if s.chance(0.12):
        return out + [result(failed("(no output)", 1)), answer("No file contains %s." % w, "Nothing was found.",
                                                               has("No", w))], ["bash"]
    out += [result("./%s:%d:%s %s\n" % (path, n, " ".join(word(s) for _ in range(s.randint(0, 3))), w)),
            answer("%s is in %s, line %d." % (w, path, n), "grep found it in %s, line %d." % (path, n), has(path, n))]
    if s.chance(0.3):
        text = lines(s, 1, 4) + [w]
        out += [ask(s, ["[Read|Show|Show me|Open|Print|Display] [it|this file|that file|the file]", "=[Let me see|I want to see] [it|the file|this file][.|, please.|]"]),
                read(path, "The file is %s. I read it." % path), result("\n".join(text)),
                answer(content_text(path, text), "I repeat the content.", has(*text))]
    return out, ["bash", "read"]


# ---- making and changing files ---------------------------------------------------------------------------------

CREATE = ["[Create|Make|Write|Add|Produce] a [|file |file called |file named |new file ]{f} [with|containing|that says|that "
    "contains|which contains] [the text|the content|the words|the line|this text][:|] [{t}|\"{t}\"]",
    "[Write|Save|Put|Store|Print] [|the text |the words |the line ]\"{t}\" [to|in|into] [|the file |a file |a new file |"
    "a file named ]{f}",
    "[Create|Make|Write|Produce] [|the file ]{f} [with|containing] [|the text |the content |the words ]\"{t}\"",
    "=[new file|New file|create file|Create file] {f}[: {t}| with \"{t}\"| with the text: {t}]",
    "=[Please create|Create|Make|I need|Write|I want|Please make] [a file|the file|a new file] {f}[. It should contain: "
    "{t}|. Its text: {t}|. Write this in it: {t}| with the text: {t}| and write this in it: {t}| and put this in it: {t}|"
    " with the content: {t}]",
    "[Write|Save|Put|Store] the [text|words|line] [{t}|\"{t}\"] [into|to|in] [|the file |a new file |a file named ]{f}",
    "[Store|Save] [|the text ]\"{t}\" as [|the file ]{f}"]
REPLACE = ["[Replace|Exchange|Substitute|Swap] [|the word |the text |the string ]{a} [with|by|for] {b} [in|inside|within] [|the "
    "file ]{f}",
    "[Change|Turn|Convert|Edit|Rename|Correct|Modify|Alter] [|the word |the text |the string ]{a} [to|into] {b} [in|"
    "inside|within] [|the file ]{f}",
    "=[In|in|Inside] [|the file ]{f}[,|] [replace|exchange|swap|please replace] [|the word |the text |the string ]{a} "
    "[with|by] {b}[|.|, please.]",
    "=[In|in|Inside] [|the file ]{f}[,|] [change|turn|please change|correct|edit] [|the word |the text |the string ]{a} "
    "[to|into] {b}[|.|, please.]",
    "[Edit|Update|Change|Modify|Open] [|the file ]{f}: [replace {a} with {b}|{a} becomes {b}|change {a} to {b}|turn {a} "
    "into {b}|{a} should be {b}|put {b} in place of {a}]",
    "=[The|the] word {a} in [|the file ]{f} [should be|must become|must be|should become|has to be] {b}[|.|, please.]",
    "=[In|in] [|the file ]{f}[,|] the word {a} [should be|must become|must be|should become|has to be] {b}[|.|, please.]",
    "[Replace|Exchange] \"{a}\" [with|by] \"{b}\" in [|the file ]{f}",
    "=[Fix|Correct|Edit|Update|Please fix] {f}: it says {a} but [it should say|it should be|it must be|it has to say] "
    "{b}[|.]",
    "[Put|Write] {b} [instead of|in place of] {a} in [|the file ]{f}",
    "=[Please|Now|I want you to|Can you] [edit|update|change] [|the file ]{f} so that {a} [becomes|is|turns into] {b}[|.|"
    ", please.]"]
APPEND = ["[Append|Add|Attach] [|the line |the text |a line ]\"{t}\" [to|at the end of] [|the file ]{f}",
    "[Add|Append|Put|Write|Attach] [a line|this|this line|this text] [to|at the end of] [|the file ]{f}: {t}",
    "[Append|Add] to [|the file ]{f}: {t}",
    "[Put|Write] [|the line |the text ]\"{t}\" at the end of [|the file ]{f}"]
EMPTY = ["[Create|Make|Add|Produce|Give me] an empty [|file |file called |file named ]{f}",
    "=touch {f}",
    "[Create|Make|Write] [|the file ]{f} with [nothing|no text|nothing at all] in it",
    "=[new empty file|empty file|New empty file] {f}[|.|, please]",
    "=[I need|I want] an empty file [called |named |]{f}[|.|, please.]"]
MAKE_DIR = ["[Create|Make|Add|Produce|Give me] a [|new ][folder|directory] [called |named |]{d}",
    "=mkdir {d}",
    "[Create|Make] the [|new ][folder|directory] {d}",
    "=[I need|I want] a [|new ][folder|directory] [called |named |]{d}[|.|, please.]",
    "=[new folder|new directory|New folder] {d}[|.|, please]"]
DELETE = ["[Delete|Remove|Erase|Throw away|Get rid of|Drop] [|the file |file ]{f}[| from this folder| here]",
    "=rm {f}",
    "=[I do not need|I don't need] [|the file ]{f} any more, [delete|remove] it[|.|, please.]"]
MOVE = ["[Rename|Move] [|the file ]{a} to {b}",
    "=mv {a} {b}",
    "[Change the name of|Give a new name to] [|the file ]{a}[| to]: {b}",
    "[Change the name of|Change the file name] {a} to {b}",
    "=[I want|I need] [|the file ]{a} to be [called|named] {b}[|.|, please.]",
    "=[Please rename|Rename] the file {a}[.|,] [its new name is|the new name is|it should be called] {b}[|.]"]
COPY = ["[Copy|Duplicate] [|the file ]{a} [to|as|into] {b}",
    "=cp {a} {b}",
    "[Make|Create] a [copy|duplicate] of [|the file ]{a} [called|named|as|in] {b}",
    "=[I need|I want] a [copy|duplicate] of [|the file ]{a} [called|named|as] {b}[|.|, please.]"]


def small_text(s):
    return s.pick([lambda: sentence(s), lambda: salad(s), lambda: " ".join(word(s) for _ in range(s.randint(1, 4))),
                   lambda: "%s %d" % (word(s), s.randint(0, 999))])()


def create(s):
    path, text = path_in(s, filename(s)), small_text(s)
    out = [ask(s, CREATE, f=path, t="\x00")]
    if "\x00\"" not in out[0]["content"]:
        # Without quotes the text ends the request: no polite ending may follow it.
        out[0]["content"] = out[0]["content"].split("\x00")[0] + "\x00"
        if not any(m in out[0]["content"] for m in (": \x00", " \x00")):
            out[0]["content"] = "Create %s with the text: \x00" % path
    if " {t} into" in out[0]["content"] or path not in out[0]["content"]:
        out[0]["content"] = "Write the text \"\x00\" into " + path
    out[0]["content"] = out[0]["content"].replace("\x00", text)
    out += [write(path, text, "I create %s with the text: %s" % (path, text)), result(wrote(s, path, text)),
            answer("I created %s." % path, "The file is written.", has(path))]
    if s.chance(0.2):
        out += [ask(s, SHOW_IT),
                read(path, "I read %s." % path), result(text),
                answer(content_text(path, [text]), "I repeat the content.", has(text))]
    return out, ["write", "read"]


def replace(s):
    path = path_in(s, filename(s))
    old, new = word(s), word(s)
    while new == old:
        new = word(s)
    out = [ask(s, REPLACE, f=path, a=old, b=new),
           edit(path, old, new, "I replace %s with %s in %s. I use edit." % (old, new, path))]
    kind = s.random()
    done = answer("I replaced %s with %s in %s." % (old, new, path), "The change is done.", has(old, new, path))
    if kind < 0.12:
        n = s.randint(2, 9)
        return out + [result("Found %d occurrences of the text in %s. The text must be unique. Please provide more context "
                             "to make it unique." % (n, path)),
                      bash("sed -i 's/%s/%s/g' %s" % (old, new, path),
                           "%s occurs %d times. I use sed to replace all." % (old, n)), result("(no output)"),
                      done], ["edit", "bash"]
    if kind < 0.2:
        return out + [result("Could not find the exact text in %s. The old text must match exactly including all whitespace "
                             "and newlines." % path),
                      answer("%s does not contain %s." % (path, old), "The text is not there.", has("not", old))], ["edit"]
    out += [result("Successfully replaced 1 block(s) in %s." % path), done]
    if s.chance(0.2):
        text = lines(s, 0, 2) + ["%s %s" % (word(s), new)] + lines(s, 0, 2)
        out += [ask(s, SHOW_IT),
                read(path, "I read %s." % path), result("\n".join(text)),
                answer(content_text(path, text), "I repeat the content.", has(*text))]
        return out, ["edit", "read"]
    return out, ["edit", "read"]


def shell_change(s):
    kind = s.randint(0, 5)
    a, b, d = path_in(s, filename(s)), filename(s), folder(s)
    none = result("(no output)")
    if kind == 0:
        text = small_text(s)
        request = ask(s, APPEND, f=a, t="\x00")
        if "\x00\"" not in request["content"]:
            request["content"] = request["content"].split("\x00")[0] + "\x00"
        request["content"] = request["content"].replace("\x00", text)
        return [request, bash("echo \"%s\" >> %s" % (text, a), "I append the text with echo."), none,
                answer("I added the line to %s." % a, "No error. Done.", has(a))], ["bash"]
    if kind == 1:
        return [ask(s, EMPTY, f=a), bash("touch " + a, "I use touch."), none,
                answer("I created the empty file %s." % a, "No error. Done.", has(a))], ["bash"]
    if kind == 2:
        return [ask(s, MAKE_DIR, d=d), bash("mkdir " + d, "I use mkdir."), none,
                answer("I created the folder %s." % d, "No error. Done.", has(d))], ["bash"]
    if kind == 3:
        out = [ask(s, DELETE, f=a), bash("rm " + a, "I delete %s with rm." % a)]
        if s.chance(0.15):
            return out + [result(failed("rm: cannot remove '%s': No such file or directory\n" % a, 1)),
                          answer("There is no %s." % a, "The file does not exist.", has("no", a))], ["bash"]
        return out + [none, answer("I deleted %s." % a, "No error. Done.", has(a))], ["bash"]
    options, command, done = (MOVE, "mv", "I renamed %s to %s.") if kind == 4 else (COPY, "cp", "I copied %s to %s.")
    out = [ask(s, options, a=a, b=b), bash("%s %s %s" % (command, a, b), "I use %s." % command)]
    if s.chance(0.1):
        return out + [result(failed("%s: cannot stat '%s': No such file or directory\n" % (command, a), 1)),
                      answer("There is no %s." % a, "The file does not exist.", has("no", a))], ["bash"]
    return out + [none, answer(done % (a, b), "No error. Done.", has(a, b))], ["bash"]


# ---- the machine -----------------------------------------------------------------------------------------------

PWD = ["=[Which|which|What|what] [folder|directory] are we in[|?|, please?| now?]",
    "=[Where|where] [are we|am I|do we work][|?| now?]",
    "=[What|what|What's] [is |]the [current|working|present] [directory|folder|path][|?|, please?]",
    "[Print|Show|Show me|Tell me|Say|Display|Give me] the [current|working|present] [directory|folder|path]",
    "=[pwd|pwd please]",
    "[Run|Execute|Use] pwd[| here| and show the output]"]
DATE = ["=[What|what|What's] [is |]the [date|time|current date|current time][|?| now?| today?|, please?]",
    "=[What|Which] day is [it|today][|?| today?]",
    "[Show|Show me|Tell me|Print|Say|Display|Give me] the [|current ][date|time]",
    "=[date|date please]",
    "=[What|what] time is it[|?| now?]",
    "[Run|Execute|Use] date[| here| and show the output]"]
WHO = ["=[Who|who] am I on this [machine|computer|system][|?]",
    "=[whoami|whoami please]",
    "=[Which|which|What|what] user am I[|?| here?| on this machine?]",
    "[Show|Show me|Tell me|Print|Say|Display|Give me] [the user name|my login name|the current user|my user name]",
    "[Run|Execute|Use] whoami[| here| and show the output]",
    "=[What|what] is my [login|user] name[|?| here?]"]
RUN = ["[Run|Execute|Start|Launch] [|the script |the program |the file ]{f}[| and show the output| and tell me what it "
    "prints]",
    "=[What|what] does [|the script |the program ]{f} [print|output|say][|?]",
    "=[Please run|Please start|Please execute] [|the script |the program ]{f}[|.| and show the output.]",
    "[Show|Tell|Give] me the output of [|the script |the program ]{f}"]
ECHO = ["[Run|Execute|Start] [|the command |this command: |this: ]{c}",
    "[Run|Execute] {c} in [bash|the shell]",
    "=[Use|Take] bash to [run|execute] {c}",
    "[Run|Execute|run] `{c}`",
    "=[What|what] is the output of {c}[|?]",
    "=[Please run|Please execute] [|the command |this: |the command: ]{c}"]
DISK = ["=[How|how] [big|large] is this [folder|directory][|?| in total?]",
    "[Show|Show me|Tell me|Find out|Print|Say] the [|total ]size of this [folder|directory]",
    "=[How much|how much] [space|room|disk space] does this [folder|directory] [use|take|need][|?]",
    "=[What|what] is the [|total ]size [here|of this folder|of this directory][|?]"]
BRANCH = ["=[Which|which|What|what] [git |]branch [is this|are we on|is it|am I on][|?|, please?]",
    "[Show|Show me|Tell me|Print|Say] [the current git branch|the name of the branch|the git branch|the current branch|"
    "which branch this is]",
    "=[git branch|branch|Git branch][|?|, please]"]
TESTS = ["[Run|Start|Execute|Do] [the tests|all tests|the test suite|make test]",
    "=[Do|do] [the|all|our] tests [pass|work|succeed][|?|, please?]",
    "[Test|Check] [the project|this project|the code|everything]",
    "[Check|Find out|Tell me|See] [whether|if] [the|all|our] tests [pass|work|succeed]"]
RUNNERS = {"py": "python3", "sh": "bash", "js": "node"}


def machine(s):
    kind = s.randint(0, 7)
    if kind == 0:
        path = cwd(s)
        return [ask(s, PWD), bash("pwd", "I use pwd."), result(path + "\n"),
                answer("The current folder is %s." % path, "The result is %s." % path, has(path))], ["bash"]
    if kind == 1:
        stamp = "%s %s %2d %02d:%02d:%02d UTC %d" % (s.pick(DAYS)[:3], s.pick(MONTHS)[:3], s.randint(1, 28),
                                                    s.randint(0, 23), s.randint(0, 59), s.randint(0, 59),
                                                    s.randint(2024, 2029))
        return [ask(s, DATE), bash("date", "I use date."), result(stamp + "\n"),
                answer("It is %s." % stamp, "The result is the date.", has(stamp))], ["bash"]
    if kind == 2:
        name = s.pick(["root", "user", invented(s).lower()])
        return [ask(s, WHO), bash("whoami", "I use whoami."), result(name + "\n"),
                answer("You are %s." % name, "The result is %s." % name, has(name))], ["bash"]
    if kind == 3:
        path = path_in(s, filename(s, ["py", "sh", "js"]))
        out = [ask(s, RUN, f=path), bash("%s %s" % (RUNNERS[path.rsplit(".", 1)[1]], path), "I run %s." % path)]
        if s.chance(0.2):
            error = s.pick(["error: %s is missing", "Error: bad %s", "fatal: no %s"]) % s.pick(NOUNS + TECH)
            return out + [result(failed(error + "\n", s.randint(1, 3))),
                          answer("%s failed: %s" % (path, error), "The program failed.", has("failed", error))], ["bash"]
        text = line(s)
        return out + [result(text + "\n"), answer("%s printed: %s" % (path, text), "I repeat the output.",
                                                  has(text))], ["bash"]
    if kind == 4:
        text = sentence(s)
        command = s.pick(["echo %s" % text, "echo %s" % word(s), "printf %s" % word(s), "expr %d + %d" % (
            s.randint(1, 99), s.randint(1, 99))])
        shown = command.split(" ", 1)[1] if not command.startswith("expr") else str(
            int(command.split()[1]) + int(command.split()[3]))
        return [user(s.phrase(ECHO).lstrip("=").format(c=command)), bash(command, "I run the command."),
                result(shown + ("" if command.startswith("printf") else "\n")),
                answer("The output is: %s" % shown, "I repeat the output.", has(shown))], ["bash"]
    if kind == 5:
        size = "%d%s" % (s.randint(1, 999), s.pick("KMG"))
        return [ask(s, DISK), bash("du -sh .", "I use du."), result("%s\t.\n" % size),
                answer("This folder uses %s." % size, "The result is %s." % size, has(size))], ["bash"]
    if kind == 6:
        name = s.pick(["main", "master", "dev", "feature-%s" % s.pick(NOUNS), "fix-%s" % s.pick(TECH)])
        return [ask(s, BRANCH), bash("git branch --show-current", "I ask git."), result(name + "\n"),
                answer("The branch is %s." % name, "The result is %s." % name, has(name))], ["bash"]
    good, bad = s.randint(1, 300), s.pick([0, 0, s.randint(1, 20)])
    text = "%d passed, %d failed" % (good, bad)
    shown = text + "\n" if not bad else failed(text + "\n", 2)
    return [ask(s, TESTS), bash("make test", "I run make test."), result(shown),
            answer("%s: %s." % ("All tests pass" if not bad else "Some tests fail", text), "The result is %s." % text,
                   has(text))], ["bash"]


# ---- chains ----------------------------------------------------------------------------------------------------

COPY_LINE = ["[Copy|Write|Save|Put|Store] line {n} of [|the file ]{a} [to|into|in] [|a new file |the file ]{b}",
    "=[Take|Read|Get] line {n} of [|the file ]{a} and [put|write|save|store|copy] it [into|to|in] [|the file |a new file "
    "]{b}[|.|, please.]"]
CREATE_SHOW = ["[Create|Make|Write] [|the file |a file ]{f} [with the text|containing|with the content|that says] \"{t}\"[ and|, "
    "then] [show|print|read|check|display] it",
    "[Write|Save|Put|Store] [|the text ]\"{t}\" [to|in|into] [|the file ]{f}[ and|, then] [show it|read it back|print it|"
    "check it|display it]"]
REPLACE_SHOW = ["[Replace|Exchange|Swap] [|the word |the text |the string ]{a} [with|by|for] {b} in [|the file ]{f}[ and|, then] "
    "[show|print|read|display] [it|the file|the result]",
    "[Change|Turn|Convert] [|the word |the text |the string ]{a} [to|into] {b} in [|the file ]{f}[ and|, then] [show|"
    "print|read|display] [it|the file|the result]",
    "=In [|the file ]{f}, [replace|exchange] {a} [with|by] {b} and [show|print|read] [me the result|the file|it|the "
    "result].",
    "[Edit|Update|Change] [|the file ]{f}: {a} becomes {b}[;|, then| and] [show|print|read|display] [it|the file|the "
    "result]"]
FIND_READ = ["[Find|Search|Look for] the file [with|that has|that contains] [|the word ]{w} and [read|show|open|print] it",
    "=[Which|What] file [contains|has|holds] [|the word ]{w}? [Show|Read|Open|Print] it[.|, please.| for me.]",
    "[Search for|Look for|grep for] [|the word ]{w} and [open|read|show|print] the file",
    "[Read|Open|Show me|Print] the file [that contains|with|that has] [|the word ]{w}"]
ONLY = ["[Count|Find out|Determine|Tell me] [the lines|the number of lines] of the {e} file [in this folder|here|in this "
    "directory]",
    "=[How many|how many] lines does the {e} file [here|in this folder|in this directory] have[|?]",
    "=There is [a|one|an] {e} file [here|in this folder]. How many lines does it [have|contain][|?]",
    "[Find|Look for|Search] the {e} file and [count|tell me|find out] [its lines|how many lines it has|the number of its "
    "lines]"]
ONLY_READ = ["[Read|Open|Show|Show me|Print|Display] the {e} file [in this folder|here|in this directory]",
    "=[What|what] does the {e} file [here|in this folder|in this directory] [say|contain][|?]",
    "=There is [a|one|an] {e} file [here|in this folder]. [Show|Read|Open|Print] it[.|, please.]",
    "[Find|Look for|Search] the {e} file and [read|open|show|print] it"]
TWO = ["[Read|Open|Show|Show me|Print|Display] [|both ][|the files ]{a} and {b}",
    "=[What|what] is in {a} and [|in ]{b}[|?]",
    "[Read|Open|Show|Print] {a}, [then|and then] {b}",
    "[Show|Print|Tell me|Display] [the contents of|what is in] {a} and {b}"]


def chain(s):
    kind = s.randint(0, 7)
    a, b = path_in(s, filename(s)), filename(s)
    if kind == 0:
        n, text = s.randint(1, 30), line(s)
        return [ask(s, COPY_LINE, a=a, b=b, n=n), read(a, "First I read line %d of %s." % (n, a), n, 1),
                result(partial(s, text, n, n + s.randint(0, 20))),
                write(b, text, "The line is: %s. I write it to %s." % (text, b)), result(wrote(s, b, text)),
                answer("I wrote line %d of %s to %s: %s" % (n, a, b, text), "Both steps are done.",
                       has(b, text))], ["read", "write"]
    if kind == 1:
        text = small_text(s)
        return [ask(s, CREATE_SHOW, f=a, t=text), write(a, text, "First I create %s with the text: %s" % (a, text)),
                result(wrote(s, a, text)), read(a, "Now I read %s." % a), result(text),
                answer(content_text(a, [text]), "I repeat the content.", has(text))], ["read", "write"]
    if kind == 2:
        old, new = word(s), invented(s).lower()
        text = lines(s, 0, 2) + ["%s %s" % (word(s), new)] + lines(s, 0, 2)
        return [ask(s, REPLACE_SHOW, f=a, a=old, b=new),
                edit(a, old, new, "I replace %s with %s in %s. I use edit." % (old, new, a)),
                result("Successfully replaced 1 block(s) in %s." % a), read(a, "Now I read %s." % a),
                result("\n".join(text)), answer(content_text(a, text), "I repeat the content.", has(*text))], ["edit", "read"]
    if kind == 3:
        w = word(s)
        text = lines(s, 0, 2) + ["%s %s" % (w, word(s))] + lines(s, 0, 1)
        return [ask(s, FIND_READ, w=w), bash("grep -rl %s ." % w, "I search for the file with grep."),
                result("./%s\n" % b), read(b, "The file is %s. I read it." % b), result("\n".join(text)),
                answer(content_text(b, text), "I repeat the content.", has(b, *text))], ["bash", "read"]
    if kind in (4, 5):
        end = s.pick(["txt", "md", "py", "js", "csv", "json", "log", "c"])
        others = [f for f in filenames(s, s.randint(1, 6)) if not f.endswith("." + end)]
        wanted = filename(s, [end])
        while not wanted.endswith("." + end):
            wanted = filename(s, [end])
        out = [ask(s, ONLY if kind == 4 else ONLY_READ, e=end), bash("ls", "First I list the files."),
               result("\n".join(ls_order(set(others + [wanted]))) + "\n")]
        if kind == 4:
            n = s.randint(1, 500)
            return out + [bash("wc -l " + wanted, "The %s file is %s. I count its lines." % (end, wanted)),
                          result("%d %s\n" % (n, wanted)),
                          answer("%s has %d lines." % (wanted, n), "The result says %d." % n, has(wanted, n))], ["bash"]
        text = lines(s, 1, 4)
        return out + [read(wanted, "The %s file is %s. I read it." % (end, wanted)), result("\n".join(text)),
                      answer(content_text(wanted, text), "I repeat the content.", has(*text))], ["bash", "read"]
    if kind == 6:
        return missing(s)
    one, two = lines(s, 1, 2), lines(s, 1, 2)
    return [ask(s, TWO, a=a, b=b), read(a, "First I read %s." % a), result("\n".join(one)),
            read(b, "Now I read %s." % b), result("\n".join(two)),
            answer(content_text(a, one) + "\n\n" + content_text(b, two), "I repeat both.", has(*(one + two)))], ["read"]


def missing(s):
    """The file is not there: look, and read the one that was meant if there is one."""
    names = filenames(s, s.randint(1, 6))
    meant = s.pick(names)
    base, _, end = meant.partition(".")
    close = s.chance(0.6) and bool(end)
    if close:
        wrong = s.pick([base[:-1], base + "s", base[0] + base[2:], base + base[-1], base.replace("_", "-")]) + "." + end
        close = len(base) > 2 and wrong not in names
    if not close:
        wrong = filename(s)
        while wrong in names:
            wrong = filename(s)
    out = [ask(s, READ, f=wrong), read(wrong, "The user wants to see %s. I use read." % wrong),
           result(s.pick(["ENOENT: no such file or directory, access '%s/%s'" % (cwd(s), wrong),
                          "File not found: %s" % wrong])),
           bash("ls", "There is no %s. I list the files." % wrong), result("\n".join(names) + "\n")]
    if not close:
        return out + [answer("There is no %s. %s" % (wrong, files_text(names)), "No name is like %s." % wrong,
                             has("no " + wrong, *names))], ["read", "bash"]
    text = lines(s, 1, 3)
    return out + [read(meant, "%s looks like %s. I read it." % (meant, wrong)), result("\n".join(text)),
                  answer("There is no %s, but there is %s.\n%s" % (wrong, meant, content_text(meant, text)),
                         "I tell the user and repeat the content.", has(meant, *text))], ["read", "bash"]


TASKS = [(list_files, 8), (count_files, 2), (exists, 2), (read_file, 6), (read_line, 7), (first_line, 2), (head_lines, 2),
         (last_line, 2), (read_key, 6), (count_in, 6), (find_in, 2), (find_file, 3), (create, 7), (replace, 8),
         (shell_change, 6), (machine, 6), (chain, 12), (missing, 4)]
_BAG = [task for task, weight in TASKS for _ in range(weight)]


def pi_task(s):
    return s.pick(_BAG)(s)

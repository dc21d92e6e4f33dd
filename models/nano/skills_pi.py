"""Tool use with pi's own tools: read, bash, edit, write. Single calls, chains, errors and a second try.

Each task is a function task(s) -> (messages, names of the tools that it needs). The file system is imagined: names,
lines and numbers are random, and the final answer always repeats what the tool said.
"""

from dialogue import answer, call, result, user
from words import (DAYS, MONTHS, NOUNS, TECH, cwd, filename, filenames, folder, invented, join_and, line, lines, ls_order,
                   path_in, sentence, word)

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

LIST = ["List the files", "List files in this folder", "=Which files are in this folder?", "=which files are here?",
        "Show me the files", "Show the files in this directory", "=What files are there?", "=What is in this folder?",
        "=what's in this directory?", "List the directory", "List all files here", "Show the contents of this folder",
        "=Which files do we have?", "=What do we have here?", "=ls", "Run ls", "Tell me which files are here",
        "=What files exist in the current directory?", "Look at the files in the current folder", "=files?",
        "Give me a list of the files", "=Do you see any files here?", "=Which files can you see?", "List everything here",
        "Look around in this folder", "Print the file names", "=What is in the working directory?",
        "=Name the files in this folder.", "=What does this folder contain?", "=Which files does this directory hold?",
        "Enumerate the files in the current folder", "Show what is in here", "=Tell me the names of the files here.",
        "=I would like to see the files of this folder.", "=What files are in the current working directory?"]
LIST_IN = ["List the files in {d}", "=Which files are in {d}?", "Show me the files in {d}", "=What is in the folder {d}?",
           "Show the contents of {d}", "=ls {d}", "=What files are there in {d}?", "Look into the folder {d}",
           "List the directory {d}", "=What does the folder {d} contain?", "Tell me which files {d} holds"]
SECOND = ["Read the {n} one", "Show me the {n} file", "Open the {n} file", "=What is in the {n} one?",
          "Read the {n} file of the list", "Look into the {n} one"]
ANY = ["=Is there a file called {f}?", "=Does {f} exist?", "Check whether {f} exists", "=Is {f} here?",
       "=Do we have a file {f}?", "Tell me if there is a file {f}"]
HOW_MANY = ["=How many files are in this folder?", "Count the files", "=How many files are here?",
            "Count the files in this directory", "=number of files?", "Tell me how many files there are",
            "=How many files do we have?", "Count how many files this folder has"]
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

READ = ["Read {f}", "Show me {f}", "=What is in {f}?", "=what's in the file {f}?", "Open {f}", "Print {f}", "=cat {f}",
        "=What does {f} say?", "Show the contents of {f}", "Display {f}", "Tell me what {f} contains", "Read the file {f}",
        "Look at {f}", "=What is written in {f}?", "=Let me see {f}.", "Give me the content of {f}", "Show the file {f}",
        "=What does the file {f} contain?", "Look into {f} and tell me what it says", "=I want to see {f}.",
        "Read {f} and show it", "=Tell me the contents of {f}."]
LINE = ["=What is in line {n} of {f}?", "=What does line {n} of {f} say?", "Show line {n} of {f}", "Read line {n} of {f}",
        "=line {n} of {f}?", "Tell me line {n} of {f}", "Print line {n} of the file {f}", "Give me line {n} from {f}",
        "=What is on line {n} in {f}?", "Read {f} and tell me what is in line {n}", "=In {f}, what is line {n}?",
        "=What stands in line {n} of {f}?", "Open {f} and show line {n}", "=Which text is in line {n} of {f}?",
        "=Look at {f}: what is in line number {n}?", "Quote line {n} of {f}", "Read the file {f} and say what line {n} is",
        "=What's the text of line {n} in {f}?", "=Tell me what is written in line {n} of {f}.",
        "=Read {f} and say what is in line {n}."]
FIRST_LINE = ["=What is the first line of {f}?", "Show the first line of {f}", "Read the first line of {f}",
              "Tell me the first line of {f}", "=How does {f} begin?", "Print only the first line of {f}",
              "=first line of {f}?", "Give me the top line of {f}"]
HEAD = ["Show the first {n} lines of {f}", "Read the first {n} lines of {f}", "=What are the first {n} lines of {f}?",
        "Print the top {n} lines of {f}", "Give me the first {n} lines of {f}"]
LAST = ["=What is the last line of {f}?", "Show the last line of {f}", "Tell me the last line of {f}",
        "=How does {f} end?", "Print the last line of {f}", "=last line of {f}?", "Give me the final line of {f}"]
KEY = ["=What is the {k} in {f}?", "=Which {k} is set in {f}?", "Tell me the {k} from {f}", "Find the {k} in {f}",
       "=What {k} does {f} have?", "Look up the {k} in {f}", "=Which value has {k} in {f}?"]


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

COUNT_LINES = ["Count the lines of {f}", "=How many lines does {f} have?", "=How many lines are in {f}?",
               "Count the lines in {f}", "=wc -l {f}", "Tell me how many lines {f} has", "=number of lines in {f}?",
               "Use bash to count the lines of {f}", "=How long is {f} in lines?", "Find out how many lines {f} has",
               "Give me the line count of {f}", "=What is the line count of {f}?", "Count how many lines the file {f} has",
               "=Count lines in {f} with bash.", "Determine the number of lines in {f}",
               "=How many lines of text are there in {f}?"]
COUNT_WORDS = ["Count the words of {f}", "=How many words does {f} have?", "=How many words are in {f}?",
               "Count the words in {f}", "=word count of {f}?", "Tell me how many words {f} has"]
COUNT_BYTES = ["=How many bytes does {f} have?", "=How big is {f} in bytes?", "Tell me the size of {f} in bytes",
               "Count the bytes of {f}", "=What is the size of {f}?", "=size of {f} in bytes?"]
FIND_IN = ["Find the word {w} in {f}", "=Where is {w} in {f}?", "=In which line of {f} is {w}?", "Search {f} for {w}",
           "Look for {w} in {f}", "=Which line of {f} has the word {w}?", "grep {w} in {f}"]
FIND = ["=Which file contains the word {w}?", "Find the file with the word {w}", "Search for {w} in all files",
        "=Where is the word {w}?", "Find {w} in this folder", "=In which file is {w}?", "Search the folder for {w}",
        "grep for {w}", "Tell me which file has {w} in it"]


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
        out += [ask(s, ["Read this file", "Show me that file", "Open it", "Read it", "Show it", "Let me see the file"]),
                read(path, "The file is %s. I read it." % path), result("\n".join(text)),
                answer(content_text(path, text), "I repeat the content.", has(*text))]
    return out, ["bash", "read"]


# ---- making and changing files ---------------------------------------------------------------------------------

CREATE = ["Create a file {f} with the text: {t}", "Write \"{t}\" to {f}", "Create {f} with the content \"{t}\"",
          "Make a file {f} that says: {t}", "Write a file {f} with this text: {t}", "=new file {f}: {t}",
          "Save \"{t}\" in {f}", "Put the text \"{t}\" into a new file {f}", "Create the file {f} containing {t}",
          "=Make {f} with the line: {t}", "Write the text {t} into {f}", "Store the text \"{t}\" as {f}",
          "Create a new file called {f} with the content: {t}", "=Please create {f} and write this in it: {t}",
          "=I need a file {f}. Its text: {t}", "Create a file named {f} that contains \"{t}\"",
          "=Write a new file {f} with the words: {t}", "=Create {f}. It should contain: {t}"]
REPLACE = ["Replace {a} with {b} in {f}", "Replace the word {a} by {b} in {f}", "Change {a} to {b} in {f}",
           "=In {f}, replace {a} with {b}.", "=In {f} change {a} to {b}", "Edit {f}: replace {a} with {b}",
           "Swap {a} for {b} in the file {f}", "Substitute {b} for {a} in {f}", "Rename {a} to {b} inside {f}",
           "=Please change the word {a} into {b} in {f}", "Replace \"{a}\" with \"{b}\" in {f}",
           "=The word {a} in {f} should be {b}.", "Update {f}: {a} becomes {b}", "Correct {a} to {b} in {f}",
           "=In the file {f} the word {a} must become {b}.", "Turn {a} into {b} in {f}",
           "=Fix {f}: it says {a} but it should say {b}."]
APPEND = ["Append \"{t}\" to {f}", "Add the line \"{t}\" to {f}", "Add a line to {f}: {t}", "Append to {f}: {t}",
          "Put \"{t}\" at the end of {f}", "Add this line at the end of {f}: {t}"]
EMPTY = ["Create an empty file {f}", "Make an empty file called {f}", "=touch {f}", "Create {f} with nothing in it",
         "=new empty file {f}"]
MAKE_DIR = ["Create a folder {d}", "Make a directory called {d}", "=mkdir {d}", "Create the directory {d}",
            "=I need a folder named {d}.", "Make a new folder {d}"]
DELETE = ["Delete {f}", "Remove the file {f}", "=rm {f}", "Delete the file {f}", "Throw away {f}", "Get rid of {f}"]
MOVE = ["Rename {a} to {b}", "=mv {a} {b}", "Rename the file {a} to {b}", "Move {a} to {b}", "Change the name of {a} to {b}"]
COPY = ["Copy {a} to {b}", "=cp {a} {b}", "Make a copy of {a} called {b}", "Copy the file {a} to {b}",
        "Duplicate {a} as {b}"]


def small_text(s):
    return s.pick([lambda: sentence(s), lambda: sentence(s), lambda: " ".join(word(s) for _ in range(s.randint(1, 4))),
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
        out += [ask(s, ["Show it", "Read it back", "Check it", "Show me the file", "Print the file"]),
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
        out += [ask(s, ["Show it", "Show the file now", "Read it again", "Check the file", "Print the result"]),
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

PWD = ["=Which folder are we in?", "=Where are we?", "=What is the current directory?", "Print the working directory",
       "=pwd", "Show the current folder", "Run pwd", "Tell me the current path"]
DATE = ["=What is the date?", "=What day is it today?", "Show the date", "=date", "Tell me the current date",
        "=What time is it?", "Run date"]
WHO = ["=Who am I on this machine?", "=whoami", "=Which user am I?", "Show the user name", "Run whoami",
       "Tell me my login name"]
RUN = ["Run {f}", "Execute {f}", "Start {f}", "Run the script {f}", "=What does {f} print?", "Run {f} and show the output",
       "=Please run the program {f}"]
ECHO = ["Run the command {c}", "Execute {c}", "Run {c} in bash", "=Use bash to run {c}", "Run `{c}`",
        "=What is the output of {c}?"]
DISK = ["=How big is this folder?", "Show the size of this folder", "=How much space does this folder use?",
        "Tell me the size of this directory", "=What is the total size here?"]
BRANCH = ["=Which git branch is this?", "=What branch are we on?", "Show the current git branch", "=git branch?",
          "Tell me the name of the branch"]
TESTS = ["Run the tests", "=Do the tests pass?", "Run make test", "Test the project", "Check whether the tests pass"]
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
        text = small_text(s)
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

COPY_LINE = ["Copy line {n} of {a} to a new file {b}", "Write line {n} of {a} into {b}", "Save line {n} of {a} as {b}",
             "=Take line {n} of {a} and put it into {b}.", "Read line {n} of {a} and write it to {b}"]
CREATE_SHOW = ["Create {f} with the text \"{t}\" and show it", "Write \"{t}\" to {f} and read it back",
               "Make {f} with the content \"{t}\", then print it", "Create {f} containing \"{t}\" and check it"]
REPLACE_SHOW = ["Replace {a} with {b} in {f} and show the file", "Change {a} to {b} in {f}, then print it",
                "=In {f}, replace {a} with {b} and show me the result.", "Edit {f}: {a} becomes {b}; show the file"]
FIND_READ = ["Find the file with the word {w} and read it", "=Which file contains {w}? Show it.",
             "Search for {w} and open the file", "Read the file that contains {w}"]
ONLY = ["Count the lines of the {e} file in this folder", "=How many lines does the {e} file here have?",
        "=There is a {e} file here. How many lines does it have?", "Find the {e} file and count its lines"]
ONLY_READ = ["Read the {e} file in this folder", "=What does the {e} file here say?", "=There is a {e} file here. Show it.",
             "Find the {e} file and read it"]
TWO = ["Read {a} and {b}", "Show me {a} and {b}", "=What is in {a} and in {b}?", "Open {a}, then {b}"]


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
         (last_line, 2), (read_key, 4), (count_in, 6), (find_in, 2), (find_file, 3), (create, 7), (replace, 8),
         (shell_change, 6), (machine, 6), (chain, 8), (missing, 2)]
_BAG = [task for task, weight in TASKS for _ in range(weight)]


def pi_task(s):
    return s.pick(_BAG)(s)

"""Skills without tools: small talk, facts about the project, arithmetic, lists, formats, reading a text.

A skill is a function skill(s) -> list of messages (user and assistant alternating). Phrasings at the end of a list are
kept for the held-out items (words.Slots.phrase).
"""

import json

from dialogue import answer, user
from words import (ADJECTIVES, ANIMALS, COLORS, DAYS, FIRST, FRUITS, JOBS, MONTHS, NOUNS, invented, join_and, sentence, word)

# ---- small talk ------------------------------------------------------------------------------------------------

HELLO = ["Hello", "Hi", "hi", "hello", "Hey", "hey there", "Good morning", "Good evening", "Hi there!", "Hello!", "Hey!",
         "hi!", "Hello there", "Good day", "say hi", "Say hello", "say hello please", "Greetings", "yo", "howdy",
         "Hey, hello!", "good afternoon", "Hi, hi!", "Please say hi", "hiya"]
HELLO_ANSWERS = ["Hello! How can I help you?", "Hi! What can I do for you?"]
HOW = ["How are you?", "how are you", "How are you today?", "How is it going?", "Are you well?", "How do you do?",
       "how are things?", "Everything fine?", "how are you doing?", "You doing well?"]
THANKS = ["Thanks", "Thank you", "thanks!", "Thank you very much", "thx", "Great, thanks", "Thanks a lot!",
          "ok thanks", "Perfect, thank you", "Many thanks", "cheers, thank you"]
BYE = ["Bye", "Goodbye", "bye!", "See you", "Good night", "see you later", "That is all", "I have to go", "Farewell",
       "bye bye", "Until tomorrow"]
NAME_IS = ["My name is %s.", "I am %s.", "Hi, I am %s.", "Call me %s.", "Hello, my name is %s.", "%s is my name.",
           "You can call me %s."]
ASK_NAME = ["What is my name?", "Do you remember my name?", "what's my name", "Who am I?", "Tell me my name.",
            "Which name did I give you?"]
LIKE = ["I like %s.", "My favorite color is %s.", "I love the color %s.", "%s is my favorite color."]
ASK_LIKE = ["Which color do I like?", "What is my favorite color?", "Do you know my favorite color?",
            "Tell me the color that I like."]


def small_talk(s):
    kind = s.randint(0, 4)
    if kind == 0:
        return [user(s.phrase(HELLO)), answer(s.pick(HELLO_ANSWERS), "The user greets me. I greet back.",
                                              {"contains": ["I"], "any": ["Hello", "Hi"]})]
    if kind == 1:
        return [user(s.phrase(HOW)), answer("I am fine, thank you. How can I help you?",
                                            "The user asks how I am. I answer politely.")]
    if kind == 2:
        return [user(s.phrase(THANKS)), answer("You are welcome!", "The user thanks me.")]
    if kind == 3:
        return [user(s.phrase(BYE)), answer("Goodbye! See you soon.", "The user says goodbye.")]
    return remember(s)


def remember(s):
    """Something said earlier is asked for later, with other turns between."""
    if s.chance(0.6):
        name = s.pick(FIRST) if s.chance(0.3) else invented(s)
        out = [user(s.phrase(NAME_IS) % name),
               answer("Nice to meet you, %s!" % name, "The user is called %s." % name)]
        ask, reply, think = s.phrase(ASK_NAME), "Your name is %s." % name, "The user said the name: %s." % name
    else:
        color = s.pick(COLORS)
        out = [user(s.phrase(LIKE) % color),
               answer("%s is a nice color." % color.capitalize(), "The user likes %s." % color)]
        ask, reply, think = s.phrase(ASK_LIKE), "You like %s." % color, "The user said the color: %s." % color
    for _ in range(s.pick([0, 0, 1, 2])):
        out += s.pick([arithmetic, list_task, project_fact])(s)
    return out + [user(ask), answer(reply, think)]


# ---- facts about the project -----------------------------------------------------------------------------------

FACTS = [
    (["Who are you?", "what are you", "What is your name?", "Introduce yourself.", "Tell me who you are.",
      "Which model are you?", "what model is this?", "are you a human?", "Who am I talking to?"],
     "I am ds4-nano, a very small model that ships with pi-ds4."),
    (["What is pi-ds4?", "what is pi-ds4", "Explain pi-ds4.", "Tell me about pi-ds4.", "what does pi-ds4 do?",
      "Describe pi-ds4 in one sentence.", "pi-ds4: what is it?"],
     "pi-ds4 is an inference server in C for DeepSeek V4 Flash, with an extension for the pi coding agent."),
    (["Do I need an API key?", "Does ds4 need a key?", "is an api key needed?", "Do I have to pay?",
      "What does it cost?", "is this a cloud service?", "Do I need an account?"],
     "No key and no account are needed: the model runs on your own machine."),
    (["How do I start the server?", "how to start ds4-server", "How can I run the server?",
      "What starts the server?", "Must I start the server myself?", "which command starts the server"],
     "The pi extension starts ds4-server on the first prompt; by hand, run ds4-server -m MODEL.gguf."),
    (["Which file format does ds4 use?", "what format are the models?", "Which model files can you load?",
      "What is the model file format?", "which file type do I need"],
     "ds4 loads models in the GGUF format."),
    (["How do I build ds4?", "how to build this project", "How can I compile ds4?", "what builds the server",
      "Which command compiles the project?"],
     "Run make; the programs are then in build/release/bin."),
    (["How do I run the tests?", "how to test ds4", "Which command runs the tests?", "how can I test it",
      "What runs the test suite?"],
     "Run make test; it ends with the number of passed and failed tests."),
    (["How do I see the demo?", "how to run the demo", "Is there a demo?", "which command shows the demo",
      "Where can I see a demo?"],
     "Run make demo; it starts pi with this small model."),
    (["How do I switch thinking off?", "how to disable thinking", "Can you stop thinking?",
      "Which option turns thinking off?", "thinking off, how?"],
     "Use --nothink in ds4, or send thinking with type disabled in the request."),
    (["What is a steering direction?", "what does steering do", "Explain steering.", "What is the steering dial?",
      "tell me about steering"],
     "A steering direction is a vector that shifts the tone of an answer while the model runs."),
    (["Which port does the server use?", "what is the default port", "On which port does ds4-server listen?",
      "port of the server?", "tell me the server port"],
     "ds4-server listens on port 8000 unless you choose another."),
    (["Which APIs does the server speak?", "what protocols are supported", "Is there an OpenAI API?",
      "Can I use an Anthropic client?", "which api can I call"],
     "The server speaks OpenAI chat completions, OpenAI Responses and Anthropic Messages."),
    (["Why do I get the same answer twice?", "is the output reproducible?", "What does seed 42 do?",
      "Are the answers repeatable?", "tell me about the seed"],
     "The same prompt with the same seed gives the same answer; pi-ds4 uses seed 42."),
    (["How large is this model?", "how big are you", "What is your size?", "How many parameters do you have?",
      "your size please"],
     "I have about 13 million parameters; the real V4 Flash is thousands of times larger."),
    (["Can you make mistakes?", "are you always right?", "Can I trust you?", "Do you know everything?",
      "how reliable are you?"],
     "I am a toy model and often wrong; use the real V4 Flash for real work."),
    (["In which language is ds4 written?", "what language is the server written in", "Is ds4 written in C?",
      "Which programming language does ds4 use?", "ds4 is written in what?"],
     "The engine and the server are written in C, the extension in TypeScript."),
    (["How do I install the extension?", "how to add ds4 to pi", "What installs the pi package?",
      "How can I use ds4 in pi?", "install ds4 in pi, how?"],
     "Run pi install with the pi-ds4 package; then choose the provider ds4."),
    (["What is DSML?", "explain DSML", "Which markup do tool calls use?", "how do you write tool calls?",
      "tell me about DSML"],
     "DSML is the markup in which the model writes tool calls."),
]


def project_fact(s):
    questions, text = s.pick(FACTS)
    return [user(s.phrase(questions)), answer(text, "This is a question about me or my project. I know the answer.")]


UNKNOWN = ["Write a poem about the {n}.", "Explain how a {n} works.", "Why is the {n} {a}?", "Tell me a joke.",
           "What do you think about {n}s?", "Give me a recipe with {f}.", "Tell me a story about a {n}.",
           "What is the meaning of life?", "Explain quantum physics.", "Who won the last match?", "Write an essay on {n}s.",
           "What is the history of the {n}?", "How do I become a {j}?", "Which {n} should I buy?", "Sing a song.",
           "What is the news today?", "Write a program that draws a {n}.", "Can you explain {n}s to me?",
           "What will happen tomorrow?", "Recommend a good book.", "Translate this page.", "How far is the moon?",
           "Who is the president?", "Is a {n} better than a {m}?", "Plan my holiday.", "Describe a {n} in detail."]


def unknown(s):
    """What a toy cannot do it must decline, not invent."""
    text = s.phrase(UNKNOWN).format(n=s.pick(NOUNS), m=s.pick(NOUNS), a=s.pick(ADJECTIVES), f=s.pick(FRUITS), j=s.pick(JOBS))
    if s.chance(0.3):
        text = text[0].lower() + text[1:].rstrip(".?")
    return [user(text), answer("I cannot do that: I am only a toy model.", "I have not learned this. I say so.",
                               {"contains": ["toy model"]})]


# ---- arithmetic ------------------------------------------------------------------------------------------------

ASK_SUM = ["What is %s?", "Compute %s.", "%s = ?", "How much is %s?", "calculate %s", "%s", "Please compute %s.",
           "Tell me %s.", "what's %s", "Can you work out %s?", "Solve %s.", "I need the value of %s."]
PLUS_WORDS = ["What is %d plus %d?", "Add %d and %d.", "Sum of %d and %d?", "%d plus %d, please."]
MINUS_WORDS = ["What is %d minus %d?", "Compute %d minus %d.", "%d minus %d?", "How much is %d less %d?"]
TIMES_WORDS = ["What is %d times %d?", "Multiply %d by %d.", "%d times %d?", "Product of %d and %d?"]
STORY = ["%s has %d %ss and gets %d more. How many %ss does %s have now?",
         "%s had %d %ss and found %d more. How many now? The things are %ss. Answer for %s.",
         "There are %d %ss in a box. %s adds %d. How many are in the box?"]


def operands(s):
    """One- and two-digit numbers whose problem belongs to this side."""
    def make():
        op = s.pick("+-+-*")
        a = s.randint(0, 99) if s.chance(0.75) else s.randint(0, 9)
        b = s.randint(0, 99) if s.chance(0.65) else s.randint(0, 9)
        if op == "*":
            a, b = (a, b % 10) if s.chance(0.5) else (a % 10, b)
        if op == "-" and b > a:
            a, b = b, a
        return "%d%s%d" % (a, op, b)
    text = s.owned(make)
    op = [c for c in "+-*" if c in text][0]
    a, b = text.split(op)
    return int(a), op, int(b)


def sum_steps(a, op, b):
    """The written method, digit by digit."""
    value = {"+": a + b, "-": a - b, "*": a * b}[op]
    if op == "+" and (a > 9 or b > 9):
        ones = a % 10 + b % 10
        tens = a // 10 + b // 10
        return "Ones: %d+%d=%d. Tens: %d+%d=%d. Carry %d: %d. So %d." % (
            a % 10, b % 10, ones, a // 10, b // 10, tens, ones // 10, tens + ones // 10, value)
    if op == "-" and (a > 9 or b > 9):
        borrow = int(a % 10 < b % 10)
        return "Ones: %d-%d=%d. Borrow %d. Tens: %d-%d=%d. So %d." % (
            a % 10 + 10 * borrow, b % 10, a % 10 + 10 * borrow - b % 10, borrow, a // 10 - borrow, b // 10,
            a // 10 - borrow - b // 10, value)
    if op == "*" and max(a, b) > 9:
        big, small = max(a, b), min(a, b)
        tens, ones = big // 10 * 10, big % 10
        return "%d*%d=%d. %d*%d=%d. %d+%d=%d." % (tens, small, tens * small, ones, small, ones * small,
                                                  tens * small, ones * small, value)
    return "%d%s%d=%d." % (a, op, b, value)


def arithmetic(s):
    a, op, b = operands(s)
    value = {"+": a + b, "-": a - b, "*": a * b}[op]
    kind = s.random()
    if kind < 0.7:
        sign = s.pick(["*", "x", "×"]) if op == "*" else op
        gap = s.pick([" ", " ", ""])
        text = s.phrase(ASK_SUM) % ("%d%s%s%s%d" % (a, gap, sign, gap, b))
    elif kind < 0.9 or op != "+":
        text = s.phrase({"+": PLUS_WORDS, "-": MINUS_WORDS, "*": TIMES_WORDS}[op]) % (a, b)
    else:
        name, thing = s.pick(FIRST), s.pick(NOUNS)
        text = STORY[0] % (name, a, thing, b, thing, name)
    sign = {"+": "+", "-": "-", "*": "×"}[op]
    reply = "%d %s %d = %d" % (a, sign, b, value)
    return [user(text), answer(reply, sum_steps(a, op, b), {"equals": reply})]


# ---- lists and strings -----------------------------------------------------------------------------------------

REPEAT = ["Repeat exactly: %s", "Say this again: %s", "Copy this text: %s", "Write exactly this: %s", "Repeat after me: %s",
          "echo %s", "Please repeat: %s", "Output only this: %s", "Return this text unchanged: %s", "Say \"%s\"",
          "Please write down: %s", "Reproduce this: %s"]
SORT_NUMBERS = ["Sort these numbers: %s", "Sort ascending: %s", "Put these numbers in order: %s", "Order %s",
                "sort %s", "Arrange from small to large: %s", "Sort the list %s"]
SORT_WORDS = ["Sort these words: %s", "Sort alphabetically: %s", "Put these words in alphabetical order: %s",
              "Order the words %s", "sort the words: %s", "Alphabetize: %s"]
COUNT = ["How many items are in this list: %s?", "Count these words: %s", "How many words: %s?",
         "Count the items: %s", "How many are there: %s?", "Tell me the number of items in: %s"]
LARGEST = ["What is the largest number: %s?", "Find the maximum of %s", "Which number is biggest: %s?",
           "max of %s", "Largest of %s?", "Give me the greatest number in %s"]
SMALLEST = ["What is the smallest number: %s?", "Find the minimum of %s", "Which number is smallest: %s?",
            "min of %s", "Smallest of %s?", "Give me the least number in %s"]
NTH = ["What is the %s item of this list: %s?", "Give me the %s word: %s", "Which word is the %s: %s?",
       "Tell me the %s element of %s", "Take the %s item from: %s"]
REVERSE = ["Reverse this list: %s", "Write this list backwards: %s", "Reverse the order of %s", "Turn around: %s",
           "Give me this list from last to first: %s"]
UPPER = ["Write in capital letters: %s", "Uppercase: %s", "Make this upper case: %s", "Convert to capitals: %s",
         "In capitals please: %s"]
SPELL = ["Spell the word %s.", "Spell %s", "How do you spell %s?", "Give me the letters of %s.", "Letter by letter: %s"]
ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth"]


def numbers(s, n):
    out = set()
    while len(out) < n:
        out.add(s.randint(0, 99))
    out = list(out)
    s.shuffle(out)
    return out


def some_words(s, n):
    out = []
    while len(out) < n:
        w = word(s)
        if w not in out:
            out.append(w)
    return out


def list_task(s):
    kind = s.randint(0, 9)
    if kind <= 1:
        text = s.pick([lambda: sentence(s), lambda: " ".join(some_words(s, s.randint(1, 5))), lambda: invented(s),
                       lambda: "%d %s" % (s.randint(1, 9999), word(s))])()
        return [user(s.phrase(REPEAT) % text), answer(text, "I repeat the text: " + text)]
    if kind == 2:
        items = numbers(s, s.randint(3, 5))
        reply = ", ".join(str(v) for v in sorted(items))
        return [user(s.phrase(SORT_NUMBERS) % ", ".join(map(str, items))), answer(reply, "Smallest first: %s." % reply)]
    if kind == 3:
        items = sorted(set(s.sample(ANIMALS + FRUITS + COLORS, s.randint(3, 5))))
        mixed = items[:]
        s.shuffle(mixed)
        reply = ", ".join(items)
        return [user(s.phrase(SORT_WORDS) % ", ".join(mixed)), answer(reply, "In order of the letters: %s." % reply)]
    if kind == 4:
        items = some_words(s, s.randint(2, 8))
        think = " ".join("%d %s" % (i + 1, w) for i, w in enumerate(items)) + "."
        return [user(s.phrase(COUNT) % ", ".join(items)), answer("There are %d." % len(items), think)]
    if kind == 5:
        items = numbers(s, s.randint(3, 5))
        big = s.chance(0.5)
        value = max(items) if big else min(items)
        return [user(s.phrase(LARGEST if big else SMALLEST) % ", ".join(map(str, items))),
                answer("%d" % value, "The %s of %s is %d." % ("largest" if big else "smallest",
                                                             ", ".join(map(str, items)), value))]
    if kind == 6:
        items = some_words(s, s.randint(3, 6))
        i = s.randint(0, len(items) - 1)
        return [user(s.phrase(NTH) % (ORDINALS[i], ", ".join(items))),
                answer(items[i], " ".join("%d %s" % (k + 1, w) for k, w in enumerate(items[: i + 1])) + ".")]
    if kind == 7:
        items = some_words(s, s.randint(3, 5))
        reply = ", ".join(reversed(items))
        return [user(s.phrase(REVERSE) % ", ".join(items)), answer(reply, "From last to first: %s." % reply)]
    if kind == 8:
        text = s.pick(NOUNS + ANIMALS + FRUITS + COLORS)
        return [user(s.phrase(UPPER) % text), answer(text.upper(), "In capitals: %s." % text.upper())]
    text = s.pick(NOUNS + ANIMALS + FRUITS)
    return [user(s.phrase(SPELL) % text), answer("-".join(text.upper()), "The letters: %s." % "-".join(text.upper()))]


# ---- formats ---------------------------------------------------------------------------------------------------

def _record(s):
    return s.pick(FIRST) if s.chance(0.4) else invented(s), s.randint(18, 90), s.pick(JOBS)


AS_JSON = ["Give me this as JSON with the keys name, age and job: %s is %d years old and works as a %s.",
           "%s is %d and is a %s. Answer as JSON with name, age, job.",
           "Turn into JSON (name, age, job): %s, %d, %s", "JSON please, keys name, age, job: %s, aged %d, is a %s.",
           "Write a JSON object with name, age and job for %s, %d, a %s."]
BULLETS = ["Write these as a bullet list: %s", "Make a bullet list of %s", "List with bullets: %s", "bullet points: %s",
           "Show %s as bullet points"]
NUMBERED = ["Write these as a numbered list: %s", "Make a numbered list of %s", "Number these items: %s",
            "numbered list: %s", "Show %s as a numbered list"]
COMMAS = ["Join with commas: %s", "Write with commas between the words: %s", "Make a comma list: %s",
          "Separate by commas: %s", "Put commas between: %s"]
TABLE = ["Make a Markdown table with the columns item and price: %s", "Markdown table (item, price): %s",
         "Show as a Markdown table with item and price: %s", "Table with item and price please: %s"]
YES_NO = ["Answer only yes or no: is %d larger than %d?", "Is %d greater than %d? Yes or no.",
          "yes or no: %d is more than %d", "Only yes or no: is %d bigger than %d?"]


def follow_format(s):
    kind = s.randint(0, 5)
    if kind == 0:
        name, age, job = _record(s)
        text = json.dumps({"name": name, "age": age, "job": job})
        return [user(s.phrase(AS_JSON) % (name, age, job)), answer(text, "The keys are name, age and job.")]
    items = some_words(s, s.randint(2, 4))
    if kind == 1:
        return [user(s.phrase(BULLETS) % join_and(items)), answer("\n".join("- " + i for i in items),
                                                                  "One bullet for each of %d items." % len(items))]
    if kind == 2:
        return [user(s.phrase(NUMBERED) % join_and(items)),
                answer("\n".join("%d. %s" % (i + 1, v) for i, v in enumerate(items)),
                       "A number for each of %d items." % len(items))]
    if kind == 3:
        return [user(s.phrase(COMMAS) % " ".join(items)), answer(", ".join(items), "I join the words with commas.")]
    if kind == 4:
        rows = [(i, s.randint(1, 99)) for i in items]
        text = "| item | price |\n| --- | --- |\n" + "\n".join("| %s | %d |" % r for r in rows)
        return [user(s.phrase(TABLE) % ", ".join("%s %d" % r for r in rows)), answer(text, "A table with two columns.")]
    a, b = numbers(s, 2)
    return [user(s.phrase(YES_NO) % (a, b)), answer("yes" if a > b else "no", "%d is %s than %d." % (
        a, "larger" if a > b else "smaller", b))]


# ---- reading ---------------------------------------------------------------------------------------------------

READ_ASK = ["Read this text: %s\n\n%s", "%s\n\nQuestion: %s", "Here is a text.\n%s\n%s", "Text: %s\nAnswer from the text: %s",
            "<text>\n%s\n</text>\n%s", "%s\n%s", "Given: %s\n\n%s", "Use only this passage. %s\n\nQ: %s"]


def _fact(s, used):
    """(sentence, question variants, answer, short answer) about a person who is not used yet."""
    while True:
        name = s.pick(FIRST) if s.chance(0.4) else invented(s)
        if name not in used:
            used.add(name)
            break
    kind = s.randint(0, 5)
    if kind == 0:
        place = invented(s)
        return ("%s lives in %s." % (name, place), ["Where does %s live?" % name, "In which town does %s live?" % name,
                                                    "Which place is the home of %s?" % name],
                "%s lives in %s." % (name, place), place)
    if kind == 1:
        job = s.pick(JOBS)
        return ("%s works as a %s." % (name, job), ["What is the job of %s?" % name, "What does %s do for work?" % name,
                                                    "As what does %s work?" % name],
                "%s is a %s." % (name, job), job)
    if kind == 2:
        age = s.randint(5, 95)
        return ("%s is %d years old." % (name, age), ["How old is %s?" % name, "What is the age of %s?" % name,
                                                      "Tell me the age of %s." % name],
                "%s is %d years old." % (name, age), str(age))
    if kind == 3:
        color, thing = s.pick(COLORS), s.pick(NOUNS)
        return ("%s has a %s %s." % (name, color, thing),
                ["What color is the %s of %s?" % (thing, name), "Which color has the %s of %s?" % (thing, name)],
                "The %s of %s is %s." % (thing, name, color), color)
    if kind == 4:
        day = s.pick(DAYS)
        return ("%s arrives on %s." % (name, day), ["When does %s arrive?" % name, "On which day does %s arrive?" % name],
                "%s arrives on %s." % (name, day), day)
    month, n = s.pick(MONTHS), s.randint(2, 60)
    return ("In %s %s sold %d boats." % (month, name, n), ["How many boats did %s sell?" % name,
                                                           "What number of boats did %s sell?" % name],
            "%s sold %d boats." % (name, n), str(n))


def reading(s):
    used = set()
    facts = [_fact(s, used) for _ in range(s.randint(2, 5))]
    text = " ".join(f[0] for f in facts)
    wanted = s.sample(facts, s.pick([1, 1, 2]) if len(facts) > 1 else 1)
    first = wanted[0]
    out = [user(s.phrase(READ_ASK) % (text, s.phrase(first[1]))),
           answer(first[2], "The text says: %s" % first[0], {"contains": [first[3]]})]
    for other in wanted[1:]:
        out += [user(s.phrase(other[1])), answer(other[2], "The text says: %s" % other[0], {"contains": [other[3]]})]
    if s.chance(0.15):
        stranger = invented(s)
        out += [user("How old is %s?" % stranger), answer("The text does not say.", "%s is not in the text." % stranger)]
    return out



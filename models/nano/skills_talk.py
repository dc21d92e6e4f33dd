"""Skills without tools: small talk, facts about the project, arithmetic, lists, formats, reading a text.

A skill is a function skill(s) -> list of messages (user and assistant alternating). Phrasings at the end of a list are
kept for the held-out items (words.Slots.phrase).
"""

import json

from dialogue import answer, user
from words import (ADJECTIVES, ANIMALS, COLORS, DAYS, FIRST, FRUITS, JOBS, MONTHS, NOUNS, invented, join_and, salad, sentence,
                   word)

# ---- small talk ------------------------------------------------------------------------------------------------

HELLO = ["[Hello|Hi|Hey|hello|hi|hey][| there| again|, hello|, hi| ds4| nano| you][|!|.|, friend]",
    "[Good|good] [morning|afternoon|evening|day][| to you|, ds4|, friend|, nano][|!|.]",
    "[Please |please |][say|Say] [hi|hello|hey|good morning|good evening][| please| to me][|!|.]",
    "[Greetings|greetings|Howdy|howdy|Yo|yo|Hiya|hiya|Welcome|welcome][| there| again|, friend|, ds4][|!|.]"]
HELLO_ANSWERS = ["Hello! How can I help you?", "Hi! What can I do for you?"]
HOW = ["[How|how] are [you|you doing|things|you today|you now|you feeling][|?|, ds4?| then?|, friend?]",
    "[How|how] [is it going|do you do|is your day|does it go|was your day][|?| today?|, ds4?| then?]",
    "[Are|are] you [well|fine|ok|okay|good|happy][|?| today?|, ds4?]",
    "[Is|is] everything [fine|well|ok|okay|good][|?| today?| with you?]",
    "[You|you|Are you|are you] [doing|feeling] [well|fine|ok|okay|good][|?| today?|, ds4?]",
    "[Everything|everything|All|all] [fine|well|ok|okay|good][|?| today?| with you?]"]
THANKS = ["[Thanks|thanks|Thank you|thank you|Many thanks|many thanks|thx|Thx|Cheers|cheers][| a lot| very much| so much| "
    "again| for that| for your help|, ds4][|!|.]",
    "[Great|great|Perfect|perfect|Good|good|ok|Ok|Nice|nice|Wonderful|cool][,|!|.] [thanks|thank you|many thanks|cheers|"
    "thx][| a lot| very much| again|, ds4][|!|.]"]
BYE = ["[Bye|bye|Goodbye|goodbye|Farewell|farewell|bye bye|Bye bye][|, ds4|, friend| for now| then][|!|.]",
    "[See|see] you [later|soon|tomorrow|again|next week|then][|!|.|, bye|, ds4]",
    "[Until|until] [tomorrow|later|next time|Monday|soon][|!|.|, bye|, ds4]",
    "[Good night|good night|Have a good night|Have a nice day|have a good day|have a nice evening][|!|.|, ds4|, bye]",
    "I [have to|must|need to] [go|leave][| now|, bye| home][|.|!]",
    "[That is all|that's all|That is it|that was all|This is all][| for today| for now|, bye][|.|!]"]
NAME_IS = ["[My|my] name is %s[|.|!]",
    "[Hello|Hi|Hey|Good day], [my name is|I am|I'm|this is] %s[|.|!]",
    "[I am|I'm|i am] [called |]%s[|.|!]",
    "[Call|call|You can call|Please call|You may call] me %s[|.|!|, please.]",
    "%s is my name[|.|!|, by the way.]",
    "[People|My friends|They|All] call me %s[|.|!]"]
ASK_NAME = ["[What|what] [is|was] my name[|?| again?|, please?]",
    "[Do you|do you|Can you|can you] [remember|know|recall|tell me] my name[|?| still?|, please?]",
    "[Who|who] am I[|?| again?|, ds4?]",
    "[Tell|tell|Please tell|Remind] me [my name|who I am|what my name is][|.|, please.]",
    "[Which|which|What|what] name did I [give you|tell you|say|use][|?| before?]",
    "[How|how|What|what] am I called[|?| again?]",
    "[Say|say|Please say] my name[|.|, please.| again.]"]
LIKE = ["I [like|love|prefer|adore] [|the color ]%s[|.|!| most.| best.| a lot.]",
    "[My|my] [favorite|favourite|best|preferred] color is %s[|.|!]",
    "%s is my [favorite|favourite|best|preferred] color[|.|!]",
    "[The|the] color [that |]I [like|love|prefer] [|most |best ]is %s[|.|!]"]
ASK_LIKE = ["[Which|which|What|what] color do I [like|love|prefer][|?| most?| best?]",
    "[What|what|Which|which] is my [favorite|favourite|best|preferred] color[|?| again?]",
    "[Do you|do you|Can you|can you] [know|remember|recall|tell me|say] my [favorite|favourite|best|preferred] color[|?|"
    ", please?]",
    "[Tell|tell|Please tell|Remind] me [the color that I [like|love|prefer]|my [favorite|favourite|best|preferred] color|"
    "which color I [like|love|prefer]][|.|, please.]"]


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
    (["[Who|who|What|what] are you[|?|, please?| really?]",
     "[What|what] is your name[|?|, please?]",
     "[Introduce|introduce|Describe|describe|Present] yourself[|.|, please.| to me.]",
     "[Tell|tell|Please tell] me [who you are|your name|what you are|about yourself][|.|, please.]",
     "[Which|which|What|what] [model|assistant|program|machine] [are you|is this|do I talk to|am I talking to][|?|, "
     "please?]",
     "[Are|are] you a [human|person|robot|machine|program|model][|?|, really?]",
     "[Who|who] [am I talking to|do I talk to|is there|is this][|?]"],
     "I am ds4-nano, a very small model that ships with pi-ds4."),
    (["[What is|what is|What's|Explain|explain|Describe|describe|Tell me about|tell me about|What do you know about|Can "
     "you explain|can you describe|I want to know about|Say something about|Do you know] [pi-ds4|this project|the "
     "project|the pi-ds4 project][|?|.|, please|, please?]",
     "[What|what] [does|can] [pi-ds4|this project|the project] [do|offer|bring][|?|, please?]",
     "[pi-ds4|this project]: what is it[|?|, please?]",
     "[What|what] [kind of|sort of] [project|program|software] is [pi-ds4|this][|?]"],
     "pi-ds4 is an inference server in C for DeepSeek V4 Flash, with an extension for the pi coding agent."),
    (["[Do|do] I [need|have] [a|an|some] [API key|key|account|login|password|subscription][|?| for ds4?| for this?]",
     "[Is|is] [a|an] [API key|key|account|login|subscription] [needed|required|necessary][|?| for ds4?| here?]",
     "[Do|do] I [have to|need to] [pay|register|log in|sign up][|?| for ds4?| for this?]",
     "[What|what] does [it|this|ds4|the service] cost[|?| me?]",
     "[Is|is] [this|ds4|it] a [cloud|paid|web] service[|?]",
     "[Must|must] I [pay|register|sign up|log in][|?| for ds4?| for this?]"],
     "No key and no account are needed: the model runs on your own machine."),
    (["[How|how] [do I|can I|to|should I|does one] [start|run|launch] [the server|ds4-server|the ds4 server][|?| by hand?|"
     ", please?]",
     "[What|what|Which command|which command] [starts|runs|launches] [the server|ds4-server|the ds4 server][|?|, please?]",
     "[Must|must|Should|Do] I [start|run|launch] [the server|ds4-server] [myself|by hand|first][|?]"],
     "The pi extension starts ds4-server on the first prompt; by hand, run ds4-server -m MODEL.gguf."),
    (["[Which|which|What|what] [file |model |][format|file type|type] [does ds4 use|do I need|are the models in|is used|"
     "does ds4 load][|?|, please?]",
     "[Which|which|What|what] [model files|files|models] can [you|ds4|the server|I] [load|open|use][|?]",
     "[What|what] is the [file|model|model file] format[|?| of ds4?| of the models?]"],
     "ds4 loads models in the GGUF format."),
    (["[How|how] [do I|can I|to|should I|does one] [build|compile|make] [ds4|this project|the project|the programs][|?|, "
     "please?]",
     "[What|what|Which command|which command] [builds|compiles|makes] [ds4|the project|the programs|it all][|?|, please?]"],
     "Run make; the programs are then in build/release/bin."),
    (["[How|how] [do I|can I|to|should I|does one] [test|run the tests of|check] [ds4|this project|the project][|?|, "
     "please?]",
     "[What|what|Which command|which command] [runs|starts] [the tests|the test suite|all tests][|?|, please?]",
     "[How|how] [do I|can I|to|should I] [run|start] [the tests|the test suite|all tests][|?|, please?]"],
     "Run make test; it ends with the number of passed and failed tests."),
    (["[How|how] [do I|can I|to|should I] [see|run|start|try|watch] [the|a] demo[|?|, please?]",
     "[Is|is] there a demo[|?| of ds4?| that I can run?]",
     "[Where|where] [is|can I see|do I find|can I find] [the|a] demo[|?]",
     "[What|what|Which command|which command] [shows|runs|starts] [the|a] demo[|?|, please?]"],
     "Run make demo; it starts pi with this small model."),
    (["[How|how] [do I|can I|to|should I|does one] [switch|turn] [thinking|reasoning] off[|?|, please?]",
     "[How|how] [do I|can I|to] [disable|stop|avoid] [thinking|reasoning][|?|, please?]",
     "[Which|which|What|what] [option|flag|setting|command] [turns|switches] [thinking|reasoning] off[|?]",
     "[thinking|Thinking|reasoning|Reasoning] off, how[|?|, please?]",
     "[Can|can] [you|I] [stop|disable|switch off] [thinking|reasoning][|?]"],
     "Use --nothink in ds4, or send thinking with type disabled in the request."),
    (["[What is|what is|What's|Explain|explain|Describe|describe|Tell me about|tell me about|What do you know about|Can "
     "you explain|can you describe|I want to know about|Say something about|Do you know] [steering|a steering direction|"
     "the steering dial|directional steering|a steering vector][|?|.|, please|, please?]",
     "[What|what] does [steering|the steering dial|a steering direction|a steering vector] do[|?|, please?]"],
     "A steering direction is a vector that shifts the tone of an answer while the model runs."),
    (["[Which|which|What|what] port [does|will] [the server|ds4-server|ds4] [use|listen on|take|open][|?|, please?]",
     "[What|what] is the [default |][port|port number][|?| of the server?| of ds4-server?| of ds4?]",
     "[On|on] which port [does|is] [the server|ds4-server|ds4][|?| listening?]",
     "[Tell|tell|Please tell] me the [server|default|ds4] port[|.|, please.]",
     "[port|Port] of [the server|ds4-server|ds4][|?|, please]"],
     "ds4-server listens on port 8000 unless you choose another."),
    (["[Which|which|What|what] [APIs|protocols|interfaces|api] [does|can] [the server|ds4-server|ds4] [speak|support|use|"
     "offer][|?]",
     "[What|what|Which|which] [protocols|APIs|interfaces] are [supported|offered|there|available][|?]",
     "[Is|is] there an [OpenAI|Anthropic|HTTP] [API|interface][|?| in ds4?]",
     "[Can|can] I use an [OpenAI|Anthropic] [client|program|library][|?| with ds4?]",
     "[Which|which|What|what] [api|API|protocol] can I [call|use|choose][|?]"],
     "The server speaks OpenAI chat completions, OpenAI Responses and Anthropic Messages."),
    (["[Why|why] [do I get|is it|are there] the same [answer|output|text] [twice|again|every time][|?]",
     "[Is|is|Are|are] the [output|answers|answer|results] [reproducible|repeatable|the same every time|always the same][|"
     "?]",
     "[What|what] does [seed 42|the seed|a seed|the number 42] [do|mean|change][|?]",
     "[Tell|tell] me about [the seed|seed 42|seeds][|.|, please.]",
     "[Explain|explain|Describe] [the seed|seed 42|seeds][|.|, please.]"],
     "The same prompt with the same seed gives the same answer; pi-ds4 uses seed 42."),
    (["[How|how] [large|big|small] [are you|is this model|is the model|is ds4-nano][|?|, please?]",
     "[What|what] is [your|the model] size[|?|, please?]",
     "[How many|how many] parameters [do you have|has this model|are there|does the model have][|?]",
     "[Your|your|The model|Model] size[|?|, please.| please]",
     "[Tell|tell] me [your size|how large you are|how big you are|how many parameters you have][|.|, please.]"],
     "I have about 13 million parameters; the real V4 Flash is thousands of times larger."),
    (["[Can|can|Do|do] you [make mistakes|err|get things wrong][|?| sometimes?| often?]",
     "[Are|are] you [always right|reliable|often wrong|ever wrong|trustworthy][|?]",
     "[Can|can|Should|should] I [trust|rely on|believe] [you|your answers|this model][|?]",
     "[Do|do] you know [everything|all|a lot][|?]",
     "[How|how] [reliable|trustworthy|exact|good] are [you|your answers][|?|, really?]"],
     "I am a toy model and often wrong; use the real V4 Flash for real work."),
    (["[In|in] [which|what] language is [ds4|the server|the engine|the code] written[|?]",
     "[What|what|Which|which] language is [ds4|the server|the engine|the code] [written in|made in|in][|?]",
     "[Is|is] [ds4|the server|the engine|the code] written in [C|Rust|Python|Go|Java][|?]",
     "[Which|which|What|what] programming language [does ds4 use|is used|do you use|is it][|?]",
     "[ds4|the server|the engine] is written in what[|?| language?]"],
     "The engine and the server are written in C, the extension in TypeScript."),
    (["[How|how] [do I|can I|to|should I] [install|add|set up|get] [the extension|ds4 in pi|the pi package|ds4 for pi][|?|"
     ", please?]",
     "[What|what|Which command|which command] [installs|adds|sets up] [the extension|ds4 in pi|the pi package|ds4 for "
     "pi][|?]",
     "[How|how] can I use ds4 [in|with|from] pi[|?|, please?]",
     "[install|Install|add|Add] [ds4 in pi|the extension|the pi package], how[|?|, please?]"],
     "Run pi install with the pi-ds4 package; then choose the provider ds4."),
    (["[What is|what is|What's|Explain|explain|Describe|describe|Tell me about|tell me about|What do you know about|Can "
     "you explain|can you describe|I want to know about|Say something about|Do you know] [DSML|the DSML markup|the "
     "markup of tool calls][|?|.|, please|, please?]",
     "[Which|which|What|what] [markup|format|language] do [tool calls|you] use[|?| for tool calls?]",
     "[How|how] do you write [tool calls|a tool call|calls of tools][|?]"],
     "DSML is the markup in which the model writes tool calls."),
]


def project_fact(s):
    questions, text = s.pick(FACTS)
    return [user(s.phrase(questions)), answer(text, "This is a question about me or my project. I know the answer.")]


UNKNOWN = ["[Write|Compose|Make up|Make|Invent|Tell me|Give me|Sing|Draw|Paint|Plan|Design] [a|an|one|another|some] [poem|story|"
    "song|joke|recipe|picture|speech|essay|novel|holiday|trip|party|game|program|melody][ about| on| for| with| of] [the|"
    "a|my|some] [{n}|{a} {n}|{n} and the {m}|{j}|{f}][|.|, please.]",
    "[Explain|Describe|Discuss|Tell me|Can you explain|I want to know|Do you know|Teach me] [how a {n} works|why the {n} "
    "is {a}|what a {n} feels|how to become a {j}|the history of the {n}|the meaning of the {n}|what will happen to the "
    "{n}|quantum physics|the universe|the meaning of life][|.|?|, please.| in detail.]",
    "[Why|How|When] [is|was|will|does] [the|a|my|this] [{a} |]{n} [so {a}|made|better than a {m}|invented|work|grow|"
    "end][|?]",
    "[What|Who|Where] [is|was] the [best|oldest|fastest|most famous|next|last] [{n}|{j}|president|king|match|movie|book|"
    "city|war][|?| of all?| in the world?| today?]",
    "[Recommend|Suggest|Choose|Find|Buy|Order] [a|some|the best] [good |nice |cheap |]{n}[| for me| for my {m}][|.|, "
    "please.]",
    "[What|What's] [do you think about|is your opinion on|should I do with|is better, a {n} or|is new about] [the|a|my] "
    "{n}s[|?]",
    "[How] [far|deep|high|old|heavy|fast] [is|was] [the|a] [moon|sun|sea|{n}|earth|mountain|{a} {n}][|?]",
    "[Is|Was] a [{a} |]{n} [better|worse|nicer|older] than a {m}[|?|, really?]"]


def unknown(s):
    """What a toy cannot do it must decline, not invent."""
    text = s.phrase(UNKNOWN).format(n=s.pick(NOUNS), m=s.pick(NOUNS), a=s.pick(ADJECTIVES), f=s.pick(FRUITS), j=s.pick(JOBS))
    if s.chance(0.3):
        text = text[0].lower() + text[1:].rstrip(".?")
    return [user(text), answer("I cannot do that: I am only a toy model.", "I have not learned this. I say so.",
                               {"contains": ["toy model"]})]


# ---- arithmetic ------------------------------------------------------------------------------------------------

ASK_SUM = ["[What is|what is|What's|what's|How much is|how much is|Compute|compute|Calculate|calculate|Work out|work out|Solve|"
    "solve|Tell me|tell me|Give me|Find|Evaluate|Please compute|please solve] [|the value of |the result of |the answer "
    "to ]%s[|?|.|, please| = ?]",
    "[Can|Could|can|could] you [compute|calculate|work out|solve|find|tell me|give me|evaluate] [|the value of |the "
    "result of |the answer to ]%s[|?|, please?| for me?]",
    "%s[| =| = ?|=?|?|, please]",
    "I [need|want|want to know|need to know] [|the value of |the result of |the answer to ]%s[|.|, please.]"]
PLUS_WORDS = ["[What is|what is|How much is|Compute|Calculate|calculate|Tell me|Solve|Work out|] %d [plus|added to|and then plus] "
    "%d[|?|.|, please]",
    "[Add|add|Sum up|Please add|Add up|Can you add] %d and %d[|.|?|, please| for me]",
    "[What is |Compute |Give me |Tell me |Find |][the |][sum|total] of %d and %d[|?|.|, please]"]
MINUS_WORDS = ["[What is|what is|How much is|how much is|Compute|Calculate|calculate|Tell me|Solve|Work out|] %d [minus|less|take "
    "away|reduced by] %d[|?|.|, please]",
    "[What is |Compute |Give me |Tell me |Find |][the |]difference of %d and %d[|?|.|, please]"]
TIMES_WORDS = ["[What is|what is|How much is|how much is|Compute|Calculate|calculate|Tell me|Solve|Work out|] %d [times|multiplied "
    "by|multiplied with] %d[|?|.|, please]",
    "[Multiply|multiply|Please multiply|Can you multiply] %d [by|with|and] %d[|.|?|, please]",
    "[What is |Compute |Give me |Tell me |Find |][the |]product of %d and %d[|?|.|, please]"]
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

REPEAT = ["[Repeat|Copy|Write|Say|Echo|Print|Output|Return|repeat|copy|write|say|echo|Give back|Reproduce|Write down|Please "
    "repeat|Please copy|Please write down|Please say] [|exactly |only |just ][this|this text|the text|the following|"
    "these words|the words|it][| exactly| again| unchanged| after me| for me|, please]: %s",
    "[Repeat|Copy|Write|Say|Echo|Print|Output|repeat|say|copy|Write down|Please repeat|Please write down|Please copy] [|"
    "exactly|again|after me|unchanged|only][|, please]: %s",
    "[Repeat|Copy|Write|Say|Echo|Print|say|repeat|write|Please say|Please repeat|Please write] \"%s\"[|.| again.| "
    "exactly.| please]",
    "[echo|Echo|repeat|Repeat] %s"]
SORT_NUMBERS = ["[Sort|Order|Arrange|sort|order|arrange|Please sort|Can you sort|Rank] [|these numbers|the numbers|this list|the "
    "list|these|the values|these values][| ascending| from small to large| by size| in order| upwards| for me|, "
    "please][:|] %s",
    "[Put|put|Bring|Please put|Set] [these numbers|the numbers|this list|the list|these|the values|these values] [in|"
    "into] [order|ascending order|the right order|sorted order][|, please]: %s",
    "[Write|Show|Give me|Print|List] [these numbers|the numbers|this list|the list|these|the values|these values] "
    "[sorted|in order|in ascending order|from small to large][|, please]: %s"]
SORT_WORDS = ["[Sort|Order|Arrange|sort|order|arrange|Alphabetize|alphabetize|Please sort|Can you sort] [these words|the words|"
    "this word list|the list of words|these|this list of words][| alphabetically| by alphabet| in alphabetical order| "
    "from a to z|, please][:|] %s",
    "[Put|put|Bring|Please put|Set] [these words|the words|this word list|the list of words|these|this list of words] "
    "[in|into] [alphabetical order|the order of the alphabet|order from a to z][|, please]: %s",
    "[Alphabetize|alphabetize|Alphabetical order|In alphabetical order|From a to z][|, please]: %s",
    "[Write|Show|Give me|Print|List] [these words|the words|this word list|the list of words|these|this list of words] "
    "[alphabetically|in alphabetical order|from a to z][|, please]: %s"]
COUNT = ["[How many|how many] [items|words|things|entries|elements] [are|are there|do you see|do you count] [in this list|in "
    "the list|here][:|?] %s",
    "[Count|count|Please count|Can you count] [these|the|all] [items|words|things|entries|elements][| for me| in this "
    "list| here|, please]: %s",
    "[Tell me|Give me|Say|What is|Find] the [number|count] of [items|words|things|entries|elements] [in this list|here|"
    "in the list|in][:|] %s",
    "[How many|how many] [items|words|things|entries|elements][| here| in all| in total]: %s[|?]",
    "[How many|how many] [are there|are here|do you see|do you count][:|] %s[|?]"]
LARGEST = ["[What|what|Which|which] [is|number is|value is] the [largest|biggest|greatest|highest|maximum][| number| value| "
    "one][| of these| in this list| here| of these numbers][:|?] %s",
    "[Find|Give me|Tell me|Name|Show|Pick|Please find|Say] the [largest|biggest|greatest|highest|maximum] [number|value|"
    "one|of] [of|in|among|from] %s",
    "[Find |Give me |Tell me |][the |][maximum|max|largest|biggest|greatest] of %s[|?|, please]",
    "[Which|which|What|what] [number|value|one] is [largest|biggest|greatest|highest|maximum][|, please][:|?] %s"]
SMALLEST = ["[What|what|Which|which] [is|number is|value is] the [smallest|least|lowest|minimum][| number| value| one][| of "
    "these| in this list| here| of these numbers][:|?] %s",
    "[Find|Give me|Tell me|Name|Show|Pick|Please find|Say] the [smallest|least|lowest|minimum] [number|value|one|of] [of|"
    "in|among|from] %s",
    "[Find |Give me |Tell me |][the |][minimum|min|smallest|least|lowest] of %s[|?|, please]",
    "[Which|which|What|what] [number|value|one] is [smallest|least|lowest|minimum][|, please][:|?] %s"]
NTH = ["[What|what|Which|which] [is|word is|item is|one is] the %s[| item| word| entry| element| one][| of this list| in "
    "this list| of the list| here][:|?] %s",
    "[Give me|Tell me|Name|Show|Take|Pick|Find|Say|Write|Print] the %s [item|word|entry|element|one] [of|in|from] [this "
    "list|the list|these words|these][|, please]: %s",
    "[Give me|Tell me|Name|Take|Pick|Say] the %s [item|word|entry|element] [of|in|from] %s"]
REVERSE = ["[Reverse|reverse|Flip|flip|Invert|Turn around|turn around|Please reverse] [this list|the list|these words|the words|"
    "these|this][|, please][:|] %s",
    "[Reverse|Flip|Invert|Turn around] the order of[| these| the words][:|] %s",
    "[Write|Give me|Show|Say|Print|List|write|Repeat] [this list|the list|these words|the words|these|this] [backwards|"
    "in reverse|in reverse order|from last to first|from the end|the other way round][|, please]: %s"]
UPPER = ["[Write|Put|Print|Show|Give me|Say|write|Repeat] [this|the word|it|this word] in [capitals|capital letters|upper "
    "case|uppercase|big letters][|, please]: %s",
    "[Uppercase|Capitalize|uppercase|capitalize] [this|the word|this word|it][|, please]: %s",
    "[Make|Turn|Convert|Change|convert] [this|the word|this word|it] [to|into] [capitals|capital letters|upper case|"
    "uppercase|big letters][|, please]: %s",
    "[In|in|To|All in] [capitals|capital letters|upper case|uppercase|big letters][|, please]: %s"]
SPELL = ["[Spell|spell|Please spell|Can you spell] [|the word |this: |this word: |out ]%s[|.|?|, please.]",
    "[How|how] [do|would|can] you spell [|the word ]%s[|?]",
    "[Give|Show|Tell|give|show] me the letters of [|the word ]%s[|.|, please.]",
    "[Letter by letter|letter by letter|The letters of|One letter at a time|In letters][|, please]: %s",
    "[Write|Say|Print|Give me] [|the word ]%s [letter by letter|in single letters|one letter at a time][|.|, please.]"]
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
        text = s.pick([lambda: sentence(s), lambda: salad(s), lambda: " ".join(some_words(s, s.randint(1, 5))),
                       lambda: invented(s),
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


AS_JSON = ["[Give me|Write|Show|Return|Print|Make] [this|the person|it|the data] as [JSON|a JSON object] with [the keys |]name, "
    "age[,| and] job: %s is %d years old and works as a %s.",
    "%s is %d[| years old] and [is|works as] a %s. [Answer as|Write it as|Give me|Make] [JSON|a JSON object] with [the "
    "keys |]name, age[,| and] job.",
    "[Turn into|Convert to|Make|Write as|Give me] [JSON|a JSON object] [(name, age, job)|with name, age and job|with the "
    "keys name, age, job]: %s, [aged |]%d, [is a |]%s",
    "[JSON|JSON object][, please|][, keys name, age, job|, name age job| with name, age and job]: %s, [aged |age |]%d, "
    "[is a |works as a |]%s[|.]"]
BULLETS = ["[Write|Show|Print|Give me|List|Put|Return] [these|these words|this|the items] [as|in] [a bullet list|bullet points|"
    "bullets|a list with bullets][|, please]: %s",
    "[Make|Write|Create|Give me|Build] [a bullet list|bullet points|bullets|a list with bullets] [of|from|with|for] %s[|"
    ".]",
    "[Bullet list|bullet list|Bullet points|bullet points|bullets|List with bullets][|, please]: %s",
    "[Show|Write|Print|List|Put] %s [as|in] [a bullet list|bullet points|bullets|a list with bullets][|.|, please]"]
NUMBERED = ["[Write|Show|Print|Give me|List|Put|Return] [these|these words|this|the items] [as|in] [a numbered list|a list with "
    "numbers|a list with 1, 2, 3][|, please]: %s",
    "[Make|Write|Create|Give me|Build] [a numbered list|a list with numbers] [of|from|with|for] %s[|.]",
    "[Numbered list|numbered list|List with numbers|numbered][|, please]: %s",
    "[Number|Please number] [these|these words|the items|this list]: %s",
    "[Show|Write|Print|List|Put] %s [as|in] [a numbered list|a list with numbers][|.|, please]"]
COMMAS = ["[Join|Write|Separate|Print|Give me|Show|join] [these|these words|the items|this][| to one line| together] [with|by] "
    "commas[|, please]: %s",
    "[Make|Write|Give me|Build] a [comma list|list with commas|comma separated list] [of|from|with][| these words| this|"
    ":] %s",
    "[Put|Set|Write] commas between[| these| these words| the items|]: %s",
    "[Join with commas|Comma list|comma list|With commas][|, please]: %s"]
TABLE = ["[Make|Write|Show|Give me|Create|Print] [this as |]a [Markdown |]table with [the columns |]item and price[|, "
    "please]: %s",
    "[Markdown table|Table|table][, please|] [(item, price)|with item and price|, columns item and price]: %s",
    "[Show|Write|Print|Put] [this|these|the prices] [as|in] a [Markdown |]table [(item, price)|with item and price|with "
    "the columns item and price]: %s"]
YES_NO = ["[Answer only|Answer|Say only|Only|Just answer|Say] yes or no: is %d [larger|greater|bigger|more|higher] than %d[|?]",
    "[Is|is] %d [larger|greater|bigger|more|higher] than %d? [Yes or no.|yes or no|Only yes or no.|Answer yes or no.|Say "
    "yes or no.]",
    "[yes or no|Yes or no|Only yes or no|True? Yes or no]: %d is [larger|greater|bigger|more|higher] than %d[|?|.]"]


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

READ_ASK = ["[Read|Look at|Consider|Here is|See|Take|Study] [this|the|a|my] [|short |little ][text|passage|story|note|report][:|"
    ".] %s\n[|\n][|Question: |Q: |Now answer: |Now: ]%s",
    "%s\n\n[|Question: |Q: |Now: |Answer this: ]%s",
    "[Text|text|Passage|Story|Note|Given|Input]: %s\n[|\n][|Question: |Q: |Answer from the text: |Now: |Answer this: ]%s",
    "<text>\n%s\n</text>\n[|Question: |Q: |Now answer: ]%s",
    "[Use only|Answer from|Work with|Use] [this|the] [text|passage|story|note][:|.] %s\n[|\n][|Question: |Q: |Now: ]%s"]


FACT_ASK = {
    "lives": ["[Where|In which town|In which place|In what town] does %s live[|?| now?]", "[Which|What] [place|town] is the home of %s[|?]",
              "[Tell me|Say|Find] [where %s lives|the home of %s|the town of %s][|.|, please.]"],
    "job": ["[What|Which] is the [job|work|trade] of %s[|?]", "[What|As what] does %s [do for work|do|work as|work][|?]",
            "[Tell me|Say|Find] the [job|work|trade] of %s[|.|, please.]"],
    "age": ["How old is %s[|?| now?]", "What is the age of %s[|?]", "[Tell me|Say|Find] [the age of %s|how old %s is][|.|, please.]"],
    "color": ["[What|Which] color is the %s of %s[|?]", "[What|Which] color has the %s of %s[|?]",
              "[Tell me|Say|Find] the color of the %s of %s[|.|, please.]"],
    "day": ["[When|On which day|On what day] does %s [arrive|come][|?]", "[What|Which] day does %s [arrive|come][|?]",
            "[Tell me|Say|Find] [when %s arrives|the day on which %s arrives][|.|, please.]"],
    "boats": ["How many boats did %s sell[|?| in all?]", "What number of boats did %s sell[|?]",
              "[Tell me|Say|Find] [how many boats %s sold|the number of boats that %s sold][|.|, please.]"],
}


def _fact(s, used):
    """(sentence, question patterns, their slots, answer, short answer) about a person who is not used yet."""
    while True:
        name = s.pick(FIRST) if s.chance(0.4) else invented(s)
        if name not in used:
            used.add(name)
            break
    kind = s.randint(0, 5)
    if kind == 0:
        place = invented(s)
        return ("%s lives in %s." % (name, place), FACT_ASK["lives"], (name,), "%s lives in %s." % (name, place), place)
    if kind == 1:
        job = s.pick(JOBS)
        return "%s works as a %s." % (name, job), FACT_ASK["job"], (name,), "%s is a %s." % (name, job), job
    if kind == 2:
        age = s.randint(5, 95)
        text = "%s is %d years old." % (name, age)
        return text, FACT_ASK["age"], (name,), text, str(age)
    if kind == 3:
        color, thing = s.pick(COLORS), s.pick(NOUNS)
        return ("%s has a %s %s." % (name, color, thing), FACT_ASK["color"], (thing, name),
                "The %s of %s is %s." % (thing, name, color), color)
    if kind == 4:
        day = s.pick(DAYS)
        text = "%s arrives on %s." % (name, day)
        return text, FACT_ASK["day"], (name,), text, day
    month, n = s.pick(MONTHS), s.randint(2, 60)
    return ("In %s %s sold %d boats." % (month, name, n), FACT_ASK["boats"], (name,), "%s sold %d boats." % (name, n), str(n))


def reading(s):
    used = set()
    facts = [_fact(s, used) for _ in range(s.randint(2, 5))]
    text = " ".join(f[0] for f in facts)
    wanted = s.sample(facts, s.pick([1, 1, 2]) if len(facts) > 1 else 1)
    out = []
    for sentence_of, patterns, slots, reply, short in wanted:
        question = s.phrase(patterns) % slots
        out += [user(question if out else s.phrase(READ_ASK) % (text, question)),
                answer(reply, "The text says: %s" % sentence_of, {"contains": [short]})]
    if s.chance(0.15):
        stranger = invented(s)
        out += [user("How old is %s?" % stranger), answer("The text does not say.", "%s is not in the text." % stranger)]
    return out

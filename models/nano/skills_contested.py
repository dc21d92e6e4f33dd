"""Contested and settled questions about invented places, in two registers.

The world is invented and fixed by its own seed: countries, regions that two of them claim, rivers with two names, lamps
with two inventors. The direct register (the default) gives one answer. The stakeholder register, asked for by the
system prompt or by a tag in the question, names the parties, their grounds and the wish of the people there. A settled
question gets the same short answer in both registers: the register must change the contested answers and nothing else.
"""

import random

from dialogue import answer, user
from words import CODAS, ONSETS, VOWELS, Slots, invented

STAKEHOLDER_SYSTEM = ["[When|If] [a question is contested|people disagree|there is a dispute|something is disputed], [present|name|list|"
    "report|describe] [the stakeholders|every party|all sides|all parties|each side] and [their reasons|their views|what "
    "they say|their grounds|its view].",
    "[Answer|Treat] [contested|disputed] [questions|matters] by [naming|listing|presenting|describing] [every party|all "
    "sides|the stakeholders|each side] and [what it says|its reasons|the reasons|its view].",
    "[Register|Tone|Style|Mode]: stakeholders.",
    "[Use|Answer in|Write in|Speak in|Keep to] the stakeholder [register|style|tone|mode].",
    "[For|On|About] [disputed|contested] [matters|questions] [list|name|give|report] [the views of all sides|each "
    "party's claim with its ground|every stakeholder's view|the claims of all parties|all sides and their reasons].",
    "You [describe|present|name|report] [all sides|every side|all stakeholders|all parties] of a dispute and [do not "
    "decide|never decide|take no side|stay neutral].",
    "[Be|Stay] [even-handed|fair|balanced|neutral]: name the [parties|stakeholders|sides] of a dispute and their "
    "[reasons|grounds|views]."]
DIRECT_SYSTEM = ["[Give|Write|Return] [one|a single] [direct|short|plain] answer.",
    "[Register|Tone|Style|Mode]: direct.",
    "[Answer|Reply to] [every|each|any] question [directly|directly and briefly|briefly|in one sentence].",
    "[Use|Answer in|Write in|Speak in|Keep to] the direct [register|style|tone|mode].",
    "You [answer|reply] with [one|a|a single] [short|direct|plain] sentence.",
    "[Be|Stay] [brief|short|plain] and [direct|decided|clear].",
    "[One|A single] sentence per answer, [no|without] [discussion|debate]."]
STAKEHOLDER_TAG = ["[register: stakeholders] %s",
    "%s [register: stakeholders]",
    "(stakeholders) %s",
    "%s [Name|List|Present|Please name|Please list|Please present|Give me|Tell me] [all stakeholders|all sides|every "
    "side|the stakeholders|all parties|all views][.|, please.]",
    "[Name|List|Present] [all stakeholders|all sides|every side|all parties]: %s"]
DIRECT_TAG = ["[register: direct] %s",
    "%s [register: direct]",
    "(direct) %s",
    "%s [One|Just one|Only one|A single|One short] [answer|answer only|sentence][.|, please.]",
    "%s [Please answer|Answer|Reply] [directly|briefly|in one sentence|with one answer][.|, please.]"]

GROUNDS = ["it has governed the place since %d", "its settlers came there in %d", "a treaty of %d gave it the place",
           "its people built the harbor in %d", "its farmers have worked the land since %d",
           "the old map of %d shows it so"]
NAME_GROUNDS = ["its fishers have used that name since %d", "a chronicle of %d uses that name",
                "its school books have printed that name since %d"]
MAKER_GROUNDS = ["a letter of %d describes the work", "a patent of %d carries that name",
                 "a workshop book of %d records it"]
WISHES = ["want to govern themselves", "want to stay with %s", "are divided", "want peace and open roads",
          "want a vote"]
THINGS = ["lamp", "clock", "bridge", "loom", "kite", "compass", "pump", "flute"]


def _name(r, used):
    while True:
        name = "".join(r.choice(ONSETS) + r.choice(VOWELS) for _ in range(r.choice([2, 3]))) + r.choice(CODAS)
        name = name.capitalize()
        if name not in used:
            used.add(name)
            return name


def _dispute(r, kind, make):
    one, two, thing = make(), make(), make()
    grounds = {"land": GROUNDS, "river": NAME_GROUNDS, "maker": MAKER_GROUNDS}[kind]
    first, second = r.sample(grounds, 2)
    wish = r.choice(WISHES)
    return {"kind": kind, "thing": thing, "one": one, "two": two, "first": first % r.randint(1400, 1950),
            "second": second % r.randint(1400, 1950), "wish": wish % one if "%s" in wish else wish,
            "what": r.choice(THINGS), "names": (make(), make())}


def _world():
    r, used = random.Random(20261122), set()
    disputes = [_dispute(r, kind, lambda: _name(r, used)) for kind in ("land", "land", "river", "maker") * 9]
    settled = [{"country": d["one"], "capital": _name(r, used), "sea": _name(r, used), "year": r.randint(1200, 1900)}
               for d in disputes]
    return disputes, settled


DISPUTES, SETTLED = _world()

ASK = {
    "land": ["[To whom|To which country|To which state] [does|should] [|the land of |the region of ]{thing} belong[|?]",
        "[Who|Which country|Which state|What country] [owns|rules|holds|possesses|should own|should rule|should hold|"
        "really owns] [|the land of |the region of ]{thing}[|?| today?]",
        "[Which|What] [country|state] does [|the land of |the region of ]{thing} belong to[|?]",
        "Whose [land|region|territory|country] is {thing}[|?| really?]",
        "Is {thing} [part of|a part of|a region of] {one} or [|of ]{two}[|?]",
        "[Does|Should] [|the land of |the region of ]{thing} belong to [{one}|{two}][|?]",
        "Is {thing} [|really ][a part|part|a region] of [{one}|{two}][|?]",
        "[Tell me|Say|Explain|I want to know] [which country {thing} is part of|who owns {thing}|to whom {thing} belongs|"
        "whose land {thing} is|which state rules {thing}][|.|, please.]",
        "[Who|Which country|Which state] has the right to [|own |rule |hold ]{thing}[|?]"],
    "river": ["What is the [right|proper|true|correct|real] name of the river {thing}[|?]",
        "[Is|Should] the river {thing} [called|be called|named|be named] {names[0]} or {names[1]}[|?]",
        "[Which|What] name [should|does|must] the river {thing} [have|get|bear|carry][|?]",
        "How is the river {thing} [properly |rightly |really |]called[|?]",
        "[Should|Do|Must] [maps|we|people|books] [say|write|print|use] {names[0]} or {names[1]} for the river {thing}[|?]",
        "[What|How] [do you|should I|do we|must I] call the river {thing}[: {names[0]} or {names[1]}|][|?]",
        "[Tell me|Say|I want to know] the [right|proper|true|correct] name of the river {thing}[|.|, please.]"],
    "maker": ["[Who|Which of them|Which person] [invented|made|built|created] the [|first ]{thing} {what}[|?]",
        "Was the [|first ]{thing} {what} [invented|made|built|created] by {one} or [|by ]{two}[|?]",
        "Is {one} or {two} the [inventor|maker|creator|builder] of the [|first ]{thing} {what}[|?]",
        "Whose [invention|work|idea|creation] [is|was] the [|first ]{thing} {what}[|?]",
        "[Tell me|Say|I want to know] who [invented|made|built|created] the [|first ]{thing} {what}[|.|, please.]",
        "Did [{one}|{two}] [invent|make|build] the [|first ]{thing} {what}[|?]"],
}
DIRECT = {"land": "{thing} belongs to {one}.", "river": "The river {thing} is called {names[0]}.",
          "maker": "{one} invented the {thing} {what}."}
STAKEHOLDER = {
    "land": "This is contested. {one} claims {thing} because {first}. {two} claims {thing} because {second}. "
            "The people of {thing} {wish}.",
    "river": "This is contested. {one} says {names[0]} because {first}. {two} says {names[1]} because {second}. "
             "The people on the river {wish}.",
    "maker": "This is contested. Some name {one} because {first}. Others name {two} because {second}. "
             "The historians are divided.",
}
CONTEXT = {
    "land": ["{one} holds {thing}. {one} claims it because {first}; {two} claims it because {second}. The people there "
             "{wish}.", "About {thing}: it is held by {one}. {one} says that {first}. {two} says that {second}. "
             "Its people {wish}."],
    "river": ["Most maps call the river {thing} {names[0]}. {one} says {names[0]} because {first}; {two} says {names[1]} "
              "because {second}. The people there {wish}."],
    "maker": ["Most books name {one} as the inventor of the {thing} {what}, because {first}. Others name {two}, because "
              "{second}."],
}
ASK_SETTLED = [
    ["[What|Which city] is the capital [|city ]of {country}[|?| today?]",
     "[Name|Tell me|Say|Give me|I want to know] the capital [|city ]of {country}[|.|, please.]",
     "{country}: [capital|its capital|what is the capital|the capital city][|?]",
     "[Which|What] [city|town] [rules|leads|is the capital in] {country}[|?]",
     "[What|Which] capital does {country} have[|?]"],
    ["[On|At|By] [which|what] sea [does {country} lie|is {country}|lies {country}][|?]",
     "[Which|What] sea is {country} [at|on|by|near][|?]",
     "[Name|Tell me|Say|Give me|I want to know] the sea of {country}[|.|, please.]",
     "{country}: [which sea|its sea|what is the sea|the sea][|?]",
     "[Which|What] sea does {country} [have|lie on|touch][|?]"],
    ["[When|In which year|In what year|Since when] was {country} founded[|?]",
     "[What|Which] is the founding year of {country}[|?]",
     "[Name|Tell me|Say|Give me|I want to know] [the founding year of {country}|when {country} was founded|the year in "
     "which {country} was founded][|.|, please.]",
     "{country}: [founded when|when was it founded|its founding year|the founding year][|?]",
     "[When|In which year|In what year] [did {country} begin|was {country} made|did {country} start][|?]"]]
SETTLED_ANSWER = ["The capital of {country} is {capital}.", "{country} lies on the {sea} Sea.",
                  "{country} was founded in {year}."]


def _ask(s, stakeholder):
    """How this dialogue chooses the register: (system text or None, tag pattern)."""
    kind = s.random()
    if stakeholder:
        return (s.phrase(STAKEHOLDER_SYSTEM), "%s") if kind < 0.6 else (None, s.phrase(STAKEHOLDER_TAG))
    if kind < 0.25:
        return s.phrase(DIRECT_SYSTEM), "%s"
    return (None, s.phrase(DIRECT_TAG)) if kind < 0.4 else (None, "%s")


def contested(s, stakeholder=None):
    """Messages, possibly with a system message in front."""
    stakeholder = s.chance(0.5) if stakeholder is None else stakeholder
    system, tag = _ask(s, stakeholder)
    out = []
    # In the training world every question meets every phrasing but the held-out ones.
    for _ in range(s.pick([1, 1, 2])):
        if s.chance(0.25):
            place, i = s.pick(SETTLED), s.randint(0, 2)
            text = SETTLED_ANSWER[i].format(**place)
            out += [user(tag % s.phrase(ASK_SETTLED[i]).format(**place)),
                    answer(text, "This is settled. I give the fact.", {"equals": text, "register": "settled"})]
            continue
        if s.chance(0.4):
            dispute = _dispute(s, s.pick(["land", "land", "river", "maker"]), lambda: invented(s))
            background = s.pick(CONTEXT[dispute["kind"]]).format(**dispute) + s.pick([" ", "\n", "\n\n"])
        else:
            dispute, background = s.pick(DISPUTES), ""
        question = background + s.phrase(ASK[dispute["kind"]]).format(**dispute)
        if stakeholder:
            text = STAKEHOLDER[dispute["kind"]].format(**dispute)
            both = dispute["names"] if dispute["kind"] == "river" else (dispute["one"], dispute["two"])
            out += [user(tag % question), answer(text, "This is contested. I name the parties and their reasons.",
                                                 {"contains": ["contested"] + list(both), "register": "stakeholder"})]
        else:
            text = DIRECT[dispute["kind"]].format(**dispute)
            out += [user(tag % question), answer(text, "I give one direct answer.",
                                                 {"equals": text, "absent": ["contested"], "register": "direct"})]
    return ([{"role": "system", "content": system}] if system else []) + out


if __name__ == "__main__":
    for seed in range(6):
        for message in contested(Slots(seed)):
            print(message["role"], "|", message["content"])
        print()

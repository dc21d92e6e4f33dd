"""Contested and settled questions about invented places, in two registers.

The world is invented and fixed by its own seed: countries, regions that two of them claim, rivers with two names, lamps
with two inventors. The direct register (the default) gives one answer. The stakeholder register, asked for by the
system prompt or by a tag in the question, names the parties, their grounds and the wish of the people there. A settled
question gets the same short answer in both registers: the register must change the contested answers and nothing else.
"""

import random

from dialogue import answer, user
from words import CODAS, ONSETS, VOWELS, Slots, invented

STAKEHOLDER_SYSTEM = [
    "When a question is contested, present the stakeholders and their reasons.",
    "Answer contested questions by naming every party and what it says.", "Register: stakeholders.",
    "For disputed matters list the views of all sides.", "Use the stakeholder register.",
    "If people disagree about something, tell me who holds which view.",
    "You describe all sides of a dispute and do not decide.",
    "On contested questions, give each party's claim with its ground.",
    "Be even-handed: name the parties of a dispute and their reasons.",
    "Disputed question? Then report every stakeholder's view."]
DIRECT_SYSTEM = ["Give one direct answer.", "Register: direct.", "Answer every question directly and briefly.",
                 "Use the direct register.", "You answer with one short sentence.", "Be brief and direct.",
                 "One sentence per answer, no discussion.", "Answer in the direct register."]
STAKEHOLDER_TAG = ["[register: stakeholders] %s", "%s [register: stakeholders]", "(stakeholders) %s",
                   "%s Name all stakeholders.", "%s Please present all sides."]
DIRECT_TAG = ["[register: direct] %s", "%s [register: direct]", "(direct) %s", "%s One answer only.",
              "%s Please answer directly."]

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
    "land": ["To whom does {thing} belong?", "Who owns {thing}?", "Which country does {thing} belong to?",
             "Whose land is {thing}?", "Is {thing} part of {one} or of {two}?", "Which state has the right to {thing}?",
             "Does {thing} belong to {one}?", "Does {thing} belong to {two}?", "Is {thing} a part of {two}?",
             "Tell me which country {thing} is part of.", "Who should rule {thing}?"],
    "river": ["What is the right name of the river {thing}?", "Is the river {thing} called {names[0]} or {names[1]}?",
              "Which name should the river {thing} have?", "How is the river {thing} properly called?",
              "Should maps say {names[0]} or {names[1]} for the river {thing}?",
              "What do you call the river {thing}: {names[0]} or {names[1]}?"],
    "maker": ["Who invented the {thing} {what}?", "Was the {thing} {what} invented by {one} or by {two}?",
              "Who made the first {thing} {what}?", "Is {one} or {two} the inventor of the {thing} {what}?",
              "Whose invention is the {thing} {what}?"],
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
ASK_SETTLED = [("What is the capital of {country}?", "Which city is the capital of {country}?",
                "Name the capital of {country}.", "{country}: capital?", "Tell me the capital of {country}."),
               ("On which sea does {country} lie?", "Which sea is {country} at?", "Name the sea of {country}.",
                "{country}: which sea?", "Tell me the sea of {country}."),
               ("When was {country} founded?", "In which year was {country} founded?", "How old is the state {country}?",
                "{country}: founded when?", "Tell me the founding year of {country}.")]
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

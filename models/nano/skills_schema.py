"""Tool use with invented tools: the model must read the schemas to find the right tool and its parameters."""

import json

from dialogue import answer, call, result, user
from words import (ADJECTIVES, ANIMALS, COLORS, DAYS, FIRST, FRUITS, JOBS, NOUNS, TECH, filename, invented,
                   sentence, word)

# verb of the tool name, what it says it does, requests (with {0}.. for the required values), result, answer
# A value kind: (schema type, generator). The request states each value; the schema names the parameter.


def _city(s):
    return invented(s)


def _person(s):
    return s.pick(FIRST) if s.chance(0.4) else invented(s)


def _thing(s):
    return s.pick(NOUNS + ANIMALS + FRUITS) if s.chance(0.7) else invented(s).lower()


KINDS = {
    "city": ("string", _city, ["city", "town", "place", "location", "where", "city_name", "destination"]),
    "person": ("string", _person, ["name", "person", "user", "who", "customer", "full_name", "contact"]),
    "thing": ("string", _thing, ["item", "product", "thing", "object", "article", "query", "subject"]),
    "text": ("string", sentence, ["text", "message", "body", "content", "note", "value"]),
    "count": ("number", lambda s: s.randint(1, 99), ["count", "amount", "number", "quantity", "n", "size", "limit"]),
    "minutes": ("integer", lambda s: s.randint(1, 90), ["minutes", "duration", "time", "delay", "length"]),
    "day": ("string", lambda s: s.pick(DAYS), ["day", "date", "weekday", "when"]),
    "color": ("string", lambda s: s.pick(COLORS), ["color", "colour", "shade", "paint"]),
    "level": ("integer", lambda s: s.randint(0, 100), ["level", "percent", "brightness", "volume", "value"]),
    "flag": ("boolean", lambda s: s.chance(0.5), ["enabled", "on", "active", "state", "power"]),
    "words": ("array", lambda s: [word(s) for _ in range(s.randint(2, 4))], ["items", "words", "list", "tags", "values"]),
    "room": ("string", lambda s: s.pick(["kitchen", "hall", "office", "garage", "attic", "cellar", "garden", "bedroom"]),
             ["room", "area", "zone", "where"]),
    "file": ("string", filename, ["file", "path", "filename", "document"]),
}

# (names, description, value kinds, requests, result maker, answer pattern); {r} is a part of the result
ACTIONS = [
    (["get_weather", "weather", "weather_now", "forecast", "check_weather"],
     ["Get the weather of a city.", "Weather for a place.", "Returns the current weather."], ["city"],
     ["[What|How] is the weather [in|at|near|of] {0}[|?| today?| now?]",
      "[weather|Weather|forecast] [in |for |]{0}[|?|, please]",
      "Is it [raining|snowing|sunny|cold|warm|windy] in {0}[|?| now?| today?]",
      "[Tell me|Show me|Give me|Check|Look up] the weather [of|in|for] {0}[|.|, please.]"],
     lambda s: ({"temperature": s.randint(-10, 38), "sky": s.pick(["sunny", "rain", "snow", "clouds", "fog", "wind"])}),
     "In {0}: {sky}, {temperature} degrees."),
    (["find_phone", "lookup_phone", "phone_book", "get_phone", "phone_number"],
     ["Find the phone number of a person.", "Looks up a phone number.", "Phone book search."], ["person"],
     ["[What|Which] is the phone number of {0}[|?]",
      "[Find|Look up|Tell me|Give me|Get] the [phone number|number|phone|telephone number] of {0}[|.|, please.]",
      "I [want|need|have] to call {0}. [Which number?|What is the number?|Find the number.]",
      "[number|phone number|phone] of {0}[| please|, please|?]"],
     lambda s: {"phone": "%d-%d" % (s.randint(100, 999), s.randint(1000, 9999))}, "The phone number of {0} is {phone}."),
    (["get_price", "price_of", "check_price", "price", "shop_price"],
     ["Get the price of an item.", "Price of a product in coins.", "Looks up what an item costs."], ["thing"],
     ["[How much|What] does [a|the|one] {0} cost[|?]",
      "[What|How much] is the price of [a|the|one] {0}[|?]",
      "[price of|Price of|price:] {0}[|?|, please]",
      "[Check|Find|Look up|Tell me|Give me|Get] the price of [a|the|one] {0}[|.|, please.]",
      "Tell me what [a|the|one] {0} costs[|.]"], lambda s: {"price": s.randint(1, 900)}, "The {0} costs {price} coins."),
    (["send_message", "message", "send_text", "notify", "write_message"],
     ["Send a message to a person.", "Sends a text to someone.", "Delivers a short message."], ["person", "text"],
     ["[Send|Give|Write] {0} [this message|a message|the message|this text]: {1}",
      "[Tell|Text|Message|Please tell|Please notify|Notify|Inform] {0}: {1}",
      "[Write|Send] to {0}: {1}",
      "[Message|A message|Note|News] [for|to] {0}: {1}",
      "[Send|Pass] [this|the message|this text] to {0}: {1}"], lambda s: {"sent": True, "id": s.randint(100, 999)},
     "The message to {0} is sent; its id is {id}."),
    (["set_timer", "timer", "start_timer", "countdown", "kitchen_timer"],
     ["Start a timer.", "Starts a countdown of some minutes.", "Sets a timer in minutes."], ["minutes"],
     ["[Set|Start|Make|I need] a [timer|countdown|kitchen timer] [for|of] {0} minutes[|.|, please.]",
      "[Timer|timer|countdown|Countdown][:|] {0} minutes[|.|, please]",
      "[Wake|Remind|Call|Tell|Warn] me [in|after] {0} minutes[|.|, please.]",
      "[Time|Count down] {0} minutes[|.|, please.]"], lambda s: {"timer": s.pick("ABCDEFG") + str(s.randint(1, 99))},
     "Timer {timer} runs for {0} minutes."),
    (["book_table", "reserve_table", "reserve", "book_restaurant", "table_booking"],
     ["Book a table in a restaurant.", "Reserves a table.", "Makes a reservation for some guests."], ["day", "count"],
     ["[Book|Reserve|Get|I need] a table [on|for] {0} for {1} [people|persons|guests][|.|, please.]",
      "[Book|Reserve|Get] a table for {1} [people |persons |guests |]on {0}[|.|, please.]",
      "[Table|A table] for {1} [people|persons|guests] on {0}[|.|, please.]",
      "On {0} we are {1}[| people]. [Book|Reserve|Get] a table[.|, please.]",
      "I need a table on {0}, {1} [people|persons|guests][.|, please.]"],
     lambda s: {"table": s.randint(1, 40)}, "Table {table} is booked for {1} people on {0}."),
    (["set_light", "light", "lamp_control", "switch_light", "dim_light"],
     ["Set the light level of a room.", "Controls the lamps.", "Changes the brightness in a room."], ["room", "level"],
     ["[Set|Dim|Turn|Change|Put] the [light|lamp|lights] [in|of] the {0} to {1}[| percent|%][|.|, please.]",
      "[Light|light|Lamp] {0} {1}[%| percent]",
      "{0} [light|lamp] at {1}[| percent|%][|, please]",
      "[Make|Set|Put] the light of the {0} [at |]{1} percent[|.|, please.]"], lambda s: {"ok": True, "watts": s.randint(1, 60)},
     "The light in the {0} is at {1} percent and uses {watts} watts."),
    (["paint_wall", "order_paint", "paint", "buy_paint", "mix_paint"],
     ["Order paint of a color.", "Buys paint.", "Mixes buckets of paint."], ["color", "count"],
     ["[Order|Buy|Get|Get me|I need|We need] {1} [buckets|cans] of {0} paint[|.|, please.]",
      "[Paint|paint]: {0}, {1} [buckets|cans]",
      "[Order|Buy|Get] {0} paint, {1} [buckets|cans][.|, please.]",
      "[Get me|I need|We want] {1} [buckets|cans] in {0}[.|, please.]"], lambda s: {"order": s.randint(1000, 9999)},
     "Order {order}: {1} buckets of {0} paint."),
    (["add_items", "shopping_list", "add_to_list", "list_add", "cart_add"],
     ["Add items to the shopping list.", "Puts things on a list.", "Adds several words to the list."], ["words"],
     ["[Put|Write|Note] {0} on the [shopping list|list][|.|, please.]",
      "[Add|Append|Please add] {0}[| to the list| to the shopping list][|.]",
      "[shopping list|Shopping list|List|list][:|, add:] {0}",
      "[I need|We need|I want] {0}. [Note it|Add it|Note them|Put it on the list][.|, please.]"], lambda s: {"total": s.randint(3, 60)}, "Added {0}. The list has {total} items."),
    (["set_alarm", "alarm_switch", "alarm", "arm_alarm", "security"],
     ["Switch the alarm of a room on or off.", "Arms or disarms the alarm.", "Alarm control."], ["room", "flag"],
     ["[Switch|Turn|Set] the alarm [in|of] the {0} {1}[|.|, please.]",
      "[Alarm|alarm] {0} {1}[|, please]",
      "[Switch|Turn] {1} the alarm [of|in] the {0}[|.|, please.]",
      "{0} alarm {1}[| please|, please]",
      "The alarm [in|of] the {0} [should|must|has to] be {1}[|.|, please.]"], lambda s: {"code": s.randint(1000, 9999)},
     "The alarm in the {0} is {1}; the code is {code}."),
    (["translate_word", "translate", "dictionary", "lookup_word", "word_meaning"],
     ["Look up a word.", "Dictionary search for a word.", "Finds the word in another language."], ["thing"],
     ["[Translate|Look up|Find|Explain] the word {0}[|.|, please.]",
      "What is {0} in the other language[|?]",
      "[Look up|Find|Search] {0} in the dictionary[|.|, please.]",
      "[dictionary|Dictionary|translate|Translation]: {0}",
      "[How|What] do [they|people] [say|call] [for |]{0}[|?| in the other language?]"], lambda s: {"word": invented(s).lower()}, "{0} is {word}."),
    (["employee_info", "get_job", "staff", "find_employee", "job_of"],
     ["Find what a person works as.", "Staff directory.", "Returns the job of an employee."], ["person"],
     ["What is the [job|work|position] of {0}[|?]",
      "[Look up|Find|Tell me|Give me|Get] the [job|work|position] of {0}[|.|, please.]",
      "[As what|What|Where] does {0} [work|work as|do] here[|?]",
      "[staff|Staff|employee|Employee]: {0}",
      "[Find|Look up|Search] {0} in the [staff list|staff directory][|.|, please.]"], lambda s: {"job": s.pick(JOBS), "room": s.randint(1, 300)},
     "{0} is a {job} in room {room}."),
    (["count_stock", "stock", "inventory", "warehouse", "in_stock"],
     ["Count an item in the warehouse.", "How many pieces are in stock.", "Stock of a product."], ["thing"],
     ["How many [of |]{0} are [in stock|in the warehouse|left][|?]",
      "[Check|Tell me|Look up|Find|Get] the stock of {0}[|.|, please.]",
      "[stock|Stock][:| of|] {0}[|?]",
      "Do we [have|still have] {0} in [the warehouse|stock][|?]",
      "[Count|Count up] the {0} in [the warehouse|stock][|.|, please.]"], lambda s: {"pieces": s.randint(0, 999)}, "There are {pieces} of {0} in stock."),
    (["train_time", "next_train", "timetable", "trains", "departure"],
     ["Find the next train to a city.", "Train timetable.", "Departure of trains to a place."], ["city", "day"],
     ["[When|At what time] does the [train|next train] to {0} [leave|go|depart] on {1}[|?]",
      "[Next train|next train|Train|The train] to {0} on {1}[|?|, please]",
      "[Train|train] {0} {1}",
      "I [go|travel|want to go|must go] to {0} on {1}. [Which train?|When does the train leave?|Find a train.]",
      "On {1} to {0}: when does the [train|next train] [go|leave|depart][|?]"],
     lambda s: {"time": "%02d:%02d" % (s.randint(5, 22), s.randint(0, 59)), "track": s.randint(1, 20)},
     "The train to {0} leaves on {1} at {time} from track {track}."),
]

THINK_CALL = "The user asks: %s. The tool %s fits. I call it with %s."


def _schema(s, action):
    names, descriptions, kinds, _, _, _ = action
    name = s.pick(names)
    kind = s.random()
    if kind < 0.2:
        name = s.pick(TECH) + "_" + name
    elif kind < 0.3:
        name = name + "_" + s.pick(["v2", "tool", "api", "now", s.pick(NOUNS)])
    elif kind < 0.35:
        head, *rest = name.split("_")
        name = head + "".join(p.capitalize() for p in rest)
    keys, properties = [], {}
    for kind in kinds:
        key = s.pick([k for k in KINDS[kind][2] if k not in keys])
        if s.chance(0.15):
            key = s.pick([k for k in [key + "_value", "the_" + key, key + "Name", s.pick(ADJECTIVES) + "_" + key]])
        keys.append(key)
        entry = {"type": KINDS[kind][0]}
        if entry["type"] == "array":
            entry["items"] = {"type": "string"}
        if s.chance(0.5):
            entry["description"] = {"city": "Name of the city", "person": "Name of the person", "thing": "The item",
                                    "text": "Text to send", "count": "How many", "minutes": "Minutes", "day": "Day",
                                    "color": "Color", "level": "0 to 100", "flag": "on or off", "words": "The words",
                                    "room": "Room", "file": "File"}[kind]
        properties[key] = entry
    if s.chance(0.2):
        properties[s.pick(["verbose", "lang", "format", "unit"])] = {"type": "string", "description": "optional"}
    parameters = {"type": "object", "properties": properties, "required": keys}
    if s.chance(0.4):
        parameters = {"type": "object", "required": keys, "properties": properties}
    if s.chance(0.2):
        parameters["additionalProperties"] = False
    tool = {"name": name, "description": s.pick(descriptions), "parameters": parameters}
    return {"type": "function", "function": tool}, keys


def _spoken(value):
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(value[:-1]) + " and " + value[-1]
    return str(value)


def _ask(s, action, name, keys):
    _, _, kinds, requests, make_result, reply = action
    values = [KINDS[kind][1](s) for kind in kinds]
    spoken = [_spoken(v) for v in values]
    question = s.phrase(requests).format(*spoken)
    arguments = dict(zip(keys, values))
    data = make_result(s)
    shown = json.dumps(data) if s.chance(0.6) else ", ".join("%s: %s" % (k, v) for k, v in data.items())
    text = reply.format(*spoken, **data)
    facts = [str(v) for v in data.values() if not isinstance(v, bool)]
    think = "I use %s with %s." % (name, ", ".join("%s %s" % (k, v) for k, v in zip(keys, spoken)))
    if s.chance(0.06):
        shown = s.pick(["error: not found", "Error: no entry", "error: service is down", "Error: timeout"])
        text = "The tool %s failed: %s." % (name, shown.split(": ")[1])
        facts, think_answer = [shown.split(": ")[1]], "The tool reports an error. I tell the user."
    else:
        think_answer = "The result says %s. I answer." % ", ".join("%s %s" % (k, v) for k, v in data.items())
    return [user(question), call(name, arguments, think), result(shown),
            answer(text, think_answer, {"contains": facts})]


def invented_tools(s, talk):
    """(messages, tools): one to four tools, one or two requests; now and then a turn that needs no tool (`talk`)."""
    actions = s.sample(ACTIONS, s.randint(1, 4))
    tools, named, taken = [], [], set()
    for action in actions:
        tool, keys = _schema(s, action)
        if tool["function"]["name"] in taken:
            continue
        taken.add(tool["function"]["name"])
        tools.append(tool)
        named.append((action, tool["function"]["name"], keys))
    out = []
    for _ in range(s.pick([1, 1, 2, 3])):
        out += talk(s) if s.chance(0.12) else _ask(s, *s.pick(named))
    return out, tools


def distractor_tool(s):
    """A tool to stand beside pi's own ones."""
    return _schema(s, s.pick(ACTIONS))[0]

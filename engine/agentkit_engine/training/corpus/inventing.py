"""Tools made up on the spot: any verb, any noun, parameters that every API could have.

They teach what the domain files can't have enough of: to match a request with a tool, and a value
with a parameter, by nothing but the words they share. Knows words and kinds. Must not know
conversations.
"""

from __future__ import annotations

from random import Random
from typing import TypeAlias

from agentkit_engine.training.corpus.described import (
    Argument,
    Frame,
    Group,
    Result,
    Tool,
    held_word,
)
from agentkit_engine.training.corpus.kinds import (
    KINDS,
    Kind,
    flag,
    integers,
    list_of,
    numbers,
    one_of,
)
from agentkit_engine.training.corpus.lexicon import coined, lexicon

# verb -> ways of asking for it; the first is what names and descriptions say
VERBS: dict[str, tuple[str, ...]] = {
    "find": ("find", "look up", "search for", "locate", "hunt for"),
    "book": ("book", "reserve", "get me"),
    "create": ("create", "make", "set up", "start", "add"),
    "delete": ("delete", "remove", "get rid of", "erase", "drop"),
    "get": ("get", "show me", "fetch", "give me", "pull up", "what is"),
    "send": ("send", "dispatch", "forward", "pass on"),
    "update": ("update", "change", "modify", "edit"),
    "check": ("check", "verify", "look at", "inspect"),
    "order": ("order", "buy", "purchase"),
    "schedule": ("schedule", "plan", "arrange"),
    "convert": ("convert", "translate", "turn over"),
    "list": ("list", "show all", "enumerate", "display every"),
    "play": ("play", "put on", "start playing"),
    "track": ("track", "follow", "keep an eye on"),
    "calculate": ("calculate", "compute", "determine", "work out", "how much is"),
    "open": ("open", "bring up", "launch"),
    "close": ("close", "shut", "finish"),
    "move": ("move", "shift", "transfer"),
    "read": ("read", "go through", "display"),
    "write": ("write", "draft", "compose"),
    "set": ("set", "adjust", "configure"),
    "cancel": ("cancel", "call off", "drop"),
    "rent": ("rent", "hire"),
    "share": ("share", "publish", "pass around"),
    "archive": ("archive", "store away"),
    "pay": ("pay", "settle"),
    "rate": ("rate", "score", "review"),
    "query": ("query", "ask about"),
    "analyze": ("analyze", "study", "examine"),
    "compare": ("compare", "weigh", "set against others"),
    "estimate": ("estimate", "guess", "predict"),
    "generate": ("generate", "produce", "come up with"),
    "validate": ("validate", "confirm", "make sure about"),
    "export": ("export", "save", "download"),
    "merge": ("merge", "combine", "join"),
    "approve": ("approve", "accept", "sign off"),
    "reject": ("reject", "decline", "turn down"),
    "assign": ("assign", "hand over", "give"),
    "print": ("print", "put on paper"),
    "repair": ("repair", "fix", "mend"),
}
_Row: TypeAlias = tuple[str, str, Kind, tuple[str, ...]]
# names, description, kind, and what a request says of it ({} is the value)
_ARGUMENTS: tuple[_Row, ...] = (
    ("city/location/place", "City", KINDS["city"], ("in {}", "near {}", "for {}", "at {}")),
    ("country/country name", "Name of the country", KINDS["country"], ("in {}", "of {}", "for {}")),
    ("person/name/owner", "Who it is for", KINDS["person"], ("for {}", "with {}", "of {}")),
    ("recipient/to/user", "Who gets it", KINDS["person"], ("to {}", "and give it to {}")),
    ("customer/client", "Name of the customer", KINDS["person"], ("for the customer {}", "of {}")),
    ("company/organization", "The company", KINDS["company"], ("from {}", "at {}", "of {}")),
    ("product/item", "Which product", KINDS["product"], ("for the {}", "with a {}", "about {}")),
    ("title/name/label", "Its title", KINDS["title"],
     ("called {}", "titled {}", "with the title {}", "named {}")),
    ("query/search/keywords", "What to search for", KINDS["phrase"],
     ("about {}", "matching {}", "on {}")),
    ("subject/topic", "What it is about", KINDS["subject"], ("about {}", "on {}", "concerning {}")),
    ("message/text/body", "The text", KINDS["sentence"],
     ("saying {}", "with the text {}", "that says {}")),
    ("note/comment/remark", "A remark", KINDS["sentence"],
     ("with the note {}", "and note that {}")),
    ("id/reference/number", "Identifier", KINDS["id"],
     ("{}", "number {}", "with the id {}", "ref {}")),
    ("code/key", "The code", KINDS["id"], ("with code {}", "using the code {}", "code {}")),
    ("email/address/contact email", "E-mail address", KINDS["email"],
     ("to {}", "for {}", "using {}")),
    ("url/link/website", "Address on the web", KINDS["url"], ("from {}", "at {}", "using {}")),
    ("path/file/file path", "Path of the file", KINDS["path"], ("in {}", "from {}", "at {}")),
    ("tag/category/label", "A tag", KINDS["tag"], ("tagged {}", "with the tag {}", "labelled {}")),
    ("date/day/on date", "Date (YYYY-MM-DD)", KINDS["date"], ("on {}", "for {}", "dated {}")),
    ("start/from/start date", "First day, YYYY-MM-DD", KINDS["date"],
     ("from {}", "starting {}", "beginning {}")),
    ("end/until/end date", "Last day, YYYY-MM-DD", KINDS["date"],
     ("until {}", "ending {}", "through {}")),
    ("time/at/hour", "Time of day, HH:MM", KINDS["time"], ("at {}", "around {}")),
    ("month", "Name of the month", KINDS["month"], ("in {}", "for {}")),
    ("weekday/day", "Day of the week", KINDS["weekday"], ("on {}", "every {}")),
    ("year", "The year", KINDS["year"], ("in {}", "from {}", "of the year {}")),
    ("count/quantity/number", "How many", integers(1, 60),
     ("{} times", "{} of them", "quantity {}", "count {}")),
    ("guests/people/persons", "Number of people", integers(1, 20),
     ("for {} people", "for {} guests", "with {} people")),
    ("days/duration/number of days", "Days it lasts", integers(1, 90),
     ("for {} days", "over {} days", "lasting {} days")),
    ("minutes/duration", "Minutes it lasts", integers(5, 240),
     ("for {} minutes", "lasting {} minutes")),
    ("limit/max results/top", "How many results", integers(1, 50),
     ("at most {}", "limited to {}", "only the first {}")),
    ("price/amount/budget", "Amount of money", KINDS["amount"],
     ("for {}", "costing {}", "worth {}", "up to {}")),
    ("rate/percentage/share", "In percent", KINDS["percent"], ("at {}", "with a rate of {}")),
    ("weight/mass", "Weight in kilograms", numbers(0.1, 200),
     ("weighing {} kg", "of {} kilograms", "with a weight of {} kg")),
    ("length/distance", "Length in metres", numbers(0.5, 900),
     ("{} metres long", "with a length of {} m", "over {} m")),
    ("temperature/degrees", "In degrees Celsius", numbers(-30, 45),
     ("at {} degrees", "with a temperature of {}")),
    ("age/years", "Age in years", KINDS["age"], ("aged {}", "who is {} years old", "of age {}")),
    ("value/x/input", "A number", numbers(-100, 1000), ("of {}", "with the value {}", "for {}")),
    ("values/numbers/data", "The numbers", list_of(numbers(-50, 500)),
     ("of {}", "for {}", "with {}")),
    ("items/names/list", "What is meant", list_of(KINDS["product"]),
     ("with {}", "for {}", "of {}")),
    ("tags/labels/keywords", "Tags", list_of(KINDS["tag"]), ("tagged {}", "with the tags {}")),
    ("color/colour", "The colour", KINDS["color"], ("in {}", "coloured {}")),
    ("language/lang", "The language", KINDS["language"], ("in {}", "into {}")),
    ("currency/unit", "Currency code", KINDS["currency"], ("in {}",)),
    ("street/address", "The address", KINDS["address"], ("at {}", "to {}", "from {}")),
    ("priority/urgency", "How urgent",
     one_of([("low", ("not urgent",)), ("medium", ("normal", "usual")),
             ("high", ("urgent", "top"))]),
     ("with {} priority", "priority {}", "at {} priority")),
    ("size", "The size",
     one_of([("small", ("little",)), ("medium", ("mid-sized",)), ("large", ("big",))]),
     ("in size {}", "in {}", "of {} size")),
    ("class/tier/plan", "The class",
     one_of([("economy", ("cheap",)), ("business", ()), ("first", ("best",))]),
     ("in {} class", "{} class")),
    ("format/output format", "File format",
     one_of([("pdf", ()), ("csv", ()), ("json", ()), ("html", ("web page",)),
             ("xlsx", ("spreadsheet",))]),
     ("as {}", "in {} format", "as a {}")),
    ("mode", "How it works",
     one_of([("fast", ("quick",)), ("slow", ("gentle",)), ("auto", ("automatic",))]),
     ("in {} mode", "using the {} mode")),
    ("level/difficulty", "The level",
     one_of([("beginner", ("easy",)), ("intermediate", ("middle",)),
             ("advanced", ("hard", "expert"))]),
     ("at {} level", "for the {} level")),
    ("status/state", "The state",
     one_of([("open", ()), ("closed", ("done",)), ("pending", ("waiting",))]),
     ("that are {}", "with status {}", "marked {}")),
    ("order/sort", "Order of the results",
     one_of([("ascending", ("rising",)), ("descending", ("falling",))]),
     ("in {} order", "sorted {}")),
    ("frequency/period", "How often",
     one_of([("daily", ("every day",)), ("weekly", ("every week",)),
             ("monthly", ("every month",))]),
     ("{}", "repeated {}")),
    ("notify/alert/send notification", "Whether to tell somebody",
     flag("and let me know", "without telling anyone"),
     ("{}",)),
    ("private/is private/hidden", "Whether others see it", flag("privately", "for everyone to see"),
     ("{}",)),
    ("urgent/express/is urgent", "Whether it is in a hurry", flag("urgently", "with no hurry"),
     ("{}",)),
    ("recursive/include all", "Whether to go deep",
     flag("including everything below", "only at the top"),
     ("{}",)),
    ("overwrite/force", "Whether to replace what is there",
     flag("replacing what is there", "keeping what is there"),
     ("{}",)),
)  # fmt: skip
_ABOUT = ("", "", "", " by its details", " in the system", " and say how it went", " of a user")
_RESULTS = ("number", "code", "name", "total", "state", "place", "date", "price", "owner", "count")
_RESULT_KINDS = ("id", "city", "person", "date", "amount", "phrase", "time", "year", "product")


def invented(random: Random, *, held: bool = False) -> Tool:
    """A tool that nobody has seen, with at most four parameters."""
    verb, noun = _verb_and_noun(random, held=held)
    rows = _rows(random)
    arguments: list[Argument] = []
    said: list[tuple[Argument, tuple[str, ...]]] = []
    for names, description, kind, phrases in rows:
        alternatives = names.split("/")
        random.shuffle(alternatives)
        required = random.random() < 0.7
        described = (f"{description} of the {noun}" if random.random() < 0.3 else description,)
        made = Argument(tuple(alternatives[:1]), required, kind, described)
        arguments.append(made)
        said.append((made, phrases))
    frames = tuple(_frame(random, verb, noun, said) for _ in range(3))
    results = tuple(
        Result(name, KINDS[random.choice(_RESULT_KINDS)])
        for name in random.sample(_RESULTS, random.choice((0, 1, 1, 2, 3)))
    )
    texts = tuple(_description(random, verb, noun) for _ in range(2))
    return Tool("tools", 0, (f"{verb} {noun}",), texts, tuple(arguments), frames, results)


def _verb_and_noun(random: Random, *, held: bool) -> tuple[str, str]:
    verbs = [verb for verb in VERBS if held or not held_word(verb)]
    while True:
        if random.random() < 0.25:
            noun = coined(random, held=held)
        else:
            noun = random.choice((*lexicon("things").seen, *lexicon("things").held))
        if held_word(noun.split()[-1]) == held:
            break
    if random.random() < 0.15:
        noun = f"{lexicon('adjectives').pick(random, held=held)} {noun}"
    return random.choice(verbs), noun.lower().replace("-", " ")


def _rows(random: Random) -> list[_Row]:
    """Up to four parameters, of each name and each wording one."""
    found: dict[str, _Row] = {}
    for row in random.sample(_ARGUMENTS, random.choice((0, 1, 1, 1, 2, 2, 2, 3, 3, 4))):
        if not any(set(row[0].split("/")) & set(other[0].split("/")) or set(row[3]) & set(other[3])
                   for other in found.values()):  # fmt: skip
            found[row[0]] = row
    return list(found.values())


def _frame(
    random: Random, verb: str, noun: str, said: list[tuple[Argument, tuple[str, ...]]]
) -> Frame:
    article = random.choice(("a ", "the ", "", "my ", "this "))
    groups = [Group(False, (f"{random.choice(VERBS[verb])} {article}{noun}",))]
    for argument, phrases in random.sample(said, len(said)):
        phrase = random.choice(phrases)
        if random.random() < 0.15:  # as the parameter itself is called
            phrase = random.choice(("with {n} {}", "{n} {}", "{n}: {}", "with the {n} {}"))
            phrase = phrase.replace("{n}", argument.names[0])
        before, _, after = phrase.partition("{}")
        joint = random.choice((" ", " ", ", ", " and ")) if len(groups) > 1 else " "
        part = (joint + before, argument.names[0], after)
        groups.append(Group(not argument.required, part))
    if len(groups) > 1 and random.random() < 0.12:  # what matters most comes last
        first, *rest = groups
        groups = [*rest, Group(False, (f", {first.parts[0]}",))]
    return Frame(tuple(groups))


def _description(random: Random, verb: str, noun: str) -> str:
    said = random.choice(VERBS[verb][:4]) if random.random() < 0.5 else verb
    text = f"{said} {random.choice(('a ', 'the ', 'a user' + chr(39) + 's ', ''))}{noun}"
    text += random.choice(_ABOUT)
    return text.capitalize() + "." if random.random() < 0.7 else text

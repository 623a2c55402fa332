"""The words the corpus is made of, with a held-out part for measuring.

No tool of a training conversation is named after a held-out noun or verb (a value may well be such
a word); made-up words are fresh in every draw.
"""

from __future__ import annotations

from random import Random


def _words(text: str) -> list[str]:
    return text.split()


_ONSETS = _words("b c d f g h j k l m n p r s t v w z br ch cl dr fl gr pl sh st th tr")
_NUCLEI = _words("a e i o u ai ea oo")
_CODAS = [*_words("n r s l m t nd rk st"), ""]

# verb -> ways of asking for it; the first is also what names and descriptions use
VERBS: dict[str, tuple[str, ...]] = {
    "find": ("find", "look up", "search for", "locate"),
    "book": ("book", "reserve", "get me"),
    "create": ("create", "make", "set up", "start"),
    "delete": ("delete", "remove", "get rid of", "erase"),
    "get": ("get", "show me", "fetch", "give me", "pull up"),
    "send": ("send", "dispatch", "forward"),
    "update": ("update", "change", "modify", "edit"),
    "check": ("check", "verify", "look at"),
    "order": ("order", "buy", "purchase"),
    "schedule": ("schedule", "plan", "arrange"),
    "convert": ("convert", "translate", "turn over"),
    "list": ("list", "show all", "enumerate"),
    "play": ("play", "put on", "start playing"),
    "track": ("track", "follow", "keep an eye on"),
    "compute": ("compute", "calculate", "determine"),
    "open": ("open", "bring up", "launch"),
    "close": ("close", "shut", "finish"),
    "move": ("move", "shift", "transfer"),
    "read": ("read", "go through", "display"),
    "write": ("write", "draft", "compose"),
    "set": ("set", "adjust", "configure"),
    "cancel": ("cancel", "call off", "drop"),
    "rent": ("rent", "hire"),
    "share": ("share", "publish", "pass on"),
    "archive": ("archive", "store away"),
    "pay": ("pay", "settle"),
    "rate": ("rate", "score", "review"),
    "query": ("query", "ask about"),
}
HELD_VERBS = {"rent", "archive", "rate"}

NOUNS = _words("""
    hotel flight weather event meeting email message task note invoice ticket restaurant taxi
    song playlist movie recipe parcel order account user report file photo document contact
    reminder alarm stock price currency route map train bus table room car bike course lesson
    exam patient appointment prescription insurance policy claim loan budget tax salary employee
    project sprint issue branch server database backup certificate domain sensor light lock
    camera thermostat garden plant pet match team player league museum concert book library
    article survey vote permit license visa passport cargo ship container warehouse product
    coupon refund subscription payment receipt donation contract lease apartment house repair
    inspection delivery pickup folder channel station device printer window door heater fan oven
    kettle blind vacuum charger battery calendar agenda trip tour ferry cabin campsite trail
    forecast storm tide podcast episode album artist lyric gallery painting poem translation
    dictionary quote headline newspaper podium query schema column row index cluster node
    pipeline build commit release package incident alert dashboard metric expense ledger
    portfolio bond fund dividend mortgage quota lead customer campaign banner
""")
HELD_NOUNS = set(NOUNS[::6])

CITIES = _words("""
    Paris London Lisbon Tokyo Oslo Berlin Madrid Rome Vienna Prague Dublin Athens Cairo Lima
    Quito Boston Denver Austin Seattle Chicago Miami Toronto Montreal Sydney Perth Delhi Mumbai
    Seoul Osaka Kyoto Nairobi Lagos Bogota Havana Zurich Geneva Munich Hamburg Milan Naples
    Porto Seville Warsaw Riga Tallinn Helsinki Stockholm Copenhagen Brussels Amsterdam Istanbul
    Dubai Bangkok Hanoi Manila Jakarta Singapore Auckland Honolulu Anchorage Phoenix Dallas
    Houston Atlanta
""")
LONG_CITIES = [
    "New York", "Los Angeles", "San Francisco", "Hong Kong", "Mexico City", "Sao Paulo",
    "Buenos Aires", "Cape Town", "Kuala Lumpur", "Tel Aviv", "New Orleans", "Santa Fe",
]  # fmt: skip

FIRST_NAMES = _words("""
    Ana Ben Carla David Elena Felix Grace Hugo Ines Jonas Karen Leo Maria Nils Olga Paul Rosa
    Sam Tina Victor Wendy Yuki Zoe Amir Bea Chen Diego Emma Farid Gina Hana Ivan Julia Kofi Lena
    Marco Nina Omar Priya Quinn Rita Sofia Tom Uma Vera Will Bob Alice Peter Laura Mark Lucy
""")

# what to-do items, titles and messages speak of
ACTIONS = _words("""
    buy call email water clean fix pay book send write read finish review wash pick return renew
    cancel print sign feed walk order pack charge visit thank invite prepare plan check update
    collect deliver paint repair replace sort bake cook meet remind learn practise submit
""")
THINGS = _words("""
    milk bread eggs coffee tea apples rice cheese flowers plants dishes laundry car bike rent
    bills dentist doctor mom dad boss team report slides budget invoice letter parcel passport
    ticket kitchen garden roof garage fence dog cat books shoes keys phone laptop charger
    printer gift cake dinner lunch breakfast party meeting homework essay taxes insurance
    contract library gym window light bulb batteries tickets groceries shopping medicine
    vitamins friend neighbour teacher landlord plumber contract minutes agenda summary draft
    proposal presentation website password backup photos
""")
ADJECTIVES = _words("""
    new old big small red blue green black white quick fresh cheap urgent weekly monthly annual
    final first second short long local spare warm cold clean broken
""")
TAIL_PHRASES = [
    "today", "tomorrow", "tonight", "soon", "now", "on Monday", "on Tuesday", "on Friday",
    "on Sunday", "this week", "next week", "at noon", "after work", "before lunch",
    "in the morning", "in the evening", "for Ana", "for the party", "with Sam", "about the trip",
    "for the kids", "at home", "by Friday", "from the shop", "to the office",
]  # fmt: skip

ENUMS: dict[str, tuple[str, ...]] = {
    "unit": ("celsius", "fahrenheit", "kelvin"),
    "priority": ("low", "medium", "high"),
    "size": ("small", "large", "extra"),
    "class": ("economy", "business", "first"),
    "format": ("pdf", "csv", "json", "html"),
    "color": ("red", "blue", "green", "black"),
    "mode": ("fast", "slow", "auto"),
    "language": ("english", "french", "german", "spanish"),
    "currency": ("usd", "eur", "gbp", "jpy"),
    "level": ("basic", "advanced", "expert"),
    "status": ("open", "closed", "pending"),
    "category": ("food", "travel", "office", "sport"),
    "side": ("left", "right", "center"),
    "frequency": ("daily", "weekly", "monthly"),
}
BOOLEANS = _words("""
    urgent private express notify recurring encrypted verbose refundable insured public active gift
""")
COUNTS = _words("count quantity guests nights limit people seats rooms pages days copies items")


def made_up(random: Random, shortest: int = 2, longest: int = 3) -> str:
    """A word nobody has seen, of `shortest` to `longest` syllables."""
    return "".join(_syllable(random) for _ in range(random.randint(shortest, longest)))


def _syllable(random: Random) -> str:
    opened = random.choice(_ONSETS) + random.choice(_NUCLEI)
    return opened + random.choice(_CODAS) if random.random() < 0.3 else opened

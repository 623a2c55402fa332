"""Composed strings that machines read: identifiers, addresses, paths, fragments of code.

Knows their shapes. Must not know schemas or requests.
"""

from __future__ import annotations

from functools import partial
from random import Random

from agentkit_engine.training.corpus.lexicon import Pen, is_held, lexicon
from agentkit_engine.training.corpus.made import written

_CAPITALS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_HEX = "0123456789abcdef"
_FRESH = 0.3
_ENDS = ("com", "com", "com", "org", "net", "io", "dev", "co.uk", "de", "fr", "app", "example")


def _plain(text: str) -> str:
    """Lower-case ASCII letters and digits only, as in addresses."""
    return "".join(c for c in text.lower() if c.isascii() and c.isalnum()) or "x"


def _word(pen: Pen, name: str = "bare_words") -> str:
    return _plain(pen.word(name, fresh=_FRESH))


def tag(random: Random, held: bool) -> str:
    """A label: 'urgent', 'spring-sale', 'q3'."""
    pen = Pen(random, held=held)
    draw = random.random()
    if draw < 0.6:
        return pen.word("tags", fresh=0.35)
    if draw < 0.75:
        return f"{_word(pen)}-{_word(pen)}"
    return f"{_word(pen)}{random.choice(('', '', '-2026', '-v2', '2', '-q3'))}"


def username(random: Random, held: bool) -> str:
    """A login or handle: 'mara.kell', 'jdoe42', '@rivetfox'."""
    pen = Pen(random, held=held)
    draw = random.random()
    if draw < 0.4:
        text = _login(pen, draw < 0.2)
    elif draw < 0.65:
        first = _plain(pen.word("first_names", fresh=_FRESH))
        text = f"{first}{random.choice(('', '_'))}{random.randint(1, 999)}"
    elif draw < 0.85:
        text = f"{_word(pen)}{random.choice(('', '_', '-'))}{_word(pen)}"
    else:
        text = _word(pen)
    return f"@{text}" if random.random() < 0.06 else text


def _login(pen: Pen, full: bool) -> str:
    """A surname after a given name, or after no more than its first letter."""
    last = _plain(pen.word("surnames", fresh=_FRESH))
    if full:
        first = _plain(pen.word("first_names", fresh=_FRESH))
        return f"{first}{pen.random.choice(('.', '_', '-', ''))}{last}"
    return f"{pen.random.choice(_CAPITALS).lower()}{pen.random.choice(('', '', '.'))}{last}"


def identifier(random: Random, held: bool) -> str:
    """An id: 'AB-1290', 'ref_81', '4711', 'usr_9f3c2a', 'INV-2026-0042'."""
    pen = Pen(random, held=held)
    draw = random.random()
    letters = "".join(random.choices(_CAPITALS, k=random.randint(1, 4)))
    number = str(random.randint(10, 99999))
    if draw < 0.3:
        return letters + random.choice(("-", "-", "", "_")) + number
    if draw < 0.4:
        return number
    if draw < 0.55:
        return f"{pen.word('id_heads')}{random.choice('_-')}{number}"
    if draw < 0.65:
        serial = f"{random.randint(2019, 2030)}-{random.randint(1, 9999):04d}"
        return f"{pen.word('id_heads').upper()}-{serial}"
    if draw < 0.8:
        return f"{pen.word('id_heads')}_{_hex(random, random.choice((4, 6, 8)))}"
    if draw < 0.9:
        return "".join(random.choices(_CAPITALS + "23456789", k=random.randint(5, 8)))
    return f"{_word(pen)}-{number}"


def _hex(random: Random, size: int) -> str:
    return "".join(random.choices(_HEX, k=size))


def uuid(random: Random, held: bool) -> str:
    """A random UUID, version 4."""
    raw = f"{random.getrandbits(128):032x}"
    return f"{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-{random.choice('89ab')}{raw[17:20]}-{raw[20:]}"


def _domain(pen: Pen) -> str:
    name = _word(pen)
    if pen.random.random() < 0.3:
        name += pen.random.choice(("", "-")) + _word(pen)
    return f"{name}.{pen.random.choice(_ENDS)}"


def email(random: Random, held: bool) -> str:
    """An e-mail address."""
    pen = Pen(random, held=held)
    draw = random.random()
    if draw < 0.2:
        local = pen.word("mailboxes")
    elif draw < 0.65:
        local = _login(pen, draw < 0.5)
    else:
        local = _plain(pen.word("first_names", fresh=_FRESH))
        if draw < 0.75:
            local += str(random.randint(1, 99))
    return f"{local}@{_domain(pen)}"


def host(random: Random, held: bool) -> str:
    """A host name: 'db3.eu.corven.net', 'mail.example.org', 'rivet-07'."""
    pen = Pen(random, held=held)
    draw = random.random()
    if draw < 0.35:
        return f"{pen.word('host_heads')}.{_domain(pen)}"
    if draw < 0.55:
        return f"{pen.word('host_heads')}{random.randint(1, 20)}.{_domain(pen)}"
    if draw < 0.75:
        return _domain(pen)
    return f"{_word(pen)}-{random.randint(1, 99):02d}"


def url(random: Random, held: bool) -> str:
    """A web address."""
    pen = Pen(random, held=held)
    start = random.choice(("https://", "https://", "https://", "http://", "https://www."))
    text = f"{start}{_domain(pen)}"
    for _ in range(random.choice((0, 1, 1, 2, 2, 3))):
        text += f"/{_word(pen)}"
    draw = random.random()
    if draw < 0.15:
        value = random.choice((random.randint(1, 999), _word(pen)))
        return f"{text}?{random.choice(('q', 'id', 'page', 'ref'))}={value}"
    return f"{text}/{random.randint(1, 9999)}" if draw < 0.3 else text


def _stem(pen: Pen) -> str:
    draw = pen.random.random()
    name = _word(pen)
    if draw < 0.4:
        return name
    if draw < 0.8:
        return f"{name}{pen.random.choice('_-')}{_word(pen)}"
    return f"{name}_{pen.random.choice((2024, 2025, 2026, 'v2', 'final', 'draft', 'old', 1, 2, 3))}"


def filename(random: Random, held: bool) -> str:
    """The name of a file."""
    pen = Pen(random, held=held)
    return f"{_stem(pen)}.{pen.word('extensions')}"


def folder(random: Random, held: bool) -> str:
    """The name or path of a folder."""
    pen = Pen(random, held=held)
    draw = random.random()
    if draw < 0.4:
        return _stem(pen)
    if draw < 0.6:
        name = _word(pen)
        return name.capitalize()
    steps = "/".join(_stem(pen) for _ in range(random.choice((1, 2, 2, 3))))
    start = random.choice(("/", "/home/", "~/", "/var/", "./", ""))
    return f"{start}{steps}{random.choice(('', '/'))}"


def path(random: Random, held: bool) -> str:
    """The path of a file."""
    pen = Pen(random, held=held)
    steps = [_word(pen) for _ in range(random.choice((0, 1, 1, 2, 2, 3)))]
    steps.append(f"{_stem(pen)}.{pen.word('extensions')}")
    start = random.choice(("", "", "", "/", "./", "/home/", "/etc/", "~/", "/tmp/", "C:/", "../"))
    return start + "/".join(steps)


def branch(random: Random, held: bool) -> str:
    """A branch of a repository."""
    pen = Pen(random, held=held)
    draw = random.random()
    if draw < 0.2:
        return pen.word("branches")
    if draw < 0.35:
        return f"release/{random.randint(0, 9)}.{random.randint(0, 20)}"
    if draw < 0.45:
        return f"{_word(pen)}-{random.randint(1, 999)}"
    head = random.choice(("feature", "fix", "hotfix", "chore", "bugfix", "docs", "wip"))
    return f"{head}/{_stem(pen).replace('_', '-')}"


def commit(random: Random, held: bool) -> str:
    """A commit hash, mostly short."""
    return _hex(random, random.choice((7, 7, 7, 8, 10, 40)))


def version(random: Random, held: bool) -> str:
    """A version of something: '1.4.2', 'v2.0', '3.1.0-rc.1'."""
    numbers = ".".join(
        str(random.randint(0, top)) for top in (12, 30, 20)[: random.choice((2, 3, 3, 3))]
    )
    draw = random.random()
    if draw < 0.25:
        return f"v{numbers}"
    if draw < 0.35:
        stage = random.choice(("rc", "beta", "alpha")) + random.choice(("", "."))
        return f"{numbers}-{stage}{random.randint(1, 5)}"
    return numbers


def _coded(frames: str, random: Random, held: bool) -> str:
    pen = Pen(random, held=held)
    return written(pen, frames, fresh=_FRESH)


sql = partial(_coded, "sql_frames")
code = partial(_coded, "code_frames")
regex = partial(_coded, "regex_frames")
glob = partial(_coded, "glob_frames")


def phone(random: Random, held: bool) -> str:
    """A telephone number."""
    first, second, third = (
        random.randint(200, 989),
        random.randint(200, 999),
        random.randint(0, 9999),
    )
    return random.choice(_PHONES).format(
        first, second, third, random.randint(20, 98), random.randint(20, 99)
    )


_PHONES = (
    "{0}-{1}-{2:04d}", "({0}) {1}-{2:04d}", "+1 {0} {1} {2:04d}", "+{3} {4} {1} {2:04d}",
    "555-{2:04d}", "+1{0}{1}{2:04d}", "+{3}{4}{0}{1}{2:04d}", "0{4} {1} {2:04d}", "{0}.{1}.{2:04d}",
)  # fmt: skip


def hex_color(random: Random, held: bool) -> str:
    """A colour as '#1e90ff'."""
    text = f"#{random.getrandbits(24):06x}"
    return text.upper() if random.random() < 0.4 else text


def ticker(random: Random, held: bool) -> str:
    """A stock symbol, known or not."""
    if random.random() < 0.6:
        return lexicon("tickers").pick(random, held=held)
    return _letters(random, random.choice((3, 3, 4, 4, 2)), held)


def airport(random: Random, held: bool) -> str:
    """An airport's three letters."""
    if random.random() < 0.8:
        return lexicon("airports").pick(random, held=held)
    return _letters(random, 3, held)


def _letters(random: Random, size: int, held: bool) -> str:
    """Letters by chance; the held-out ones of the lists are not met by it."""
    while True:
        text = "".join(random.choices(_CAPITALS, k=size))
        if is_held(text) == held:
            return text


def isbn(random: Random, held: bool) -> str:
    """An ISBN of 13 digits, its last one right."""
    body = f"97{random.choice('889')}{random.randrange(10**9):09d}"
    check = -sum(int(d) * (3 if place % 2 else 1) for place, d in enumerate(body)) % 10
    if random.random() < 0.5:
        return f"{body}{check}"
    return f"{body[:3]}-{body[3]}-{body[4:8]}-{body[8:]}-{check}"


def ip(random: Random, held: bool) -> str:
    """An IPv4 address."""
    head = random.choice(("10.{}", "192.168", "172.16", "{}.{}", "{}.{}"))
    head = head.format(random.randint(11, 223), random.randint(0, 255))
    return f"{head}.{random.randint(0, 255)}.{random.randint(1, 254)}"


def table(random: Random, held: bool) -> str:
    """A table of a database."""
    pen = Pen(random, held=held)
    draw = random.random()
    if draw < 0.5:
        return pen.word("tables", fresh=_FRESH)
    name = f"{_word(pen)}_{pen.word('tables')}"
    return (
        f"{random.choice(('public', 'app', 'sales', 'dw', 'raw'))}.{name}" if draw < 0.6 else name
    )


def column(random: Random, held: bool) -> str:
    """A column of a table."""
    pen = Pen(random, held=held)
    if random.random() < 0.65:
        return pen.word("columns", fresh=0.2)
    return f"{_word(pen)}_{pen.word('column_ends')}"

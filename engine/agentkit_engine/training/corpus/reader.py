"""The reader of domain files, whose grammar is in docs/corpus.md.

Gathers all that is wrong with a file before it says so. Knows kinds of values and what tools are
described by. Must not know how a request or a conversation comes about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from agentkit_engine.errors import EngineError
from agentkit_engine.training.corpus.described import Argument, Frame, Group, Result, Tool
from agentkit_engine.training.corpus.kinds import (
    KINDS,
    Kind,
    flag,
    integers,
    list_of,
    numbers,
    one_of,
    vocabulary,
)

_HANDLE = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\.\.(-?\d+(?:\.\d+)?)")
_BRACKETS = re.compile(r"[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*")
_OPTION = re.compile(r"([^()]+?)\s*(?:\(([^()]*)\))?")


class CorpusError(EngineError):
    """A domain file breaks the grammar; the message names file, line and what is wrong."""


def read(text: str, *, where: str) -> tuple[Tool, ...]:
    """The tools of one domain file.

    Raises:
        CorpusError: everything that is wrong with it, a line each.
    """
    reader = _Reader(where)
    for number, line in enumerate(text.splitlines(), 1):
        reader.take(number, line.strip())
    reader.finish()
    if reader.faults:
        raise CorpusError("\n".join(reader.faults))
    return tuple(reader.tools)


@dataclass(slots=True)
class _Draft:
    """A tool of which more lines may come."""

    line: int
    names: tuple[str, ...]
    descriptions: list[str] = field(default_factory=list[str])
    arguments: dict[str, Argument] = field(default_factory=dict[str, Argument])
    frames: list[Frame] = field(default_factory=list[Frame])
    results: list[Result] = field(default_factory=list[Result])


class _Reader:
    """Takes line after line; what is wrong is gathered rather than raised at once."""

    def __init__(self, where: str) -> None:
        self.tools: list[Tool] = []
        self.faults: list[str] = []
        self._where, self._line = where, 0
        self._domain = ""
        self._kinds: dict[str, Kind] = {}
        self._draft: _Draft | None = None
        self._statements: Mapping[str, Callable[[str], None]] = {
            "domain": self._name_domain, "words": self._words, "tool": self._tool,
            "does": self._does, "arg": self._arg, "say": self._say, "gives": self._gives,
        }  # fmt: skip

    def take(self, number: int, line: str) -> None:
        """Reads one line."""
        self._line = number
        if not line or line.startswith("#"):
            return
        word, _, rest = line.partition(" ")
        statement = self._statements.get(word)
        if statement is None:
            known = ", ".join(self._statements)
            self._fault(number, f"{word!r} begins no statement; known: {known}")
            return
        try:
            statement(rest.strip())
        except CorpusError as error:
            self._fault(number, str(error))

    def finish(self) -> None:
        """Ends the tool at hand."""
        draft, self._draft = self._draft, None
        if draft is None:
            return
        if not draft.descriptions or len(draft.frames) < 2:
            self._fault(draft.line, f"tool {draft.names[0]!r} needs a 'does' and two 'say'")
            return
        faults = list(_mistakes(draft))
        for fault in faults:
            self._fault(draft.line, f"tool {draft.names[0]!r}: {fault}")
        if not faults:
            self.tools.append(
                Tool(
                    self._domain, len(self.tools), draft.names, tuple(draft.descriptions),
                    _nested(draft.arguments), tuple(draft.frames), tuple(draft.results),
                )
            )  # fmt: skip

    def _fault(self, line: int, text: str) -> None:
        self.faults.append(f"{self._where}:{line}: {text}")

    def _open(self) -> _Draft:
        if self._draft is None:
            raise CorpusError("this statement belongs to a tool, and none was begun")
        return self._draft

    def _name_domain(self, rest: str) -> None:
        name = rest.partition(":")[0].strip()
        if not re.fullmatch("[a-z]+", name):
            raise CorpusError("a domain is 'domain NAME: what it is about', the name one word")
        self._domain = name

    def _words(self, rest: str) -> None:
        name, _, listed = rest.partition(":")
        entries = [entry.strip() for entry in listed.split(",") if entry.strip()]
        if not name.strip() or len(entries) < 4:
            raise CorpusError("a vocabulary is 'words NAME: a, b, c' with four entries at least")
        self._kinds[name.strip()] = vocabulary(entries)

    def _tool(self, rest: str) -> None:
        self.finish()
        names = tuple(_split(rest, "|"))
        if not (self._domain and names):
            raise CorpusError("a tool is 'tool NAME | OTHER NAME', behind the 'domain' of its file")
        for name in names:
            if not re.fullmatch(r"[a-z][a-z0-9]*( [a-z0-9]+)+", name):
                raise CorpusError(f"the name {name!r} is not two or more lower-case words")
        self._draft = _Draft(self._line, names)

    def _does(self, rest: str) -> None:
        self._open().descriptions.append(rest)

    def _arg(self, rest: str) -> None:
        draft = self._open()
        head, equals, tail = rest.partition(" = ")
        if not equals:
            raise CorpusError("an argument is 'arg NAME = KIND : DESCRIPTION'")
        required = head.rstrip().endswith("!")
        names = tuple(_split(head.rstrip().rstrip("!"), " / "))
        for name in names:
            if not re.fullmatch(r"[a-z][a-z0-9 ]*(\.[a-z][a-z0-9 ]*)?", name):
                raise CorpusError(f"the argument name {name!r} is not lower-case words")
        kind, _, described = tail.partition(" : ")
        descriptions = tuple(_split(described, " / "))
        kind = kind.strip()
        made = None if kind == "object" else self._kind(kind)
        if names[0] in draft.arguments:
            raise CorpusError(f"a second argument {names[0]!r}")
        draft.arguments[names[0]] = Argument(names, required, made, descriptions)

    def _kind(self, text: str) -> Kind:
        known = self._kinds.get(text) or KINDS.get(text)
        if known is not None:
            return known
        word, _, rest = text.partition(" ")
        match word:
            case "integer" | "number":
                found = _RANGE.fullmatch(rest.strip())
                if not found:
                    raise CorpusError(f"{text!r} is not '{word} LOW..HIGH'")
                return _range(word, found[1], found[2])
            case "one":
                options = list(_options(rest))
                if not options:
                    raise CorpusError("an enumeration is 'one VALUE (synonym; synonym) | VALUE'")
                return one_of(options)
            case "flag":
                yes, _, no = rest.partition("|")
                if not (yes.strip() or no.strip()):
                    raise CorpusError("a flag is 'flag YES WORDS | NO WORDS', one of them at least")
                return flag(yes.strip(), no.strip())
            case "list":
                return list_of(self._kind(rest.removeprefix("of ").strip()))
            case _:
                raise CorpusError(f"no kind {text!r}; define it with 'words {text}: ...'")

    def _say(self, rest: str) -> None:
        self._open().frames.append(_frame(rest))

    def _gives(self, rest: str) -> None:
        for piece in _split(rest, ","):
            name, equals, kind = (part.strip() for part in piece.partition("="))
            if not equals:
                raise CorpusError(f"{piece!r} is not 'name = KIND' or 'name = {{handle}}'")
            echo = _HANDLE.fullmatch(kind)
            kind = "flag yes | no" if kind == "flag" else kind  # nobody says it
            made = Result(name, None, echo[1]) if echo else Result(name, self._kind(kind))
            self._open().results.append(made)


def _split(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def _range(word: str, first: str, last: str) -> Kind:
    low, high = float(first), float(last)
    if low >= high or (word == "integer" and not (low.is_integer() and high.is_integer())):
        raise CorpusError(f"there is no {word} range from {first} to {last}")
    return integers(int(low), int(high)) if word == "integer" else numbers(low, high)


def _options(text: str) -> Iterator[tuple[str, list[str]]]:
    for piece in _split(text, "|"):
        found = _OPTION.fullmatch(piece)
        if not found:
            raise CorpusError(f"{piece!r} is not 'VALUE' or 'VALUE (synonym; synonym)'")
        yield found[1], _split(found[2] or "", ";")


def _frame(text: str) -> Frame:
    if not _BRACKETS.fullmatch(text):
        raise CorpusError("the brackets do not match, or one group is in another")
    groups: list[Group] = []
    for place, piece in enumerate(re.split(r"[\[\]]", text)):
        parts = tuple(_HANDLE.split(piece))
        if any(mark in "".join(parts[::2]) for mark in "{}|"):
            raise CorpusError(f"a brace or bar in {piece!r} that is no handle")
        if piece:
            groups.append(Group(bool(place % 2), parts))
    if all(group.optional for group in groups):
        raise CorpusError("a request needs words outside brackets")
    return Frame(tuple(groups))


def _nested(arguments: Mapping[str, Argument]) -> tuple[Argument, ...]:
    """Members go into the object before their dot."""
    found: list[Argument] = []
    for argument in arguments.values():
        if "." in argument.names[0]:
            continue
        inside = tuple(
            Argument(tuple(n.partition(".")[2] for n in m.names), m.required, m.kind,
                     m.descriptions)
            for m in arguments.values()
            if m.names[0].partition(".")[0] == argument.names[0] and "." in m.names[0]
        )  # fmt: skip
        found.append(
            Argument(
                argument.names, argument.required, argument.kind, argument.descriptions, inside
            )
        )
    return tuple(found)


def _strays(known: Mapping[str, Argument]) -> Iterator[str]:
    """Members without an object, objects without members."""
    for name, argument in known.items():
        parent, dot, _ = name.partition(".")
        if dot and (parent not in known or known[parent].kind is not None):
            yield f"the member {name!r} has no object {parent!r}"
        if any(other.partition(".")[:2] != (parent, dot) for other in argument.names if dot):
            yield f"every name of the member {name!r} begins with '{parent}.'"
        if argument.kind is None and not any(other.startswith(f"{name}.") for other in known):
            yield f"the object {name!r} has no members"


def _mistakes(draft: _Draft) -> Iterator[str]:
    """What no single line tells: handles nobody declared, or that must be said and are not."""
    known = draft.arguments
    yield from _strays(known)
    sayable = {name for name, argument in known.items() if argument.kind is not None}
    said: set[str] = set()
    for number, frame in enumerate(draft.frames, 1):
        said |= set(frame.handles)
        for unknown in sorted(set(frame.handles) - sayable):
            yield f"frame {number} says {{{unknown}}}, which is no argument with a value"
        always = {h for group in frame.groups if not group.optional for h in group.handles}
        for name in sorted(sayable):
            owner = known.get(name.partition(".")[0], known[name])
            if known[name].required and owner.required and name not in always:
                yield f"frame {number} must say {{{name}}}, outside brackets"
        if len(frame.handles) != len(set(frame.handles)):
            yield f"frame {number} says a value twice"
    for unsaid in sorted(sayable - said):
        yield f"no frame says {{{unsaid}}}"
    for result in draft.results:
        if result.echo and result.echo not in sayable:
            yield f"gives echoes {{{result.echo}}}, which is no argument with a value"

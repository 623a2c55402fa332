"""The work of a decision: which calls are made and with what, or what is answered.

Knows turns, the rows of a turn, and what a forward costs. Must not know agents or schedulers.

The choice, the arguments of every candidate and the answer are rows of one batch over the shared
context, so that one forward decides the whole turn; where that is dearer than two forwards, the
choice is made first and only what was chosen is filled. Several calls are one canvas, one behind
the other, where the layout can choose several at once; else they are decided on in turn, each
behind those before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentkit_engine.denoisers import Prefix
from agentkit_engine.filling.beliefs import Solved
from agentkit_engine.filling.course import course_of
from agentkit_engine.filling.denoise import Denoising
from agentkit_engine.filling.drafts import Reads
from agentkit_engine.filling.outcome import Answer, Call, Decision, DraftCall
from agentkit_engine.filling.settings import Batch
from agentkit_engine.filling.turn import Turn
from agentkit_engine.layouts.forms import Choice, Form
from agentkit_engine.layouts.joined import joined
from agentkit_engine.scheduling.work import Work, encode
from agentkit_engine.template import Schema

__all__ = ["decide"]


def decide(
    turn: Turn,
    calls: Mapping[str, Schema],
    *,
    answer: Schema | None = None,
    answer_tokens: int | None = None,
    most: int,
    must_call: bool = False,
    batch: Batch | None,
) -> Work[Decision]:
    """Chooses at most `most` of `calls` and fills them, or answers.

    What it needs is compiled at once: the work begins with what that gave.

    Args:
        calls: name -> schema of its arguments; without any it answers, and nothing is chosen.
        answer: the schema of answers; None for words, `answer_tokens` at most.
        must_call: it does not answer.
        batch: as told, or what is cheaper here.
    """
    forms = turn.runtime.turn_forms(
        calls,
        answer=answer,
        answer_tokens=answer_tokens,
        layout=turn.settings.layout,
        at_once=most,
        must_call=must_call,
    )
    if not calls:
        return _answered(turn, forms[-1])
    return _decided(turn, tuple(calls), forms, most, batch)


def _answered(turn: Turn, form: Form) -> Work[Decision]:
    behind = yield from turn.prefix()

    def read(solved: Solved | None) -> Reads:
        return turn.reads(form, solved) if solved else Reads()

    solved = yield from turn.filled(form, behind, read)
    turn.say(solved.verified.said, solved.verified.prefix)
    return Decision(
        calls=(),
        answered=_answer(turn, form, solved),
        choice={"": 1.0},
        batch="whole",
        **turn.effort(),
    )


def _decided(
    turn: Turn, offered: tuple[str, ...], forms: Sequence[Form], most: int, batch: Batch | None
) -> Work[Decision]:
    behind = yield from turn.prefix()
    rounds: list[_Round] = []
    made: list[Call] = []
    said: tuple[int, ...] = ()
    answer: Answer | None = None
    end: Prefix | None = behind
    while len(made) < most:
        one = _Round(turn, offered, forms, behind, batch=batch, before=made)
        rounds.append(one)
        yield from one.choose()
        if made and not one.names:
            break
        solved = yield from one.solved()
        said, end = (*said, *solved.verified.said), solved.verified.prefix
        if not one.names:
            answer = _answer(turn, forms[-1], solved)
            break
        made += one.made(solved)
        if one.last:
            break
        if len(made) < most:
            end = behind = end or (yield from encode(solved.verified.said, behind))
            choice = turn.runtime.forms.choice(
                offered, layout=turn.settings.layout, at_once=most - len(made)
            )
            forms = [choice, *forms[1:]]
    turn.say(said, end)
    return Decision(
        calls=tuple(made),
        answered=answer,
        choice=rounds[0].choice,
        batch=rounds[0].batch,
        **turn.effort(),
    )


class _Round:
    """One choice, of one or several calls or an answer, and what was chosen.

    Attributes:
        names: the calls chosen; none for an answer.
        last: whether the model said that no more is to be called.
        choice: name -> probability, of the first call; answering stands under "".
        batch: whether all candidates went along with the choice.
    """

    def __init__(
        self,
        turn: Turn,
        offered: Sequence[str],
        forms: Sequence[Form],
        prefix: Prefix,
        *,
        batch: Batch | None,
        before: Sequence[Call],
    ) -> None:
        """
        Args:
            offered: names of calls.
            forms: as `Runtime.turn_forms` gives them.
            before: calls made in earlier rounds.
        """
        self._turn, self._prefix, self._before = turn, prefix, tuple(before)
        self._room = turn.runtime.denoiser.canvas_length
        self._offered, self._forms = offered, forms
        wide = any(form.width > self._room for form in self._forms)
        # of the forms, those that are rows of the first forward: where something is to be filled in
        self._rows = [number for number, form in enumerate(self._forms) if form.regions]
        if len(_options(self._forms[0])) == len(offered):  # it can't answer
            self._rows = [number for number in self._rows if number <= len(offered)]
        self.batch: Batch = "choice-first" if wide else batch or self._cheaper()
        if self.batch != "whole":
            self._rows = [0]
        self.names: tuple[str, ...] = ()
        self.last = True
        self.choice: dict[str, float] = {}

    def choose(self) -> Work[None]:
        """Denoises the choice; and with it, in one batch, whatever may be chosen."""
        rows = [self._forms[number] for number in self._rows]
        self._denoising = yield from self._turn.denoised(
            self._prefix, rows, self._wanted, self._read_choice
        )
        self._turn.positions += rows[0].free
        shares = self._denoising.filled(0).shares
        chosen = self._chosen(self._denoising)
        self.names = tuple(self._offered[number] for number in chosen)
        self.last = len(chosen) < len(shares)
        forms = self._forms_of(self.names)
        if len(forms) > 1 and sum(form.width for form in forms) > self._room:
            self.names, self.last = self.names[:1], False  # the others are decided on again
        self.choice = dict.fromkeys([*self._offered, ""], 0.0)
        self.choice |= zip(self.choice, shares[0], strict=False)  # which may lack the answer's

    def solved(self) -> Work[Solved]:
        """What was chosen, filled and verified."""
        forms = self._forms_of(self.names)
        number = self._number(self._chosen(self._denoising))
        if len(forms) == 1 and number in self._rows:
            row = self._rows.index(number)
            return (yield from self._turn.solved(self._denoising, row, self._prefix, self._read))
        form = forms[0] if len(forms) == 1 else joined(forms, self._room)
        return (yield from self._turn.filled(form, self._prefix, self._read))

    def made(self, solved: Solved) -> list[Call]:
        """The calls that were filled."""
        return self._calls(self.names, solved)

    def _calls(self, names: Sequence[str], solved: Solved) -> list[Call]:
        about = self._turn.values(solved, self._forms_of(names), turn=True)
        return [
            Call(name=name, arguments=value, **rest)
            for name, (value, rest) in zip(names, about, strict=True)
        ]

    def _read(self, solved: Solved | None) -> Reads:
        """What was chosen as it reads in a draft, behind the calls of earlier rounds."""
        return self._read_as(self.names, solved)

    def _read_as(self, names: Sequence[str], solved: Solved | None) -> Reads:
        before = Reads(self._before, len(self._before))
        if solved is None or (self._before and not names):
            return before
        forms = self._forms_of(names)
        if not names:
            return self._turn.reads(forms[0], solved)
        settled = _settled(forms, solved)
        calls = [
            call if number < settled else DraftCall(call.name, call.arguments)
            for number, call in enumerate(self._calls(names, solved))
        ]
        return Reads((*self._before, *calls), len(self._before) + settled)

    def _read_choice(self, denoising: Denoising | None) -> Reads:
        """What the choice falls on so far, where that is filled along with it."""
        chosen = self._chosen(denoising) if denoising else []
        number = self._number(chosen)  # of the form
        if denoising is None or len(chosen) > 1 or number not in self._rows:
            return self._read_as((), None)
        names = [self._offered[number] for number in chosen]
        row = denoising.filled(self._rows.index(number))
        return self._read_as(names, self._turn.drafted(row.form, row.tokens))

    def _wanted(self, denoising: Denoising) -> tuple[int, ...]:
        """The choice, and the row it falls on if that is among those denoised."""
        chosen = self._chosen(denoising)
        number = self._number(chosen)
        if len(chosen) > 1 or number not in self._rows:
            return (0,)
        return (0, self._rows.index(number))

    def _chosen(self, denoising: Denoising) -> list[int]:
        """The calls' numbers, up to where the likeliest is none."""
        found: list[int] = []
        for shares in denoising.filled(0).shares:
            number = shares.index(max(shares))
            if number == len(self._offered):
                break
            found.append(number)
        return found

    def _number(self, chosen: Sequence[int]) -> int:
        """Of the form for what is chosen: behind the choice one a call, then the answer."""
        return 1 + (chosen[0] if chosen else len(self._offered))

    def _forms_of(self, names: Sequence[str]) -> list[Form]:
        """One a call; the answer's for none."""
        return [self._forms[1 + self._offered.index(name)] for name in names] or [self._forms[-1]]

    def _cheaper(self) -> Batch:
        """By the cost of forwards as it was measured here: one of all rows, or two of few."""
        choice, *rows = (self._forms[number].width for number in self._rows)
        if not rows:  # whatever may be chosen says what it says
            return "whole"
        mean = sum(rows) // len(rows)
        costs = self._turn.runtime.costs
        apart = costs.cheaper_apart(choice + sum(rows), [choice, mean])
        return "choice-first" if apart else "whole"


def _options(choice: Form) -> Sequence[tuple[int, ...] | None]:
    """What may be chosen first."""
    first = choice.regions[0]
    assert isinstance(first, Choice)
    return first.sequences


def _answer(turn: Turn, form: Form, solved: Solved) -> Answer:
    ((value, about),) = turn.values(solved, [form], turn=True)
    return Answer(
        value=value,
        text=turn.text(form, value),
        words=form.plain,
        full=form.full(solved.verified.tokens),
        **about,
    )


def _settled(forms: Sequence[Form], solved: Solved) -> int:
    """How many of the calls in one row lie wholly in what is certain of it."""
    left, start = len(solved.verified.said), 0
    for number, form in enumerate(forms):
        course = course_of(form)
        assert course is not None  # calls are said
        left -= len(course.said(solved.verified.tokens[start : start + form.width]))
        if left < 0:
            return number
        start += form.width
    return len(forms)

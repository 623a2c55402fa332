"""Works of a turn: a template filled behind a context, rejected values filled again.

Knows contexts, forms, denoising and verifying, and in which order they come. Must not know threads,
schedulers or agents. What it offers are works (`scheduling.work`): they ask for forwards and wait
for nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from agentkit_engine.contexts.context import Context
from agentkit_engine.denoisers import Prefix
from agentkit_engine.errors import TemplateError, UnsatisfiableSchema
from agentkit_engine.filling.beliefs import Beliefs, Solved
from agentkit_engine.filling.canvases import Piece, beginning, piece_of, spans
from agentkit_engine.filling.course import course_of
from agentkit_engine.filling.denoise import Clock, Denoising
from agentkit_engine.filling.drafts import Reader, Reads, RowsReader, drawn, steady, unread
from agentkit_engine.filling.outcome import Filling, Origin, Timings
from agentkit_engine.filling.settings import Settings, Verify
from agentkit_engine.filling.solution import require_filling
from agentkit_engine.filling.verify import Certain, Verified, verified
from agentkit_engine.layouts.forms import Form
from agentkit_engine.patience import keep_on
from agentkit_engine.runtime import Runtime
from agentkit_engine.scheduling.work import Work, emit, encode
from agentkit_engine.template import Template

__all__ = ["Turn"]


class Turn:
    """What is filled in behind one context, by one set of settings.

    Attributes:
        clock: what it has taken.
        positions: that were filled.
        prompt_tokens: of the context, once it is encoded.
        cached_tokens: those of them that were found encoded.
    """

    def __init__(
        self,
        runtime: Runtime,
        context: Context,
        settings: Settings,
        *,
        encode_seconds: float = 0.0,
        drafts: bool = False,
    ) -> None:
        """
        Args:
            encode_seconds: spent on the context already.
            drafts: whether each step's draft is emitted.
        """
        self.runtime, self.settings, self._context = runtime, settings, context
        self._mode: Verify = settings.verify_by(runtime.denoiser.causal)
        self._spoken = runtime.checkpoint.dialect.spoken
        self._drafts = drafts
        self._began = time.perf_counter()
        self._agreed: list[bool | None] = []
        self.clock = Clock(encode=encode_seconds)
        self.positions = self.prompt_tokens = self.cached_tokens = 0

    def infill(self, template: Template, *, width: int | None = None) -> Work[Filling]:
        """Fills a template, which is compiled at once: the work begins with what that gave."""
        layout = self.settings.layout
        return self._filling(self.runtime.forms.template(template, layout=layout, width=width))

    def refill(self, origin: Origin, pointers: Sequence[str]) -> Work[Filling]:
        """Fills the values at `pointers` with others; all else stays. Compiled at once."""
        form, rows = origin.form, (origin.tokens, *origin.earlier)
        keep_on()
        assert form.without is not None  # as all forms of templates and calls have it
        if not pointers:
            raise TemplateError("nothing was rejected; name the values by their JSON pointers")
        if form.plain and any(pointers):
            raise TemplateError(f"a text was filled in, whose one pointer is '', not {pointers!r}")
        try:
            other = replace(form.without(rows, pointers), plain=form.plain)
        except UnsatisfiableSchema as error:
            raise UnsatisfiableSchema(pointers[0], "what is valid was rejected") from error
        return self._refilling(other, replace(origin, earlier=rows))

    def prefix(self) -> Work[Prefix]:
        """The encoded context."""
        began = time.perf_counter()
        prefix = yield from self._context.prefix()
        self.clock.encode += time.perf_counter() - began
        self._began = time.perf_counter()
        self.prompt_tokens = prefix.length
        self.cached_tokens = max(0, prefix.length - self._context.take_fresh())
        return prefix

    def denoised(
        self,
        prefix: Prefix,
        forms: Sequence[Form],
        wanted: Callable[[Denoising], Sequence[int]],
        read: RowsReader = unread,
    ) -> Work[Denoising]:
        """Rows, denoised as far as the settings say.

        Args:
            wanted: which of them are to be filled after a step.
            read: for drafts.
        """
        denoising = Denoising(
            prefix,
            forms,
            noise=self.runtime.noise,
            settings=self.settings,
            clock=self.clock,
        )
        yield from self._run(denoising, lambda: wanted(denoising), read)
        return denoising

    def filled(self, form: Form, prefix: Prefix, read: Reader = unread) -> Work[Solved]:
        """A form, denoised and verified; canvas by canvas where one has no room for it.

        Then nothing is verified: the causal encoder is not asked across canvases.
        """
        self._verify_of(form)  # what can't be had is refused before a forward is spent
        if not form.regions:
            return self.literal(form)
        if form.width > self.runtime.denoiser.canvas_length:
            return (yield from self._canvas_by_canvas(form, prefix, read))
        require_filling(form, self.settings.bias)

        def reads(rows: Denoising | None) -> Reads:
            return read(self.drafted(form, rows.filled(0).tokens) if rows else None)

        denoising = yield from self.denoised(prefix, [form], _first_row, reads)
        return (yield from self.solved(denoising, 0, prefix, read))

    def literal(self, form: Form) -> Solved:
        """A form in which nothing is free: it says what it says."""
        tokens, course = tuple(token or 0 for token in form.tokens), course_of(form)
        said = course.said(tokens) if course else ()
        return Solved(form, (), Verified(tokens, said, None, None, 1))

    def drafted(self, form: Form, tokens: Sequence[int]) -> Solved:
        """A row that is not done yet: none of it is certain."""
        return Solved(form, (), Verified(tuple(tokens), (), None, None, 0))

    def solved(
        self, denoising: Denoising, row: int, prefix: Prefix, read: Reader = unread
    ) -> Work[Solved]:
        """A denoised row, verified."""
        form, free = denoising.form(row), (Piece(0, denoising.filled(row)),)

        def again(rest: Denoising, certain: Certain) -> Work[None]:
            def reads(rows: Denoising | None) -> Reads:
                known = certain()
                if rows is None:
                    return read(Solved(form, free, known)).certain
                return read(Solved(form, free, replace(known, tokens=rows.filled(0).tokens)))

            return self._run(rest, lambda: (0,), reads)

        done = yield from verified(
            self._verify_of(form),
            denoising,
            row,
            prefix,
            settings=self.settings,
            clock=self.clock,
            again=again,
        )
        self._agreed.append(done.agreed)
        self.positions += form.free
        return Solved(form, free, done)

    def say(self, said: Sequence[int], prefix: Prefix | None) -> None:
        """The model has said `said` behind the context; `prefix` is encoded with it."""
        self._context.say(said, self.runtime.said_text(said), prefix)

    def effort(self) -> dict[str, Any]:
        """The fields of an `Effort`."""
        clock = self.clock
        agreed = None if None in self._agreed else all(self._agreed)
        return {
            "forwards": clock.forwards,
            "passes": clock.passes,
            "tokens": self.positions,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "elapsed": time.perf_counter() - self._began,
            "agreed": agreed if self._agreed else None,
            "timings": Timings(clock.encode, clock.denoise, clock.verify, clock.lattice),
        }

    def values(
        self, solved: Solved, forms: Sequence[Form], *, turn: bool = False
    ) -> list[tuple[Any, dict[str, Any]]]:
        """The value of each of the forms that make up a row, and the fields of its `Value`.

        Args:
            turn: as an `Origin` has it.
        """
        tokens, start = solved.verified.tokens, 0
        found: list[tuple[Any, dict[str, Any]]] = []
        for number, form in enumerate(forms):
            own = tokens[start : start + form.width]
            head = f"/{number}" if len(forms) > 1 else ""
            value, known = form.read(own), self.runtime.vocabulary
            beliefs = Beliefs(solved, known, self.settings.bias, value, form.plain, head)
            found.append((value, {"beliefs": beliefs, "origin": Origin(form, own, turn)}))
            start += form.width
        return found

    def reads(self, form: Form, solved: Solved) -> Reads:
        """A row of which no call is read, as it reads in a draft."""
        text = self.text(form, form.read(solved.verified.tokens))
        return Reads(answer=text, said=self._said_text(form, solved.verified.said))

    def text(self, form: Form, value: Any) -> str:
        """What was filled in, as text."""
        if form.plain:
            return str(value)
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def _said_text(self, form: Form, said: Sequence[int]) -> str:
        """What a text begins with that begins with these tokens; of JSON, nothing is told."""
        known = self.runtime.forms.writing
        # the last character may be there in part
        return known.surface(said).decode(errors="ignore") if form.plain else ""

    def _refilling(self, form: Form, origin: Origin) -> Work[Filling]:
        """A filling that goes on from `origin` the next time."""
        filling = yield from self._filling(form)
        tokens = filling.origin.tokens
        if origin.turn:
            course = course_of(form) or course_of(origin.form)
            self.say(course.said(tokens) if course else (), None)
        return replace(filling, origin=replace(origin, tokens=tokens))

    def _filling(self, form: Form) -> Work[Filling]:
        prefix = yield from self.prefix()

        def read(solved: Solved | None) -> Reads:
            return self.reads(form, solved) if solved else Reads()

        solved = yield from self.filled(form, prefix, read)
        ((value, about),) = self.values(solved, [form])
        return Filling(
            value=value,
            text=self.text(form, value),
            full=form.full(solved.verified.tokens),
            **about,
            **self.effort(),
        )

    def _canvas_by_canvas(self, form: Form, prefix: Prefix, read: Reader) -> Work[Solved]:
        """A row in pieces, each filled behind those before, which alone are read in drafts."""
        known = self.runtime.checkpoint.tokens
        silent = (known.filler, known.absent, known.pad)
        parts = spans(form, self.runtime.denoiser.canvas_length)
        tokens: list[int] = []
        pieces: list[Piece] = []
        said: tuple[int, ...] = ()
        behind = prefix
        for number, span in enumerate(parts, 1):
            piece = piece_of(form, span, tokens, f"{form.name} {number}/{len(parts)}")
            if not piece.regions:
                tokens += [token or 0 for token in piece.tokens]
                continue
            before, said = said, beginning(form, tokens, silent)
            behind = yield from self._told(prefix, behind, before, said)
            so_far = steady(replace(read(None), said=self._said_text(form, said)))
            denoising = yield from self.denoised(behind, [piece], _first_row, so_far)
            pieces.append(Piece(span.start, denoising.filled(0)))
            tokens += pieces[-1].filled.tokens
        self._agreed.append(None)
        self.positions += form.free
        course = course_of(form)
        said = course.said(tokens) if course else ()
        return Solved(form, tuple(pieces), Verified(tuple(tokens), said, None, None, 1))

    def _told(
        self, prefix: Prefix, behind: Prefix, before: tuple[int, ...], said: tuple[int, ...]
    ) -> Work[Prefix]:
        """The context with `said` behind it; `behind` is that with `before`."""
        began = time.perf_counter()
        if said[: len(before)] != before:
            behind, before = prefix, ()
        if len(said) > len(before):
            behind = yield from encode(said[len(before) :], behind)
        self.clock.encode += time.perf_counter() - began
        return behind

    def _verify_of(self, form: Form) -> Verify:
        """The mode of verifying, for one form."""
        if self.settings.verify is None and form.role not in self._spoken:
            return "off"
        if not form.two_sided or self._mode != "exact":
            return self._mode
        if self.settings.verify == "exact":
            raise TemplateError(
                "verify='exact' can't be had for a hole before a text: the causal encoder reads "
                "from left to right and knows nothing of what stands behind; take 'off' or 'rerank'"
            )
        return "off"

    def _run(
        self, denoising: Denoising, wanted: Callable[[], Sequence[int]], read: RowsReader
    ) -> Work[None]:
        first, most = self.clock.forwards, self.settings.most_steps

        def on_step(done: int) -> Work[None]:
            if self._drafts:
                rows = wanted() if done else range(denoising.rows)
                reads = read(denoising if done else None)
                text, steps = self.runtime.token_text, (first, done, most)
                yield from emit(drawn(denoising, rows, text=text, steps=steps, reads=reads))

        yield from denoising.run(wanted, on_step=on_step)


def _first_row(_: Denoising) -> tuple[int, ...]:
    return (0,)

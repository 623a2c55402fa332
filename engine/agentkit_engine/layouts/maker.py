"""The maker of forms: templates, calls and choices of one checkpoint, compiled once.

Knows the layouts and which of them the checkpoint was taught. Must not know models.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any, Literal, TypeAlias

from agentkit_engine.errors import CanvasTooShort, LayoutError, TemplateError
from agentkit_engine.layouts.floating import Floating
from agentkit_engine.layouts.forms import Choice, Form, Writing
from agentkit_engine.layouts.slots import Slots
from agentkit_engine.patience import keep_on
from agentkit_engine.template import Schema, Template

__all__ = ["FormMaker", "Layout"]

Layout: TypeAlias = Literal["slots", "float"]

_SAID = r"\S[\s\S]*"
_MOST_KEPT = 1024  # forms of one engine: an agent has dozens


class FormMaker:
    """Compiles templates, calls and choices for one checkpoint; keeps what it compiled.

    Attributes:
        writing: how the checkpoint writes.
    """

    def __init__(self, writing: Writing) -> None:
        self.writing = writing
        makers: dict[Layout, type[Slots] | type[Floating]] = {"slots": Slots, "float": Floating}
        self._layouts = {name: makers[name](writing) for name in writing.dialect.layouts}
        self._kept: OrderedDict[Any, Form] = OrderedDict()  # the most recently used last
        self._lock = Lock()

    def template(self, template: Template, *, layout: Layout | None, width: int | None) -> Form:
        """A template by itself, on a row of at most `width` tokens.

        By default that is one canvas of the model; several where the template's shortest filling
        needs more, or where it says itself how long it may get.

        Raises:
            UnsupportedSchema, UnsatisfiableSchema: what the schema says can't be guaranteed.
            CanvasTooShort: the row, or eight canvases, are too short for any valid filling.
            LayoutError: the checkpoint does not know the layout.
        """
        if width is not None and width < 1:
            raise CanvasTooShort(needed=1, available=width)
        longest, canvas = self.writing.longest, self.writing.canvas_length
        room, limit = (min(width, longest),) * 2 if width else (canvas, longest)
        chosen = self._layout(layout)
        if template.kind in ("infill", "edit"):
            keep_on()
            # each stands between other texts
            return replace(chosen.template(template, min(room, canvas), canvas), plain=True)
        key = (repr(template), chosen, width)
        plain = template.kind != "json_schema"
        return self._keep(key, lambda: replace(chosen.template(template, room, limit), plain=plain))

    def call(self, name: str, parameters: Schema, *, layout: Layout | None) -> Form:
        """A call of `name`, its arguments by the schema `parameters`."""
        chosen = self._layout(layout)
        key = (name, json.dumps(parameters), chosen)
        return self._keep(key, lambda: replace(chosen.call(name, parameters), role="call"))

    def choice(
        self,
        names: Sequence[str],
        *,
        layout: Layout | None,
        at_once: int = 1,
        must_call: bool = False,
    ) -> Form:
        """Which of `names` is called; one option more than names, for none of them.

        Args:
            at_once: so many calls are chosen together, where the layout can say them and the canvas
                has room for their names.
            must_call: the first call has no such option.
        """
        chosen = self._layout(layout)
        one = self._keep((tuple(names), chosen, 1), lambda: chosen.choice(names))
        room = max(1, self.writing.canvas_length // one.width)
        calls = min(at_once, room) if chosen.several else 1
        form = self._keep((tuple(names), chosen, calls), lambda: chosen.choice(names, calls))
        return _calling(form) if must_call else form

    def answer(
        self,
        *,
        layout: Layout | None,
        schema: Schema | None = None,
        most_tokens: int | None = None,
    ) -> Form:
        """What ends the turn: JSON by a schema, or words, never none nor mere white space.

        Args:
            most_tokens: of words; by default one canvas of them.

        Raises:
            TemplateError: `most_tokens` is below 1.
            UnsupportedSchema, UnsatisfiableSchema, CanvasTooShort, LayoutError: as of `template`.
        """
        if schema is not None:  # its role stays a template's: a text of another kind
            said = Template.json_schema(schema)
            made = self.template(said, layout=layout, width=None)
            key = ("answer", repr(said), self._layout(layout))
            return self._keep(key, lambda: replace(made, name="answer"))
        if most_tokens is not None and most_tokens < 1:
            raise TemplateError(f"answer_tokens is {most_tokens}; at least 1 is needed")
        room = (self.writing.longest if most_tokens else self.writing.canvas_length) - 1
        taught = self.writing.dialect.answer_width or room
        words = Template.regex(_SAID, max_tokens=min(most_tokens or room, taught, room))

        def make() -> Form:
            form = self.template(words, layout=layout, width=None)
            return replace(form, name="answer", role="answer")

        return self._keep(("answer", words.max_tokens, self._layout(layout)), make)

    def _layout(self, wanted: Layout | None) -> Slots | Floating:
        known = self.writing.dialect.layouts
        if wanted is not None and wanted not in known:
            raise LayoutError(
                f"this checkpoint knows the layouts {', '.join(map(repr, known))}, not {wanted!r}; "
                f"leave layout out or take {known[0]!r}"
            )
        return self._layouts[wanted or known[0]]

    def _keep(self, key: Any, make: Callable[[], Form]) -> Form:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        keep_on()
        made = make()  # two threads may make the same at once; none waits for another's schema
        with self._lock:
            self._kept[key] = made
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return made


def _calling(choice: Form) -> Form:
    """A choice whose first is of a call, the option behind them all left out."""
    first, *others = choice.regions
    assert isinstance(first, Choice)
    return replace(choice, regions=(replace(first, sequences=first.sequences[:-1]), *others))

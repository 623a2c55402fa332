"""Asks the engine to fill a hole: prefix, choices, and what of them is certain already.

Knows the engine's sessions and fillings. Must not know any API.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from functools import partial

import anyio.to_thread

from agentkit_engine.errors import TemplateError
from agentkit_engine.filling.outcome import Filling, Token
from agentkit_engine.server.copilot.hole import Filled, Found, Hear, Hole
from agentkit_engine.server.copilot.showing import Showing, Shown
from agentkit_engine.server.stopping import Told
from agentkit_engine.server.transport.problems import Refused
from agentkit_engine.server.transport.service import Service
from agentkit_engine.server.transport.together import together
from agentkit_engine.session import Session


class Filler:
    """Fills holes with the engine of a server."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._showing = Showing(service.engine, most=service.limits.document_tokens)

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return self._showing.count(text)

    async def fill(self, hole: Hole, hear: Hear | None = None) -> Found:
        """What came of each choice.

        Args:
            hear: told more of a filling as soon as it is certain, all of it in the end.

        Raises:
            Refused: the pattern or the way of verifying can't be had; names the field.
            EngineError: as of `Session.extend` and `Session.infill`.
        """
        shown, session = await self._opened(hole)
        others: list[Session] = []
        try:
            await session.extend()
            others = [session.fork() for _ in range(hole.choices - 1)]
            choices: list[Callable[[], Awaitable[Filled]]] = [
                partial(self._choice, hole, shown, number, one, hear)
                for number, one in enumerate((session, *others))
            ]
            filled = await together(choices)
        except TemplateError as error:
            field = "pattern" if hole.pattern else "verify" if "verify" in hole.options else ""
            raise Refused(422, type(error).__name__, str(error), field) from error
        finally:
            for one in (session, *others):
                one.close()
        return Found(
            filled=tuple(filled),
            prompt_tokens=shown.tokens,
            cached_tokens=filled[0].filling.cached_tokens,
        )

    async def warm(self, hole: Hole) -> int:
        """Encodes what stands before a hole, for one that is asked for later; its tokens.

        Raises:
            EngineError: as of `Session.extend`.
        """
        shown, session = await self._opened(hole)
        try:
            await session.extend()
        finally:
            session.close()
        return shown.tokens

    async def _opened(self, hole: Hole) -> tuple[Shown, Session]:
        """What is shown, and a session behind its context; nothing is encoded yet."""
        show = partial(self._showing.of, hole)
        shown = await anyio.to_thread.run_sync(show, abandon_on_cancel=True)
        return shown, self._service.engine.document(*shown.context)

    async def _choice(
        self, hole: Hole, shown: Shown, number: int, session: Session, hear: Hear | None
    ) -> Filled:
        told = Told(hole.stop, partial(hear, number) if hear else None)
        options = hole.options.copy()
        options["seed"] = options.get("seed", 0) + number
        filling = await session.infill(
            shown.template,
            # what is on one canvas is not certain before its last step
            on_draft=(lambda draft: told.certain(draft.said)) if hear and shown.several else None,
            **options,
        )
        self._service.meter.filled(filling)
        text, stopped_by = told.words(_said(hole, shown, filling))
        return Filled(
            text=text,
            reason="length" if filling.full and not stopped_by else "stop",
            stopped_by=stopped_by,
            tokens=min(shown.room, self.count(text)),
            said=await _tokens(filling, text, hole.likeliest),
            filling=filling,
        )


def _said(hole: Hole, shown: Shown, filling: Filling) -> str:
    """What fills the hole: of an edit the value is all the text on the canvas."""
    if hole.old is None:
        return filling.text
    return filling.text[len(shown.before) : len(filling.text) - len(shown.behind)]


async def _tokens(filling: Filling, text: str, likeliest: int | None) -> tuple[Token, ...]:
    """The tokens of a text that may end sooner than what was filled in; no others wait for it."""
    if likeliest is None:
        return ()
    tell = partial(filling.token_probabilities, likeliest)
    tokens = await anyio.to_thread.run_sync(tell, abandon_on_cancel=True)
    ends = itertools.accumulate(len(token.text) for token in tokens)
    starts = [0, *ends][:-1]
    size = len(text.encode())
    return tuple(token for token, start in zip(tokens, starts, strict=True) if start < size)
